"""The journal as the records of an export: a state, and the whole history."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.connectors.maildir.trees import INBOX, directory_name, keywords_of, message_name
from engine.domain.errors import RecordDamaged
from engine.domain.kinds import MAIL, Kind
from engine.domain.model import ROOT, Action, Entry, Recorded, Version, item_id
from engine.exchange.export import form
from engine.exchange.export.form import (
    ExportedCommit,
    ExportedHold,
    ExportedOwner,
    ExportedRow,
    Scan,
)
from engine.journal.reader import Reader
from engine.journal.records import Transaction
from engine.query.accounts import accounts as all_accounts


class ExportedContent(NamedTuple):
    """A content that belongs into an export."""

    file: str
    digest: bytes
    size: int
    date: int
    item: int


@dataclass(frozen=True, slots=True)
class Box:
    """A container in the state, and the Maildir that has its messages."""

    account: Entry
    entry: Entry
    path: tuple[str, ...]
    """Its folders' names below the account; empty for the account itself."""
    maildir: str
    """The directory in the export. That of the account is its inbox, too."""
    keywords: tuple[str, ...]
    """Of its messages, the first for the letter a."""

    @property
    def root(self) -> bool:
        """Whether it shows as the Maildir itself, not as a folder in it."""
        return self.path in ((), (INBOX,))


