"""Another backup path, be it another machine's, as what it would export. It is only read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

from engine.backup import Backup
from engine.exchange.export.choice import AccountChoice, chosen
from engine.exchange.export.form import ExportedCommit, ExportedOwner, ExportedRow, ExportHead, Scan
from engine.exchange.export.records import Records
from engine.journal.reader import Reader
from engine.query.accounts import accounts

_CHUNK = 1 << 20


class BackupPast:
    """See `engine.exchange.imports.importable.Past`. One moment of the journal, which is held until
    it is closed: other writers may go on, but the space that they free isn't used again
    meanwhile."""

    def __init__(self, backup: Backup, choice: AccountChoice, instant: int | None = None) -> None:
        """Reads from an open backup path. `instant` is up to when its history is wanted, in
        microseconds. Raises UsageError for accounts that it doesn't have."""
        self.where = str(backup.path)
        self._backup = backup
        self._closing = ExitStack()
        try:
            self._reader: Reader = self._closing.enter_context(backup.reader())
            self._begin(choice, instant)
        except BaseException:
            self._closing.close()
            raise

    def _begin(self, choice: AccountChoice, instant: int | None) -> None:
        reader = self._reader
        picked = chosen(choice, accounts(reader), self.where)
        horizon = reader.horizon()
        until = horizon if instant is None else min(instant, horizon)
        purges = reader.purge_state()
        self.head = ExportHead(
            id=self._backup.identity.backup.hex(),
            backup=self._backup.identity.backup.hex(),
            history=True,
            accounts=choice.accounts,
            domains=choice.domains,
            sequence=reader.sequence_at(until),
            instant=until,
            next_item=reader.state().next_item,
            complete_since=purges.complete_since,
            purges=purges.count,
        )
        self._records = Records(reader, self.head.sequence, picked)

    def rows(self) -> Iterator[ExportedRow]:
        return (row for row, _ in self._records.history())

    def commits(self) -> Iterator[ExportedCommit]:
        return self._records.commits()

    def owners(self) -> Iterator[ExportedOwner]:
        return self._records.owners()

    def scans(self) -> Iterator[Scan]:
        return self._records.scans(self.head.instant)

    def accounts(self) -> Iterator[Iterable[ExportedRow]]:
        for account in self._records.accounts():
            yield (
                row for box in self._records.boxes(account) for row, _ in self._records.rows(box)
            )

    def open(self, row: ExportedRow) -> BinaryIO:
        assert row.state
        digest = bytes.fromhex(row.state.digest)
        chunks = self._backup.store.chunks(digest, self._backup.location(digest))
        return cast(BinaryIO, io.BufferedReader(_Chunks(chunks), _CHUNK))

    def changed(self) -> bool:
        with self._backup.reader() as reader:
            return reader.purge_state().count != self.head.purges

    def close(self) -> None:
        self._closing.close()


class _Chunks(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
