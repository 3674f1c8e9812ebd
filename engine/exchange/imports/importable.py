"""What an import asks of every place that it imports from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from engine.exchange.export.form import ExportedCommit, ExportedOwner, ExportedRow, ExportHead, Scan


class Past(Protocol):
    """A history or a state, with its contents. Whoever opened it closes it.

    All methods raise NotAnExport for records that are none, and OSError.
    """

    @property
    def where(self) -> str:
        """The place, fit to be shown."""
        ...

    @property
    def head(self) -> ExportHead:
        """What it is."""
        ...

    def rows(self) -> Iterator[ExportedRow]:
        """All transactions, in order."""
        ...

    def commits(self) -> Iterator[ExportedCommit]:
        """All commits, in order."""
        ...

    def owners(self) -> Iterator[ExportedOwner]:
        """The accounts that the history has."""
        ...

    def scans(self) -> Iterator[Scan]:
        """The scans, in order of their ends."""
        ...

    def accounts(self) -> Iterator[Iterable[ExportedRow]]:
        """The state of each living account: itself first, then folders, each after the one that
        holds it, and messages after their folder."""
        ...

    def open(self, row: ExportedRow) -> BinaryIO:
        """The content of a row that has one, to be read once. It may be anything: it must be
        compared with its digest. Raises BlobMissing where it is known to be lost; reading it may
        raise Damaged."""
        ...

    def changed(self) -> bool:
        """Whether what it has given may not be of one moment: then none of it is to be used."""
        ...

    def close(self) -> None:
        """Lets go of what is held open."""
        ...