class Records:
    """Makes records of one moment of the journal, up to a sequence, of the accounts that are chosen
    (None: all). All raise RecordDamaged."""

    def __init__(self, reader: Reader, sequence: int, chosen: Collection[int] | None) -> None:
        self._reader = reader
        self._sequence = sequence
        self._chosen = chosen
        self._boxes: dict[int, tuple[str, tuple[str, ...]]] = {}
        """Of folders in the state: where their messages are, and their keywords."""
        self._paths: dict[int, str] = {}
        """Of containers, as they are where the history has come to."""

    # The state

    def accounts(self) -> list[Entry]:
        """Those that are alive."""
        return [
            entry
            for entry in self._reader.containers(ROOT, self._sequence)
            if self._chosen is None or entry.item in self._chosen
        ]

    def boxes(self, account: Entry) -> Iterator[Box]:
        """The account and its folders, each after the one that holds it."""
        waiting: list[tuple[Entry, tuple[str, ...]]] = [(account, ())]
        while waiting:
            entry, path = waiting.pop()
            maildir = f"{form.ACCOUNTS}/{account.version.name}/{form.MAILDIR}"
            keywords: tuple[str, ...] = ()
            if path:
                keywords = keywords_of(version.flags for _, version in self._messages(entry.item))
                if path != (INBOX,):
                    maildir += "/" + directory_name(path, entry.item).decode("ascii")
                self._boxes[entry.item] = (f"{maildir}/cur", keywords)
            yield Box(account, entry, path, maildir, keywords)
            below = self._reader.containers(entry.item, self._sequence)
            below.sort(key=lambda entry: entry.version.name, reverse=True)
            waiting += [(inner, (*path, inner.version.name)) for inner in below]

    def rows(self, box: Box) -> Iterator[tuple[ExportedRow, Version]]:
        """The container itself, then what it holds but for containers."""
        where = "/".join((box.account.version.name, *box.path))
        yield self._living(box.account.item, box.entry, where), box.entry.version
        for entry in self._reader.entries(box.entry.item, self._sequence):
            if not entry.version.container:
                path = f"{where}/{entry.version.name}"
                yield self._living(box.account.item, entry, path), entry.version

    def _messages(self, folder: int) -> Iterator[tuple[int, Version]]:
        for entry in self._reader.entries(folder, self._sequence):
            if entry.version.kind in MAIL:
                yield entry.item, entry.version

    def _living(self, account: int, entry: Entry, path: str) -> ExportedRow:
        return ExportedRow(
            transaction=entry.sequence,
            time=self._reader.time_of(entry.sequence),
            action=_word(self._reader.transaction(entry.sequence)),
            item=item_id(entry.item),
            account=item_id(account),
            path=path,
            state=form.to_state(entry.version),
            file=self._file(entry.item, entry.version),
        )

    def _file(self, item: int, version: Version) -> str:
        """Where the content of this version is in the export."""
        if not version.digest:
            return ""
        if version.kind in MAIL:
            now = self._reader.version(item, self._sequence)
            if now and now.digest == version.digest and now.folder in self._boxes:
                directory, keywords = self._boxes[now.folder]
                return f"{directory}/{message_name(item, now.flags, keywords).decode('ascii')}"
        return form.content_file(version.digest)

    # The history

    def history(self, first: int = 1) -> Iterator[tuple[ExportedRow, Version | None]]:
        """All transactions from `first` on, in order. Where a content is that the state has, is
        known only after all `boxes`."""
        for sequence, transaction in self._reader.transactions(first, self._sequence):
            if self._chosen is not None and transaction.account not in self._chosen:
                continue
            recorded = self._reader.recorded(transaction.item, sequence)
            if recorded is None or recorded.sequence != sequence:
                raise RecordDamaged(
                    f"journal: the version of transaction {sequence} is missing: run 'engine check'"
                )
            yield self._happened(recorded, transaction), recorded.version

    def _happened(self, recorded: Recorded, transaction: Transaction) -> ExportedRow:
        item, sequence, version = recorded
        shown = version or self._reader.version_before(item, sequence)
        path = shown.name
        if shown.kind != Kind.ACCOUNT:
            path = f"{self._path(shown.folder, sequence)}/{shown.name}"
        if shown.container:
            self._paths.clear()
        return ExportedRow(
            transaction=sequence,
            time=self._reader.time_of(sequence),
            action=_word(transaction),
            item=item_id(item),
            account=item_id(transaction.account),
            path=path,
            state=form.to_state(version) if version else None,
            file=self._file(item, version) if version else "",
        )

    def _path(self, container: int, sequence: int) -> str:
        found = self._paths.get(container)
        if found is None:
            path = self._reader.path(container, sequence)
            found = self._paths[container] = "/".join(entry.version.name for entry in path)
        return found

    def commits(self) -> Iterator[ExportedCommit]:
        """All commits, whosever transactions they hold."""
        for span in self._reader.spans():
            count = min(span.length, self._sequence - span.sequence + 1)
            if count < 1:
                return
            yield ExportedCommit(span.sequence, span.time, count)

    def owners(self) -> Iterator[ExportedOwner]:
        """The accounts that ever were."""
        for account in all_accounts(self._reader):
            if self._chosen is not None and account.item not in self._chosen:
                continue
            if self._reader.recorded(account.item, self._sequence) is None:
                continue
            state = self._reader.store(account.item)
            hold = self._reader.hold(account.item)
            yield ExportedOwner(
                item=item_id(account.item),
                name=account.name,
                source_name=account.source_name.encode("utf-8", "surrogateescape").decode(
                    "utf-8", "backslashreplace"
                ),
                origin=state.location,
                guid=state.guid,
                scanned=state.scanned,
                hold=ExportedHold(hold.time, hold.reason) if hold else None,
            )

    def scans(self, until: int) -> Iterator[Scan]:
        """The scans that had ended by a time."""
        for scan in self._reader.scans():
            if scan.end > until:
                return
            yield Scan(
                start=scan.start,
                end=scan.end,
                complete=scan.complete,
                accounts=scan.accounts,
                created=scan.created,
                changed=scan.changed,
                deleted=scan.deleted,
                errors=scan.errors,
            )


def _word(transaction: Transaction) -> form.Word:
    return _WORDS[transaction.action]


_WORDS: dict[int, form.Word] = {
    Action.CREATE: "create",
    Action.CHANGE: "change",
    Action.CONTENT: "content",
    Action.MOVE: "move",
    Action.DELETE: "delete",
    Action.RETURN: "return",
}
