"""Finds items, living and deleted, by what their headers and names say.

An item is judged by its last version: as it is, or as it was when it was deleted. Containers are
not found, but what is in them. There is no index: a search reads all items of the accounts that it
is about, some microseconds each, in short pieces, and holds the numbers of one folder's items.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.backup import Backup
from engine.domain.errors import RecordDamaged
from engine.domain.kinds import SCHEDULED
from engine.domain.model import ROOT, Headers, Version
from engine.domain.timestamps import listed_second
from engine.journal.deleted import deleted_listing
from engine.journal.reader import Reader
from engine.query.accounts import Account, meant

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. An item is found if all that is given fits; case never matters."""

    text: str = ""
    """Stands in subject, sender, recipients or name."""
    accounts: tuple[str, ...] = ()
    """Only in these; empty for all."""
    folder: str = ""
    """Only in this folder, or below it: a path from the account down, with slashes."""
    sender: str = ""
    subject: str = ""
    since: int | None = None
    """Own date at or after this, in microseconds; of what is scheduled when it takes place."""
    until: int | None = None
    """Own date at or before this."""
    deleted: bool = False
    """Only what is deleted."""


class HitPlace(NamedTuple):
    """Where under a mount an item is shown."""

    time: int | None
    """The view: an instant in microseconds, or None for `latest`."""
    path: str
    """Inside the view."""


class Hit(NamedTuple):
    """An item that was found."""

    item: int
    account: str
    folder: str
    """The path below the account, with slashes, as it is or last was; empty for the account."""
    version: Version
    headers: Headers
    deleted: int | None
    """When it was deleted, be it with its account."""
    places: tuple[HitPlace, ...]
    """Where it can be copied from, the best place first: of a deleted item an instant at which it
    lived, a listed one if there is any."""


def search(backup: Backup, query: Query, damaged: Callable[[RecordDamaged], None]) -> Iterator[Hit]:
    """What fits the query, by account and folder, oldest item first; what is recorded after the
    call has begun is not in it.

    A record that can't be read is told to `damaged`, and the search goes on without it. Raises
    UsageError for an account that the backup doesn't know. No read transaction is open while the
    caller looks at a hit.
    """
    with backup.reader() as reader:
        sequence = reader.last_sequence()
        chosen = meant(reader, query.accounts)
        listed = [listed_second(scan.end) for scan in reader.scans() if scan.complete]
    return _Search(backup, _Matcher(query), sequence, listed, damaged).run(chosen)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A container to be looked through."""

    account: Account
    item: int
    names: tuple[str, ...]
    """Of the folders from the account down to this."""
    trail: str
    """Its path under the account's `.deleted`."""

    @property
    def path(self) -> str:
        return "/".join(self.names)


