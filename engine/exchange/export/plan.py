"""Writes all records of an export, and lists the contents that go with them.

Everything is read in one moment of the journal, so that no scan and no purge comes in between. That
takes some 30 microseconds a version; contents, which take longer, are read afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.connectors.maildir.names import format_keywords
from engine.connectors.maildir.trees import INBOX, KEYWORDS, MARK
from engine.domain.model import Entry, Version, parse_item_id
from engine.exchange.export import form
from engine.exchange.export.form import ExportedRow, ExportHead
from engine.exchange.export.records import Box, ExportedContent, Records
from engine.query.accounts import account_json

FILE_MODE, DIRECTORY_MODE = 0o600, 0o700

_decoder = msgspec.json.Decoder(ExportedContent)


@dataclass(slots=True)
class ExportPlan:
    """What is to be done, and how much that is."""

    head: ExportHead
    listing: Path
    """A file with the contents, a line each, each once."""
    contents: int
    size: int
    """Bytes of these."""

    def __iter__(self) -> Iterator[ExportedContent]:
        with self.listing.open("rb") as file:
            yield from map(_decoder.decode, file)


def make_plan(
    records: Records, head: ExportHead, root: Path, listing: Path, progress: Callable[[], None]
) -> ExportPlan:
    """Writes the records of an export into the directory `root`, where records of the same export
    may be already, and the list of its contents to `listing`. `progress` is called for each record,
    and may raise what ends it. Raises OSError, RecordDamaged."""
    return _Planning(records, head, root, listing, progress).run()


class _Planning:
    def __init__(
        self,
        records: Records,
        head: ExportHead,
        root: Path,
        listing: Path,
        progress: Callable[[], None],
    ) -> None:
        self._records = records
        self._head = head
        self._root = root
        self._listing = listing
        self._progress = progress
        self._files = self._bytes = self._contents = self._size = self._transactions = 0
        self._apart: set[bytes] = set()
        """Contents that are in no Maildir, and listed."""
        self._whole = False
        """Whether it has come to the history."""

    def run(self) -> ExportPlan:
        with _written(self._listing) as listing:
            self._directory(form.ACCOUNTS)
            for account in self._records.accounts():
                directory = f"{form.ACCOUNTS}/{account.version.name}"
                self._directory(directory)
                document = account_json(account.item, account.version)
                self._lines(f"{directory}/{form.ACCOUNT}", [document])
                lines = self._listed(self._state(account), listing.write)
                self._lines(f"{directory}/{form.ITEMS}", lines)
            if self._head.history:
                self._history(listing.write)
        head = msgspec.structs.replace(
            self._head,
            files=self._files + self._contents,
            bytes=self._bytes + self._size,
            transactions=self._transactions,
        )
        return ExportPlan(head, self._listing, self._contents, self._size)

    def _state(self, account: Entry) -> Iterator[tuple[ExportedRow, Version]]:
        """What an account holds; makes its Maildirs on the way."""
        for box in self._records.boxes(account):
            self._box(box)
            yield from self._records.rows(box)

    def _box(self, box: Box) -> None:
        """The Maildir of a container, without its messages."""
        if box.path != (INBOX,):  # that is the account's, which is there
            self._directory(box.maildir)
            for name in ("cur", "new", "tmp"):
                self._directory(f"{box.maildir}/{name}")
        if box.path:
            self._lines(f"{box.maildir}/{KEYWORDS}", [format_keywords(box.keywords)])
        if not box.root:
            self._lines(f"{box.maildir}/{MARK}", [])

    def _history(self, write: Callable[[bytes], object]) -> None:
        self._whole = True
        self._directory(form.HISTORY)
        rows = self._listed(self._counted(self._records.history()), write)
        self._lines(form.TRANSACTIONS, rows)
        self._lines(form.COMMITS, map(form.line, self._records.commits()))
        self._lines(form.OWNERS, map(form.line, self._records.owners()))
        self._lines(form.SCANS, map(form.line, self._records.scans(self._head.instant)))

    def _counted(
        self, rows: Iterable[tuple[ExportedRow, Version | None]]
    ) -> Iterator[tuple[ExportedRow, Version | None]]:
        for row in rows:
            self._transactions += 1
            yield row

    def _listed(
        self, rows: Iterable[tuple[ExportedRow, Version | None]], write: Callable[[bytes], object]
    ) -> Iterator[bytes]:
        """The lines of these rows; on the way their contents are listed."""
        for row, version in rows:
            self._progress()
            if version and row.file and self._new(row, version):
                item = parse_item_id(row.item)
                content = ExportedContent(
                    row.file, version.digest, version.size, version.date, item
                )
                write(msgspec.json.encode(content) + b"\n")
                self._contents += 1
                self._size += version.size
            yield form.line(row)

    def _new(self, row: ExportedRow, version: Version) -> bool:
        """Whether its content isn't listed yet."""
        if not row.file.startswith(form.CONTENTS):  # in a Maildir: listed with the state
            return not self._whole
        known = version.digest in self._apart
        self._apart.add(version.digest)
        return not known

    def _directory(self, path: str) -> None:
        (self._root / path).mkdir(mode=DIRECTORY_MODE, exist_ok=True)

    def _lines(self, path: str, lines: Iterable[bytes]) -> None:
        self._files += 1
        with _written(self._root / path) as file:
            for line in lines:
                self._bytes += len(line)
                file.write(line)


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which only its owner may read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(fd, "wb", buffering=1 << 16) as file:
        yield file
