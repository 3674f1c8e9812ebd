"""Carries out a plan: folder by folder, several messages at once. One bad message never stops the
others; a target that is full ends it, and what was delivered stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from engine.errors import (
    Damaged,
    DeliveryFailed,
    EngineError,
    Interrupted,
    SourceUnavailable,
    TargetFull,
)
from engine.restore.plan import Plan, Skipped, kept_flags
from engine.restore.selection import Message
from engine.restore.throttle import Throttle
from engine.settings import Settings
from engine.sources.source import FolderPath
from engine.stop import Stop
from engine.targets.target import Letter, TargetFolder, TargetMailbox


class Contents(Protocol):
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
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    folders: list[FolderPath] = field(default_factory=list)
    """That were made."""
    lost: set[str] = field(default_factory=set)
    """Flags of restored messages that the target can't keep."""
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
    contents: Contents,
    made: Plan,
    mailbox: TargetMailbox,
    stop: Stop,
    progress: Callable[[Message], None] = lambda message: None,
) -> Delivered:
    """Delivers what a plan says. Blocks. `progress` is told of each message that is done with, in
    any thread. Whatever goes wrong is in the outcome, also that it was asked to stop."""
    return _Delivery(contents, made, mailbox, stop, progress).run()


class _Delivery:
    def __init__(
        self,
        contents: Contents,
        made: Plan,
        mailbox: TargetMailbox,
        stop: Stop,
        progress: Callable[[Message], None],
    ) -> None:
        self._contents = contents
        self._plan = made
        self._mailbox = mailbox
        self._stop = stop
        self._progress = progress
        self._outcome = Delivered(skipped=list(made.skipped))
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
                for path, messages in self._plan.deliveries.items():
                    self._stop.check()
                    if path in bad:
                        self._fail(messages, path, bad[path])
                    else:
                        self._folder(pool, path, messages)
                self._subscribe()
            except (Interrupted, SourceUnavailable, TargetFull) as error:
                outcome.ended = error
        failed = sum(failure.item is not None for failure in outcome.failed)
        outcome.unfinished = self._plan.count - len(outcome.restored) - failed
        return outcome

    def _make_folders(self) -> dict[FolderPath, str]:
        """Makes what is missing; the folders that can't be made, and why."""
        bad: dict[FolderPath, str] = {}
        for path in self._plan.folders:
            self._stop.check()
            new = not self._mailbox.has_folder(path)
            try:
                self._mailbox.make_folder(path)
            except DeliveryFailed as error:
                bad[path] = str(error)
                self._outcome.failed.append(Failure(None, path, str(error)))
                continue
            if new:
                self._outcome.folders.append(path)
        return bad

    def _subscribe(self) -> None:
        """What the account's clients show: what they did, or else also the folders that are new."""
        wanted, begin = self._plan.subscriptions, True
        if wanted is None:
            wanted, begin = self._outcome.folders, False
        try:
            self._outcome.subscribed = self._mailbox.subscribe(wanted, begin=begin)
        except DeliveryFailed as error:
            self._outcome.failed.append(Failure(None, (), str(error)))

    def _folder(self, pool: ThreadPoolExecutor, path: FolderPath, messages: list[Message]) -> None:
        flags = {flag for message in messages for flag in kept_flags(message.flags)}
        try:
            folder = self._mailbox.open_folder(path, flags)
        except DeliveryFailed as error:
            self._fail(messages, path, str(error))
            return
        done: list[Message] = []
        with closing(folder):
            todo = iter(messages)
            workers = [
                pool.submit(self._work, folder, path, todo, done)
                for _ in range(min(self._workers, len(messages)))
            ]
            wait(workers)
            self._settle(folder, path, done)
            for worker in workers:
                worker.result()

    def _settle(self, folder: TargetFolder, path: FolderPath, done: list[Message]) -> None:
        try:
            folder.sync()
        except DeliveryFailed as error:
            self._fail(done, path, str(error))
        else:
            self._outcome.restored += done
            self._outcome.lost |= folder.lost

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
                name = folder.deliver(self._letter(message))
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
            self._progress(message)

    def _letter(self, message: Message) -> Letter:
        return Letter(
            digest=message.digest,
            size=message.size,
            date=message.date,
            flags=kept_flags(message.flags),
            identity=message.identity,
            chunks=self._throttle.through(self._contents.chunks(message.digest)),
        )

    def _fail(self, messages: list[Message], path: FolderPath, what: str) -> None:
        self._outcome.failed += [Failure(message.item, path, what) for message in messages]

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            self._stop.check()
