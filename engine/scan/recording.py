"""Records what an account's plan says: reads what is new, and writes it all into commits.

Order: arrivals are recorded in groups, each once its content is durable; then, in one last commit,
the moves, flag changes and removals, and where the source left off.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from engine.backup import Backup
from engine.blobs import encode_location
from engine.blobs.writer import PackWriter
from engine.domain.description import HEAD, describe
from engine.domain.errors import ItemUnreadable, ItemVanished
from engine.domain.kinds import Kind, traits
from engine.domain.model import ROOT
from engine.domain.naming import folder_name
from engine.domain.stored_form import stored_form
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import FolderCursor, StoreState
from engine.journal.writer import Commit, Content, Draft
from engine.scan.comparison import NEW, Comparison, Subject
from engine.scan.fetching import Download, streamed, take, take_ahead
from engine.scan.lifecycle import account_changes, account_draft
from engine.scan.mailboxes import fingerprint_of
from engine.scan.pairing import AddedItem
from engine.scan.plan import AccountPlan, CursorUpdate, FolderChange, Move, NewFolder, Rename
from engine.scan.report import ScanProblem, Tally
from engine.scan.states import Ref
from engine.system.progress import Progress
from engine.system.stop import Stop

GROUP_MESSAGES = 1000
"""Arrivals recorded by one commit, at most."""
GROUP_BYTES = 32 << 20
WHOLE = 4 << 20
"""An item up to this size is read at once; a larger one is streamed."""


class _Stored(NamedTuple):
    """An item whose content the blob writer has."""

    kind: Kind
    name: str
    """As `Draft` has it."""
    content: Content


class Late(Exception):
    """Items that are in the plan were gone before they were read: what it would leave in their
    folders was never there."""


class Recording:
    """The execution of one plan. A Conflict ends it; what it had committed by then stays."""

    def __init__(
        self,
        backup: Backup,
        subject: Subject,
        looked: Comparison,
        writer: Callable[[], PackWriter],
        stop: Stop,
        tally: Tally,
        progress: Progress,
        *,
        whole: bool,
        strict: bool,
    ) -> None:
        self._backup = backup
        self._subject = subject
        self._plan: AccountPlan = looked.plan
        self._problems = looked.problems
        self._state = looked.state
        self._revision = looked.state.revision
        self._writer = writer
        self._stop = stop
        self._tally = tally
        self._progress = progress
        self._whole = whole
        """Whether the account itself is looked at, and not only some of its folders."""
        self._account = subject.item
        self._draft = None if subject.item else account_draft(subject, self._problems)
        self._structured = False
        self._items: dict[int, int] = {}
        """What the plan makes: the reference of the account or a folder -> its item."""
        self._names: dict[int, str] = {}
        """The names that new and renamed folders shall have, by item."""
        self._told: set[int] = set()
        """Folders that are in the tally."""
        self._strict = strict
        """Whether nothing is to be recorded for which it is too late, but to be planned anew."""
        self._late = False
        self._rewritten = 0
        """Items that have another content than the journal has."""
        self._unread: set[int] = set()
        """Folders in which an item could not be read: they are looked at again next time."""
        self._found: dict[bytes, str] = {}
        """Contents that aren't as they were sent, and aren't recorded yet: the form of each."""
        self._forms = Counter(looked.state.forms)
        self._revisions: list[tuple[int, Ref, bytes]] = []
        """Known items whose content was read: the folder, and what the source said of that."""
        self._moves = list(looked.plan.moves)
        self._removals = list(looked.plan.removals)

    def run(self) -> int:
        """Records all of it, and returns the account. Raises Conflict and Late."""
        made = self._plan
        drafts: list[Draft] = []
        size = 0
        for arrival, stored in self._arrived():
            drafts.append(_draft(arrival, stored))
            size += stored.content.size
            if len(drafts) >= GROUP_MESSAGES or size >= GROUP_BYTES:
                with self._commit() as (commit, tally):
                    self._record_arrivals(commit, tally, drafts)
                drafts, size = [], 0
        if self._late and self._strict:
            raise Late
        contents = self._other_contents()
        state = self._new_state() if self._whole else self._state
        changes: Mapping[str, Any] = {}
        if self._whole:
            changes = account_changes(self._backup, self._subject, self._problems)
        if self._account and made.empty and not changes and self._is_known(state):
            return self._account
        with self._commit() as (commit, tally):
            self._record_arrivals(commit, tally, drafts)
            self._record_changes(commit, tally, contents)
            self._record_removals(commit, tally)
            self._settle_names(commit, tally)
            if changes:
                tally.changed += commit.change(commit.account, **changes)
            for mark in made.marks:
                commit.set_cursor(self._item(mark.folder), self._cursor(mark))
            commit.set_store_state(self._with_forms(state))
        assert self._account is not None
        return self._account

    # Reading

    def _arrived(self) -> Iterator[tuple[AddedItem, _Stored]]:
        """The items to be recorded as new, with what was stored of them. A renamed one that has
        the content that it had is a move; else it is new, and the other one is gone."""
        made = self._plan
        todo: list[tuple[AddedItem, Rename | None]] = [(arrival, None) for arrival in made.arrivals]
        todo += [(rename.arrival, rename) for rename in made.renames]
        sources = [arrival.source for arrival, _ in todo]
        ahead = take_ahead(self._subject.mailbox, sources, self._stop)
        for (arrival, rename), taken in zip(todo, ahead, strict=True):
            stored = self._store(taken)
            if stored is None:
                self._unread.add(arrival.folder)
                if rename and rename.folder in made.gone_folders:
                    self._removals.append(rename.item)  # else it stays as it was
            elif rename and self._digest(rename.item) == stored.content.digest:
                folder, source = arrival
                self._moves.append(Move(rename.item, folder, source.identity, source.flags))
                self._revisions.append((rename.item, folder, source.revision))
            else:
                self._removals += [rename.item] if rename else []
                yield arrival, stored

    def _digest(self, item: int) -> bytes:
        with self._backup.reader() as reader:
            version = reader.version(item, MAX_SEQUENCE)
        return version.digest if version else b""

    def _store(self, taken: Download) -> _Stored | None:
        """Gives an item to the blob writer; None where it can't be read, which is a problem, or
        where it is gone since, which is none."""
        self._stop.check()
        mailbox, source = self._subject.mailbox, taken.source
        if taken.content is None and taken.error is None:
            taken = take(mailbox, source, WHOLE)
        error = taken.error
        if taken.content is not None:
            digest, size = self._writer().add(taken.content), len(taken.content)
            head = taken.content[:HEAD]
        elif error is None:
            try:
                with streamed(mailbox, source, self._stop.check) as file:
                    head = file.read(HEAD)
                    file.seek(0)
                    digest, size = self._writer().add_stream(file)
            except (ItemUnreadable, ItemVanished) as raised:
                error = raised
        if error is not None:
            if isinstance(error, ItemUnreadable):
                self._problems.append(ScanProblem(self._subject.name, "", str(error)))
            else:
                self._late = True
            return None
        self._progress.advance("messages")
        if form := stored_form(head):
            self._found[digest] = form
        own = os.fsdecode(source.identity.rpartition(b"/")[2])
        kind, name, headers, date = describe(taken.kind, own, head, taken.date)
        return _Stored(kind, name, Content(digest, size, date, headers))

    def _other_contents(self) -> dict[int, _Stored]:
        """Reads again what is to be read again; returns what differs from the last version."""
        rechecks = self._plan.rechecks
        sources = [recheck.source for recheck in rechecks]
        found: dict[int, _Stored] = {}
        for recheck, taken in zip(
            rechecks, take_ahead(self._subject.mailbox, sources, self._stop), strict=True
        ):
            stored = self._store(taken)
            if stored is None:
                self._unread.add(recheck.folder)
                continue
            self._revisions.append((recheck.item, recheck.folder, recheck.source.revision))
            content = stored.content
            with self._backup.reader() as reader:
                version = reader.version(recheck.item, MAX_SEQUENCE)
            if version is None or content[:3] != (version.digest, version.size, version.date):
                found[recheck.item] = stored
            self._rewritten += version is not None and version.digest != content.digest
        return found

    # Recording

    def _cursor(self, mark: CursorUpdate) -> FolderCursor:
        """For the next scan: where something couldn't be read, all is asked again."""
        identities = tuple(sorted(mark.identities))
        if mark.folder in self._unread:
            return FolderCursor(identities, b"", mark.before)
        return FolderCursor(identities, mark.cursor, mark.looked)

    @contextmanager
    def _commit(self) -> Iterator[tuple[Commit, Tally]]:
        """A commit that names the blobs read so far, which are durable before it begins. The first
        one also makes the account and its folders. What its tally counts is counted once it is
        committed."""
        self._stop.check()
        plan = self._plan
        reads = plan.arrivals or plan.renames or plan.rechecks
        flushed = self._writer().flush() if reads else None
        tally = Tally()
        with self._backup.journal.commit(self._account or ROOT, self._revision) as commit:
            if flushed:
                blobs = ((digest, encode_location(place)) for digest, place in flushed.blobs)
                commit.index(blobs, flushed.lengths, flushed.needed)
            if not self._structured:
                self._record_structure(commit, tally)
                self._structured = True
            yield commit, tally
        self._account = commit.account
        self._revision += 1
        self._tally.add(tally)

    def _item(self, ref: int) -> int:
        return self._items.get(ref, ref)

    def _record_structure(self, commit: Commit, tally: Tally) -> None:
        """The account, if it is new, its new folders, and those that were renamed."""
        if self._account is None and self._draft:
            self._items[NEW] = commit.create(self._draft)
            self._state = self._new_state()
            commit.set_store_state(self._state)  # so that it is recognised from now on
            tally.created += 1
        # A folder may be renamed into a new one, or made inside a renamed one: parents first.
        steps: list[NewFolder | FolderChange] = [
            *self._plan.new_folders,
            *self._plan.folder_changes,
        ]
        steps.sort(key=lambda step: step.path)
        for step in steps:
            name = folder_name(step.path[-1])
            identity = os.fsencode(step.path[-1])
            parent = self._item(step.parent)
            if isinstance(step, NewFolder):
                draft = Draft(Kind.FOLDER, parent, name, identity, meta=step.meta)
                item = self._items[step.ref] = commit.appear(draft)
                commit.set_cursor(item, FolderCursor())
                tally.created += 1
                self._told.add(item)
            else:
                item = step.item
                if commit.change(item, folder=parent, name=name, identity=identity, meta=step.meta):
                    tally.changed += 1
                    self._told.add(item)
            self._names[item] = name
        self._settle_names(commit, tally)

    def _settle_names(self, commit: Commit, tally: Tally) -> None:
        """Gives folders the names that others had when they were recorded, and have left since."""
        for item, name in self._names.items():
            if commit.change(item, name=name) and item not in self._told:
                tally.changed += 1

    def _record_arrivals(self, commit: Commit, tally: Tally, drafts: list[Draft]) -> None:
        for draft in drafts:
            commit.appear(draft._replace(folder=self._item(draft.folder)))
        tally.created += len(drafts)
        if self._found:
            self._count_forms(draft.content.digest for draft in drafts if draft.content)
            commit.set_store_state(self._with_forms(self._state))

    def _record_changes(self, commit: Commit, tally: Tally, contents: dict[int, _Stored]) -> None:
        """Moves, flags and contents: what happened to one item is one transaction."""
        changes: dict[int, dict[str, Any]] = {}
        for move in self._moves:
            changes[move.item] = {
                "folder": self._item(move.folder),
                "identity": move.identity,
                "flags": move.flags,
            }
        for flagged in self._plan.flag_changes:
            changes.setdefault(flagged.item, {}).setdefault("flags", flagged.flags)
        if self._found:
            digests = {item: stored.content.digest for item, stored in contents.items()}
            self._count_forms(new for item, new in digests.items() if self._digest(item) != new)
        for item, stored in contents.items():
            change = changes.setdefault(item, {})
            change["content"] = stored.content
            if traits(stored.kind).replaced:  # its name follows what it is about
                change["name"] = stored.name
        for item, change in changes.items():
            self._stop.check()
            tally.changed += commit.change(item, **change)
        for item, folder, revision in self._revisions:
            if revision:
                commit.set_revision(self._item(folder), item, revision)
        tally.rewritten += self._rewritten

    def _record_removals(self, commit: Commit, tally: Tally) -> None:
        for item in (*self._removals, *self._plan.gone_folders):
            self._stop.check()
            commit.delete(item)
        for folder in self._plan.gone_folders:
            commit.drop_cursor(folder)
        tally.deleted += len(self._removals) + len(self._plan.gone_folders)
        tally.removed += len(self._removals)

    def _with_forms(self, state: StoreState) -> StoreState:
        return msgspec.structs.replace(state, forms=dict(self._forms))

    def _count_forms(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            if form := self._found.get(digest):
                self._forms[form] += 1

    def _is_known(self, state: StoreState) -> bool:
        """Whether nothing of a state needs to be recorded. A fingerprint spares the next scans a
        little, and changes often: another one comes along with what else changes."""
        known = self._state
        if known.fingerprint:
            state = msgspec.structs.replace(state, fingerprint=known.fingerprint)
        return state == known

    def _new_state(self) -> StoreState:
        """The state of the account's mail, with what its mailbox is recognised by. A GUID that
        isn't told for a while stays."""
        identity = self._subject.identity
        assert identity is not None
        return msgspec.structs.replace(
            self._state,
            source=self._subject.origin,
            location=self._subject.location or self._subject.origin,
            guid=identity.guid or self._state.guid,
            directory=identity.directory,
            born=identity.born,
            validity=identity.validity,
            next_uid=identity.next_uid,
            made=(),
            fingerprint=fingerprint_of(self._subject.mailbox)
            if identity.guid or not self._state.guid
            else b"",
        )


def _draft(arrival: AddedItem, stored: _Stored) -> Draft:
    return Draft(
        kind=stored.kind,
        folder=arrival.folder,
        name=stored.name,
        identity=arrival.source.identity,
        content=stored.content,
        flags=arrival.source.flags,
        revision=arrival.source.revision,
    )
