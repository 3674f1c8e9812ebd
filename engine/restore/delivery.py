"""Carries out a plan: folder by folder, several messages at once; or several folders at once, where
the messages of each must come in order. One bad message never stops the others; a target that is
full ends it, and what was delivered stays."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from engine.connectors.target import Delivery, Subscribing, TargetFolder, TargetMailbox, Wanted
from engine.domain.errors import (
    Damaged,
    DeliveryFailed,
    EngineError,
    Interrupted,
    SourceUnavailable,
    TargetFull,
)
from engine.domain.paths import FolderPath
from engine.domain.stored_form import ENCRYPTED, LONGEST, stored_form
from engine.restore.plan import Plan, SkippedDelivery
from engine.restore.selection import Message
from engine.restore.throttle import Throttle
from engine.settings.table import Settings
from engine.system.progress import Progress
from engine.system.stop import Stop

SEALED = (
    "{:,} of the restored messages are encrypted: nobody can read them there unless the mail "
    "server has the keys of the one that they come from"
)


class RestoredContents(Protocol):
    """Where contents come from: an open `Backup`, or what is imported."""

    @property
    def settings(self) -> Settings:
        """How many messages are delivered at once, and how fast."""
        ...

    def chunks(self, digest: bytes) -> Iterator[bytes]:
        """A content, in pieces, in any thread. Raises Damaged."""
        ...


class Failure(NamedTuple):
    """Something that could not be restored."""

    item: int | None
    """None for a folder."""
    folder: FolderPath
    """Where it was to come to."""
    what: str


@dataclass(slots=True)
class Delivered:
    """What a restore did to one mailbox."""

    restored: list[Message] = field(default_factory=list)
    """Durable at the target."""
    names: dict[int, str] = field(default_factory=dict)
    """What the target knows them by now, by item; of those of which it says that."""
    skipped: list[SkippedDelivery] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    folders: list[FolderPath] = field(default_factory=list)
    """That were made."""
    lost: set[str] = field(default_factory=set)
    """Flags of restored messages that the target can't keep."""
    forms: Counter[str] = field(default_factory=Counter)
    """How many of the restored messages are kept there as another server had compressed or
    encrypted them, by the form (see `engine.domain.stored_form`)."""
    subscribed: int = 0
    unfinished: int = 0
    """Messages that it didn't come to."""
    ended: EngineError | None = None
    """Why it didn't: TargetFull, SourceUnavailable, or Interrupted."""

    @property
    def ok(self) -> bool:
        """Whether all that was wanted is there."""
        return not self.failed and self.ended is None


def deliver(
    contents: RestoredContents,
    made: Plan,
    mailbox: TargetMailbox,
    stop: Stop,
    progress: Progress | None = None,
    *,
    own: bool = False,
) -> Delivered:
    """Delivers what a plan says. Blocks. `progress` is told of the messages that are done with, and
    of their bytes. `own`: the mailbox is the one that the messages were in. Whatever goes wrong is
    in the outcome, also that it was asked to stop."""
    return _Delivery(contents, made, mailbox, stop, progress or Progress(), own).run()


def foresee(
    contents: RestoredContents,
    made: Plan,
    mailbox: TargetMailbox,
    *,
    own: bool = False,
    forms: bool = True,
) -> Delivered:
    """What a plan would come to if nothing went wrong. Writes nothing. `forms`: look at contents
    for those that may be compressed or encrypted. Blocks."""
    outcome = Delivered(skipped=list(made.skipped))
    outcome.folders = [path for path in made.folders if not mailbox.has_folder(path)]
    for path, messages in made.deliveries.items():
        for message in messages:
            form = ""
            try:
                if forms:
                    form = stored_form(next(iter(contents.chunks(message.digest)), b""))
                why = mailbox.refuses(message.kind, form)
            except Damaged as error:
                why = str(error)
            if why:
                outcome.failed.append(Failure(message.item, path, why))
                continue
            outcome.restored.append(message)
            if form and mailbox.verbatim and not own:
                outcome.forms[form] += 1
    _judge_forms(outcome)
    return outcome


def _judge_forms(outcome: Delivered) -> None:
    if sealed := outcome.forms[ENCRYPTED]:
        outcome.failed.append(Failure(None, (), SEALED.format(sealed)))


