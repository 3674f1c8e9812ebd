"""Scans accounts in worker threads, and keeps what comes of each apart: one bad account never stops
the others."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NamedTuple

from engine.backup import Backup
from engine.blobs.writer import DeferredWriter, PackWriter
from engine.connectors.source import MailboxIdentity
from engine.domain.errors import EngineError, MailboxReplaced, SourceEmpty, SourceUnavailable
from engine.scan import guard
from engine.scan.account import scan_account
from engine.scan.comparison import Subject, look
from engine.scan.dry_run import foretell
from engine.scan.finding import NamedSource
from engine.scan.lifecycle import bring_back
from engine.scan.loss import Turnover
from engine.scan.mailboxes import identity_since, refuse_other_content
from engine.scan.recognition import (
    DoubtfulMailbox,
    KnownAccount,
    Shared,
    alike,
    doubtful,
    recognised,
)
from engine.scan.report import ScanProblem, Tally
from engine.scan.roster import Assignment
from engine.scan.survey import Files
from engine.system.progress import Progress
from engine.system.stop import Stop

_REPLACED = "another mailbox has got this name while the scan ran: scan again"


class Task(NamedTuple):
    """A mailbox to scan."""

    assignment: Assignment
    source: NamedSource
    known: KnownAccount | None = None
    """The account of its name, if it is to be scanned only where it is recognised as that."""
    expected: MailboxIdentity | None = None
    """What it was when it was decided whose it is."""

    @property
    def name(self) -> str:
        return self.assignment.name


class AccountScans:
    """The scans of a smart scan's accounts, and what they showed."""

    def __init__(
        self,
        backup: Backup,
        stop: Stop,
        progress: Progress,
        tally: Tally,
        turnover: list[Turnover],
        *,
        shared: Shared,
        files: Files,
        deep: bool,
        dry_run: bool,
        emptied: Callable[[Subject], None],
    ) -> None:
        """What the scans do is added to `tally` and `turnover`. `shared` is what several accounts
        have; for `files` and `emptied` see `scan.comparison.look`."""
        self._backup = backup
        self._stop = stop
        self._progress = progress
        self._tally = tally
        self._turnover = turnover
        self._shared = shared
        self._files = files
        self._deep = deep
        self._dry_run = dry_run
        self._emptied = emptied
        self._todo: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._failures: list[EngineError] = []
        self.scanned: list[int] = []
        self.opened: set[str] = set()
        """The names of the sources of which at least one account could be opened."""
        self.shut: dict[str, ScanProblem] = {}
        """Accounts that couldn't, by name."""
        self.recognised: dict[str, MailboxIdentity] = {}
        """The mailboxes that are those of the accounts of their names."""
        self.doubted: set[str] = set()
        """Accounts that seemed to have their mailbox, until it was looked into."""

    def run(self, todo: Sequence[Task], workers: int | None = None) -> None:
        """Runs the workers to their end. Nothing here waits for anything but files, so threads do,
        and the command starts without an event loop."""
        for each in todo:
            self._todo.put(each)
        workers = min(workers or self._backup.settings.workers, len(todo))
        with ThreadPoolExecutor(max(workers, 1), "scan") as pool:
            for worker in [pool.submit(self._worker) for _ in range(workers)]:
                worker.result()
        if self._failures:
            raise self._failures[0]

    def _worker(self) -> None:
        """Scans accounts until none is left. Runs in a thread, with a blob writer of its own."""
        with closing(DeferredWriter(self._backup.blob_writer)) as writer:
            try:
                while True:
                    try:
                        task = self._todo.get_nowait()
                    except queue.Empty:
                        return
                    if self._scan_one(task, writer):
                        self._progress.advance("accounts")
            except EngineError as error:
                self._failures.append(error)
                self._stop.set()
            except BaseException:
                self._stop.set()
                raise

    def _scan_one(self, task: Task, writer: DeferredWriter) -> bool:
        """One account; False, and nothing is done, where its name has a mailbox that isn't
        recognised. What concerns it alone is a problem of the scan, not its end."""
        tally = Tally()
        assignment, source = task.assignment, task.source
        try:
            with closing(source.source.mailbox(assignment.name)) as mailbox:
                known = task.known
                identity = identity_since(mailbox, known) if known else mailbox.identity()
                if known:
                    if not recognised(known, identity):
                        return False
                    self.recognised[task.name] = identity
                elif task.expected and not alike(task.expected, identity):
                    tally.problems.append(ScanProblem(task.name, "", _REPLACED))
                    return True
                subject = Subject(
                    assignment.item,
                    task.name,
                    mailbox,
                    source.name,
                    identity,
                    source.location,
                )
                replaced = partial(self._refuse_doubtful, known, identity)
                if known and doubtful(known, identity, self._shared):
                    refuse_other_content(self._backup, mailbox, known)
                if assignment.event == "returned":
                    tally.created += self._dry_run or bring_back(self._backup, subject)
                if self._dry_run:
                    looked = look(
                        self._backup,
                        subject,
                        self._stop,
                        deep=self._deep,
                        files=self._files,
                        emptied=self._emptied,
                        replaced=replaced,
                    )
                    foretell(self._backup, subject, looked, self._stop, tally)
                else:
                    self.scanned.append(self._scan_account(subject, writer, tally, replaced))
        except SourceEmpty:
            raise
        except DoubtfulMailbox:
            self.doubted.add(task.name)
            del self.recognised[task.name]
            return False
        except MailboxReplaced:
            if task.known:
                self.doubted.add(task.name)
                self.recognised.pop(task.name, None)
                return False
            tally.problems.append(ScanProblem(task.name, "", _REPLACED))
        except SourceUnavailable as error:
            self.recognised.pop(task.name, None)
            self.shut[task.name] = ScanProblem(task.name, "", str(error))
        except Exception as error:
            self.opened.add(source.name)
            problem = ScanProblem(task.name, "", guard.told(error, task.name))
            if task.known and task.name not in self.recognised:
                self.shut[task.name] = problem
            else:
                tally.problems.append(problem)
            writer.close()  # whatever it was in the middle of
        else:
            self.opened.add(source.name)
        finally:
            self._tally.add(tally)
            if tally.removed or tally.rewritten:
                turnover = Turnover(assignment.name, tally.had, tally.removed, tally.rewritten)
                self._turnover.append(turnover)
        return True

    def _scan_account(
        self,
        subject: Subject,
        writer: Callable[[], PackWriter],
        tally: Tally,
        replaced: Callable[[], None],
    ) -> int:
        return scan_account(
            self._backup,
            subject,
            writer,
            self._stop,
            tally,
            deep=self._deep,
            files=self._files,
            progress=self._progress,
            emptied=self._emptied,
            replaced=replaced,
        )

    def _refuse_doubtful(self, account: KnownAccount | None, identity: MailboxIdentity) -> None:
        """Raises Doubted where an account was recognised only by what others have, too."""
        if account and doubtful(account, identity, self._shared):
            raise DoubtfulMailbox