class _Search:
    def __init__(
        self,
        backup: Backup,
        matcher: _Matcher,
        sequence: int,
        listed: list[int],
        damaged: Callable[[RecordDamaged], None],
    ) -> None:
        self._backup = backup
        self._matcher = matcher
        self._sequence = sequence
        self._listed = listed
        self._damaged = damaged
        self._dead_in = -1
        self._dead: dict[int, str] = {}
        """The names under `.deleted` of what was deleted from that folder."""

    def run(self, accounts: list[Account]) -> Iterator[Hit]:
        for account in accounts:
            waiting = [_Folder(account, account.item, (), "")]
            while waiting:
                folder = waiting.pop()
                inside: list[_Folder] = []
                items = self._items(folder)
                for start in range(0, len(items), _BATCH):
                    yield from self._judge(folder, items[start : start + _BATCH], inside)
                waiting += sorted(inside, key=lambda below: below.names, reverse=True)

    def _items(self, folder: _Folder) -> array[int]:
        """What is in the folder, and what was deleted from it."""
        items = array("q")
        try:
            with self._backup.reader() as reader:
                items.extend(reader.items(folder.item, self._sequence))
                deletions = reader.deletions(folder.item, self._sequence)
                items.extend(sorted(recorded.item for recorded in deletions))
        except RecordDamaged as error:
            self._damaged(error)
        return items

    def _judge(self, folder: _Folder, items: array[int], inside: list[_Folder]) -> list[Hit]:
        """What fits of some items of a folder; the containers among them go to `inside`."""
        hits = []
        with self._backup.reader() as reader:
            for item in items:
                try:
                    hit = self._look(reader, folder, item, inside)
                except RecordDamaged as error:
                    self._damaged(error)
                    continue
                if hit:
                    hits.append(hit)
        return hits

    def _look(
        self, reader: Reader, folder: _Folder, item: int, inside: list[_Folder]
    ) -> Hit | None:
        recorded = reader.recorded(item, self._sequence)
        if recorded is None:
            raise RecordDamaged(f"journal: item {item} has no version: run 'engine check'")
        ended = 0 if recorded.version else recorded.sequence
        version = recorded.version or reader.version_before(item, recorded.sequence)
        if version.container:
            names = (*folder.names, version.name)
            name = self._deleted_name(reader, folder.item, item) if ended else version.name
            inside.append(_Folder(folder.account, item, names, f"{folder.trail}{name}/"))
            return None
        if not self._matcher.may_fit(folder.path, version, bool(ended or folder.account.ended)):
            return None
        headers = reader.headers(item, version.edition) or Headers()
        if not self._matcher.fits(version, headers):
            return None
        return self._hit(reader, folder, item, version, headers, ended)

    def _hit(
        self,
        reader: Reader,
        folder: _Folder,
        item: int,
        version: Version,
        headers: Headers,
        ended: int,
    ) -> Hit:
        account = folder.account
        last = ended or account.ended
        top = account.name
        if account.ended:
            top = f".deleted/{self._deleted_name(reader, ROOT, account.item)}"
        if ended:
            now = f"{top}/.deleted/{folder.trail}{version.name}"
        else:
            now = _joined(top, folder.path, version.name)
        places = [HitPlace(None, now)]
        if last:
            places.insert(0, self._past_place(reader, item, version, last))
        return Hit(
            item=item,
            account=account.name,
            folder=folder.path,
            version=version,
            headers=headers,
            deleted=reader.time_of(last) if last else None,
            places=tuple(places),
        )

    def _past_place(self, reader: Reader, item: int, version: Version, ended: int) -> HitPlace:
        """Where it was in the last listed view that showed it with this content, else where it was
        in the last microsecond before its end."""
        end = reader.time_of(ended)
        index = bisect_left(self._listed, end)
        if index:
            time = self._listed[index - 1]
            sequence = reader.sequence_at(time)
            then = reader.version(item, sequence)
            if then and then.edition == version.edition:
                path = reader.path(item, sequence)
                if all(reader.version(entry.item, sequence) for entry in path):
                    return HitPlace(time, _joined(*(entry.version.name for entry in path)))
        path = reader.path(item, ended - 1)
        return HitPlace(end - 1, _joined(*(entry.version.name for entry in path)))

    def _deleted_name(self, reader: Reader, folder: int, item: int) -> str:
        """The name under `.deleted` of a container that was deleted from the folder."""
        if self._dead_in != folder:
            dead = deleted_listing(reader, folder, self._sequence).dead
            self._dead = {entry.item: entry.name for entry in dead}
            self._dead_in = folder
        return self._dead[item]


class _Matcher:
    """A query, made ready to be asked often."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._text = _folded(query.text)
        self._sender = _folded(query.sender)
        self._subject = _folded(query.subject)
        self._folder = _folded(query.folder.strip("/"))

    def may_fit(self, folder: str, version: Version, deleted: bool) -> bool:
        """Whether all but the headers fits, as far as it can without them."""
        query = self._query
        if query.deleted and not deleted:
            return False
        if version.kind not in SCHEDULED and not self._within(version.date):
            return False
        return not self._folder or f"{_folded(folder)}/".startswith(f"{self._folder}/")

    def fits(self, version: Version, headers: Headers) -> bool:
        """Whether the rest fits."""
        if version.kind in SCHEDULED and not self._within(headers.date):
            return False
        if self._sender and self._sender not in _folded(headers.sender):
            return False
        if self._subject and self._subject not in _folded(headers.subject):
            return False
        return not self._text or any(
            self._text in _folded(text)
            for text in (headers.subject, headers.sender, headers.recipients, version.name)
        )

    def _within(self, date: int) -> bool:
        query = self._query
        return (query.since is None or date >= query.since) and (
            query.until is None or date <= query.until
        )


def _folded(text: str) -> str:
    """`text` in its canonical caseless form (Unicode 15, 3.13, D145)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)