class _Delivery:
    def __init__(
        self,
        contents: RestoredContents,
        made: Plan,
        mailbox: TargetMailbox,
        stop: Stop,
        progress: Progress,
        own: bool,
    ) -> None:
        self._contents = contents
        self._plan = made
        self._mailbox = mailbox
        self._stop = stop
        self._progress = progress
        self._own = own
        self._outcome = Delivered(skipped=list(made.skipped))
        self._forms: dict[int, str] = {}
        """Of what was read, by item: those that aren't plain."""
        self._unseen: set[FolderPath] = set()
        """Folders that turned out to be there, and weren't compared with."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        settings = contents.settings
        self._workers = settings.restore_workers
        self._throttle = Throttle(settings.restore_bandwidth * 1024, self._wait)

    def run(self) -> Delivered:
        outcome = self._outcome
        with ThreadPoolExecutor(self._workers, "restore") as pool:
            try:
                bad = self._make_folders()
                running: set[Future[None]] = set()
                for path, messages in self._plan.deliveries.items():
                    self._stop.check()
                    if path in bad:
                        self._fail(messages, path, bad[path])
                    else:
                        running |= self._folder(pool, path, messages)
                    if len(running) >= self._workers:
                        running = _settled(running, FIRST_COMPLETED)
                _settled(running, ALL_COMPLETED)
                self._subscribe()
            except (Interrupted, SourceUnavailable, TargetFull) as error:
                self._ended.set()
                outcome.ended = error
        _judge_forms(outcome)
        failed = sum(failure.item is not None for failure in outcome.failed)
        there = len(outcome.skipped) - len(self._plan.skipped)
        outcome.unfinished = self._plan.count - len(outcome.restored) - failed - there
        return outcome

    def _make_folders(self) -> dict[FolderPath, str]:
        """Makes what is missing; the folders that can't be made, and why."""
        bad: dict[FolderPath, str] = {}
        for path in self._plan.folders:
            self._stop.check()
            known = self._mailbox.has_folder(path)
            try:
                made = self._mailbox.make_folder(path)
            except DeliveryFailed as error:
                bad[path] = str(error)
                self._outcome.failed.append(Failure(None, path, str(error)))
                continue
            if made:
                self._outcome.folders.append(path)
            elif not known:
                self._unseen.add(path)
        return bad

    def _subscribe(self) -> None:
        """What the account's clients show: what they did, or else also the folders that are new."""
        if not isinstance(self._mailbox, Subscribing):
            return
        wanted, begin = self._plan.subscriptions, True
        if wanted is None:
            wanted, begin = self._outcome.folders, False
        try:
            self._outcome.subscribed = self._mailbox.subscribe(wanted, begin=begin)
        except DeliveryFailed as error:
            self._outcome.failed.append(Failure(None, (), str(error)))

    def _folder(
        self, pool: ThreadPoolExecutor, path: FolderPath, messages: list[Message]
    ) -> set[Future[None]]:
        """Delivers to a folder, or lets it be done: returns what isn't done yet."""
        try:
            messages = self._missing(path, messages)
            flags = {flag for message in messages for flag in message.flags}
            folder = self._mailbox.open_folder(path, flags)
        except DeliveryFailed as error:
            with self._lock:
                self._fail(messages, path, str(error))
            return set()
        todo = iter(messages)
        if folder.numbered:
            return {pool.submit(self._serve, folder, path, todo, lambda work: work())}
        count = min(self._workers, len(messages))

        def spread(work: Callable[[], None]) -> None:
            _settled({pool.submit(work) for _ in range(count)}, ALL_COMPLETED)

        self._serve(folder, path, todo, spread)
        return set()

    def _missing(self, path: FolderPath, messages: list[Message]) -> list[Message]:
        """The messages without those that are in a folder that was there after all."""
        if path not in self._unseen:
            return messages
        wanted = {Wanted(message.digest, message.size) for message in messages}
        there = self._mailbox.contents(path, wanted, lambda identity: None, self._contents.chunks)
        missing = []
        for message in messages:
            if there[message.digest]:
                there[message.digest] -= 1
                self._outcome.skipped.append(SkippedDelivery(message, path))
                self._passed(message)
            else:
                missing.append(message)
        return missing

    def _serve(
        self,
        folder: TargetFolder,
        path: FolderPath,
        todo: Iterator[Message],
        run: Callable[[Callable[[], None]], None],
    ) -> None:
        """Delivers messages to an open folder, and closes it. `run` does it in as many threads as
        the folder stands."""
        done: list[Message] = []
        with closing(folder):
            try:
                run(lambda: self._work(folder, path, todo, done))
            finally:
                with self._lock:
                    self._settle(folder, path, done)

    def _settle(self, folder: TargetFolder, path: FolderPath, done: list[Message]) -> None:
        outcome = self._outcome
        try:
            folder.sync()
        except DeliveryFailed as error:
            self._fail(done, path, str(error))
        else:
            outcome.restored += done
            outcome.lost |= folder.lost
            if self._mailbox.verbatim and not self._own:
                outcome.forms.update(
                    self._forms[message.item] for message in done if message.item in self._forms
                )
        outcome.failed += [Failure(None, path, problem) for problem in folder.problems]

    def _work(
        self, folder: TargetFolder, path: FolderPath, todo: Iterator[Message], done: list[Message]
    ) -> None:
        """Delivers messages until none is left. Runs in a thread."""
        while not self._ended.is_set():
            with self._lock:
                message = next(todo, None)
            if message is None:
                return
            try:
                self._stop.check()
                name = folder.deliver(self._delivery(message))
            except (Damaged, DeliveryFailed) as error:
                with self._lock:
                    self._fail([message], path, str(error))
            except BaseException:
                self._ended.set()
                raise
            else:
                with self._lock:
                    done.append(message)
                    if name:
                        self._outcome.names[message.item] = name
            self._passed(message)

    def _passed(self, message: Message) -> None:
        self._progress.advance("messages")
        self._progress.advance("bytes", message.size)

    def _delivery(self, message: Message) -> Delivery:
        """What is given to the target. Raises DeliveryFailed where that takes no such items."""
        if why := self._mailbox.refuses(message.kind, ""):
            raise DeliveryFailed(why)
        return Delivery(
            kind=message.kind,
            name=message.name,
            digest=message.digest,
            size=message.size,
            date=message.date,
            flags=message.flags,
            identity=message.identity,
            meta=message.meta,
            chunks=self._throttle.through(self._noted(message)),
        )

    def _noted(self, message: Message) -> Iterator[bytes]:
        """A content; notes its form."""
        first = b""
        for chunk in self._contents.chunks(message.digest):
            if len(first) < LONGEST:
                first += chunk[:LONGEST]
            yield chunk
        if form := stored_form(first):
            with self._lock:
                self._forms[message.item] = form

    def _fail(self, messages: list[Message], path: FolderPath, what: str) -> None:
        self._outcome.failed += [Failure(message.item, path, what) for message in messages]

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            self._stop.check()


def _settled(running: set[Future[None]], when: str) -> set[Future[None]]:
    """Waits for all that runs, or for the first that ends; returns what runs still. Raises what
    ended one."""
    done, left = wait(running, return_when=when)
    for each in done:
        each.result()
    return left
