"""A backup with a long history, made straight through the engine: no mail is written or read.

One account. Most messages come to the inbox, are seen in the next commit, and are deleted or filed
once a hundred newer ones have come; some go to a folder at once. What is kept is in long-lived
folders of a few thousand messages each. So each message has some three versions, the inbox holds a
hundred messages whatever has passed through it, and the blob index knows every content.

Headers and sizes are like those of `tests.mail`; the contents themselves don't exist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

from engine.backup import Backup, create
from engine.blobs import Location, encode_location
from engine.domain.messages import parse_headers
from engine.domain.model import ROOT, Headers, Kind
from engine.domain.naming import message_stem
from engine.journal.records import FolderCursor, ScanRecord, StoreState
from engine.journal.writer import Commit, Content, Draft
from engine.system.clock import ManualClock, SystemClock
from scripts.benchmarks.mailbox import ACCOUNT
from tests.mail import letters

SOURCE = "maildir:/made/up/{account}"
GUID = "5c0e"
UNCHANGED = b"0"
"""The cursor of every folder."""

INBOX_SIZE = 100
FOLDER_SIZE = 5000
ARRIVALS = 40
"""Messages that one commit records as new; it has some hundred transactions in all."""

_TO_INBOX = 0.8
_SEEN = 0.9
_FILED = 0.25
_YEAR = 365 * 86_400_000_000
_PACK = 1
_SEED = 11


class Made(NamedTuple):
    """What is in the backup."""

    account: int
    inbox: int
    folders: list[int]
    """The long-lived folders, the oldest first."""
    versions: int
    first: int
    """Time of the first transaction, in microseconds."""
    last: int


def folder_name(number: int) -> str:
    """The name of a long-lived folder."""
    return f"Archive-{number:04}"


def make(path: Path, versions: int, progress: Callable[[int], None]) -> Made:
    """Makes a backup path of about so many versions, spread from a year ago on, and a scan at the
    end. `progress` is told from time to time how many there are."""
    steps = versions // (ARRIVALS * 2) + 1  # more than there will be: nothing is in the future
    clock = ManualClock(SystemClock().now() - _YEAR)
    create(path, [SOURCE], clock)
    backup = Backup(path, write=True, clock=clock)
    history = _History(backup, clock, _YEAR // steps)
    while history.written < versions:
        for _ in range(100):
            history.step()
            if history.written >= versions:
                break
        progress(history.written)
    made = history.finish()
    backup.close()
    return made


class _History:
    """The history as it is written."""

    def __init__(self, backup: Backup, clock: ManualClock, pace: int) -> None:
        self._backup = backup
        self._clock = clock
        self._pace = pace
        """Microseconds between two commits."""
        self._random = Random(_SEED)
        self._headers = [parse_headers(letter.raw) for letter in letters(_SEED, 500)]
        self._messages = 0
        self._stored = 0
        self._waiting: deque[int] = deque()
        """What is in the inbox, the oldest first."""
        self._unseen: list[int] = []
        self._folders: list[int] = []
        self._filed = 0
        with backup.journal.commit() as commit:
            draft = Draft(Kind.ACCOUNT, ROOT, ACCOUNT, ACCOUNT.encode())
            self._account = commit.create(draft)
            commit.set_store_state(StoreState(location=SOURCE, guid=GUID))
            self._inbox = self._folder(commit, "INBOX")
            self._open_folder(commit)

    @property
    def written(self) -> int:
        """How many versions there are."""
        with self._backup.reader() as reader:
            return reader.last_sequence()

    def step(self) -> None:
        """Writes one commit."""
        rng = self._random
        self._clock.advance(self._pace)
        with self._backup.journal.commit(self._account) as commit:
            contents = [self._content() for _ in range(ARRIVALS)]
            blobs = []
            for content in contents:
                location = Location(_PACK, self._stored, 0, content.size)
                blobs.append((content.digest, encode_location(location)))
                self._stored += content.size // 2
            commit.index(blobs, {_PACK: self._stored})
            unseen, self._unseen = self._unseen, []
            for content in contents:
                if rng.random() < _TO_INBOX:
                    item = commit.create(self._draft(self._inbox, content))
                    self._waiting.append(item)
                    if rng.random() < _SEEN:
                        self._unseen.append(item)
                else:
                    commit.create(self._draft(self._folders[-1], content))
                    self._file(commit)
            for item in unseen:
                commit.change(item, flags=("\\Seen",))
            while len(self._waiting) > INBOX_SIZE:
                item = self._waiting.popleft()
                if rng.random() < _FILED:
                    commit.change(item, folder=self._folders[-1])
                    self._file(commit)
                else:
                    commit.delete(item)

    def finish(self) -> Made:
        """Records a scan at the end."""
        record = ScanRecord(self._clock.now(), 0, True, 1, 0, 0, 0, 0)
        end = self._backup.journal.finish_scan(record, [self._account]).end
        with self._backup.reader() as reader:
            first = reader.first_time() or 0
        return Made(self._account, self._inbox, self._folders, self.written, first, end)

    def _file(self, commit: Commit) -> None:
        self._filed += 1
        if self._filed == FOLDER_SIZE:
            self._open_folder(commit)

    def _open_folder(self, commit: Commit) -> None:
        self._filed = 0
        self._folders.append(self._folder(commit, folder_name(len(self._folders))))

    def _folder(self, commit: Commit, name: str) -> int:
        folder = commit.create(Draft(Kind.FOLDER, self._account, name, name.encode()))
        commit.set_cursor(folder, FolderCursor((f"guid:{name}",), UNCHANGED))
        return folder

    def _content(self) -> Content:
        rng, now = self._random, self._clock.now()
        size = min(int(rng.lognormvariate(8.4, 1.1)) + 500, 5_000_000)
        self._messages += 1
        headers: Headers = msgspec.structs.replace(
            rng.choice(self._headers),
            message_id=f"<{rng.getrandbits(60):x}.{self._messages}@mail.example.org>",
            date=now // 1_000_000 * 1_000_000,
        )
        return Content(rng.randbytes(32), size, now, headers)

    def _draft(self, folder: int, content: Content) -> Draft:
        seconds, rest = divmod(content.date, 1_000_000)
        process = int.from_bytes(content.digest[:4], "big")
        identity = f"{seconds}.M{rest}P{process}.mx.example.com,S={content.size}"
        headers = content.headers or Headers()
        stem = message_stem(content.date, headers.sender, headers.subject)
        return Draft(Kind.MESSAGE, folder, stem, identity.encode(), content)
