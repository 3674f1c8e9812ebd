"""Scans one account: looks, plans, reads what is new, records.

Order: arrivals are recorded in groups, each once its content is durable; then, in one last commit,
the moves, flag changes and removals, and where the source left off. A scan that is killed anywhere
leaves what it committed; the next one finds the rest by comparing again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from engine.backup import Backup
from engine.blobs import encode_location
from engine.blobs.writer import PackWriter
from engine.connectors.source import MailboxIdentity
from engine.domain.description import HEAD, describe
from engine.domain.errors import Conflict, ItemUnreadable, ItemVanished
from engine.domain.kinds import Kind, traits
from engine.domain.model import ROOT
from engine.domain.naming import account_name, folder_name
from engine.domain.paths import FolderPath
from engine.domain.stored_form import stored_form
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import FolderCursor, StoreState
from engine.journal.writer import Commit, Content, Draft
from engine.scan.comparison import NEW, Looked, Subject, look
from engine.scan.fetching import Taken, streamed, take, take_ahead
from engine.scan.folder_cache import Memory
from engine.scan.known import living_accounts
from engine.scan.mailboxes import fingerprint_of
from engine.scan.pairing import Arrival
from engine.scan.plan import AccountPlan, FolderChange, Mark, Move, NewFolder, Rename
from engine.scan.recognition import recognised
from engine.scan.report import Problem, Tally
from engine.scan.survey import NO_FILES, Files
from engine.system.progress import Progress
from engine.system.stop import Stop

GROUP_MESSAGES = 1000
"""Arrivals recorded by one commit, at most."""
GROUP_BYTES = 32 << 20
WHOLE = 4 << 20
"""An item up to this size is read at once; a larger one is streamed."""
LATE = 3
"""How often an account is planned anew because items were gone before they were read."""
ATTEMPTS = 10
"""How often an account is planned anew for a conflict, unless it is that others changed it: they
come to an end."""


def scan_account(
    backup: Backup,
    subject: Subject,
    writer: Callable[[], PackWriter],
    stop: Stop,
    tally: Tally,
    *,
    deep: bool = False,
    folders: Collection[FolderPath] | None = None,
    files: Files = NO_FILES,
    memory: Memory | None = None,
    progress: Progress | None = None,
    emptied: Callable[[Subject], None] = lambda subject: None,
    replaced: Callable[[], None] = lambda: None,
) -> int:
    """Scans an account and records what changed; returns its item. Blocks.

    `writer` opens the thread's blob writer when it is first needed; `progress` is told of messages
    as they are read; for the others see `look`. What was committed is in `tally`, even if this
    raises: SourceUnavailable where the mailbox can't be read at all, StorageFull, Interrupted.

    With `folders` only these are said to have changed, in a mailbox whose account is known. The
    others and the metadata of the account are left alone, but where messages come or go the others
    are asked, too: so a move stays a move. What was missed the next scan without `folders` finds.
    """
    if subject.identity is None:
        subject = replace(subject, identity=subject.mailbox.identity())
    futile = late = 0
    had: int | None = None
    if subject.item is None:
        folders = None
    while True:
        looked = look(
            backup,
            subject,
            stop,
            deep=deep,
            folders=folders,
            files=files,
            memory=memory,
            emptied=emptied,
            replaced=replaced,
        )
        if had is None:
            had = looked.had
            tally.had += had
        recording = _Recording(
            backup,
            subject,
            looked,
            writer,
            stop,
            tally,
            progress or Progress(),
            whole=folders is None,
            strict=late < LATE,
        )
        try:
            item = recording.run()
        except (_Late, Conflict) as error:
            if subject.item is None:
                subject = replace(subject, item=_made_meanwhile(backup, subject))
            if isinstance(error, _Late):
                late += 1
                continue
            futile += _revision(backup, subject) == looked.state.revision
            if futile == ATTEMPTS:
                raise
            continue
        tally.problems += looked.problems
        tally.notes += looked.notes
        return item


def bring_back(backup: Backup, subject: Subject) -> bool:
    """Records that a deleted account has returned; False where another process has done so."""
    assert subject.item is not None
    draft = _account_draft(subject, [])  # the scan that follows tells what is wrong
    with backup.journal.commit(subject.item) as commit:
        if commit.living(subject.item):
            return False
        commit.restore(subject.item, draft)
    return True


def remove(backup: Backup, account: int, *, succeeded: bool = False) -> bool:
    """Records that an account is gone, with all that it holds, and whether its name has another's
    mailbox now; False where another process has done so."""
    with backup.journal.commit(account) as commit:
        if not commit.living(account):
            return False
        commit.delete(account)
        known = commit.account_state()
        now = backup.clock.now() if succeeded else 0
        state = msgspec.structs.replace(known, succeeded=now, acknowledged=0)
        if state != known:
            commit.set_account_state(state)
    return True


def note_made(backup: Backup, account: int, identity: MailboxIdentity) -> None:
    """Notes that a mailbox was made for an account by a restore."""
    with backup.journal.commit(account) as commit:
        state = commit.store_state()
        made = tuple(dict.fromkeys((*state.made, *identity.marks)))
        commit.set_store_state(msgspec.structs.replace(state, made=made))


def settle_name(backup: Backup, account: int) -> None:
    """Shows an account by its name, if that is free now: another one had it when it got it."""
    with backup.reader() as reader:
        version = reader.version(account, MAX_SEQUENCE)
        if version is None:
            return
        name = account_name(os.fsdecode(version.identity))
        if reader.lookup(ROOT, name, MAX_SEQUENCE) is not None:
            return
    with backup.journal.commit(account) as commit:
        if commit.living(account):
            commit.change(account, name=name)


def _made_meanwhile(backup: Backup, subject: Subject) -> int | None:
    """The item of an account that was new, and that this or another process has made since."""
    assert subject.identity is not None
    with backup.reader() as reader:
        for account in living_accounts(reader, subject.name):
            if recognised(account, subject.identity):
                return account.item
    return None


def _revision(backup: Backup, subject: Subject) -> int:
    with backup.reader() as reader:
        return reader.store(subject.item).revision if subject.item else 0


def _account_draft(subject: Subject, problems: list[Problem]) -> Draft:
    return Draft(
        kind=Kind.ACCOUNT,
        folder=ROOT,
        name=account_name(subject.name),
        identity=os.fsencode(subject.name),
        meta=_metadata(subject, problems) or {},
    )


def account_changes(backup: Backup, subject: Subject, problems: list[Problem]) -> Mapping[str, Any]:
    """What of the account itself differs from its last version, as arguments for
    `Commit.change`."""
    if subject.item is None:
        return {}
    with backup.reader() as reader:
        version = reader.version(subject.item, MAX_SEQUENCE)
    identity = os.fsencode(subject.name)
    changes: dict[str, Any] = {}
    if version is None or version.identity != identity:
        changes |= {"identity": identity, "name": account_name(subject.name)}
    meta = _metadata(subject, problems)
    if meta is not None and (version is None or version.meta != meta):
        changes["meta"] = meta
    return changes


def _metadata(subject: Subject, problems: list[Problem]) -> dict[str, Any] | None:
    """The account's metadata; None where it can't be read, which is a problem, and what is known
    still holds."""
    try:
        return subject.mailbox.metadata()
    except ItemUnreadable as error:
        problems.append(Problem(subject.name, "", str(error)))
        return None


class _Stored(NamedTuple):
    """An item whose content the blob writer has."""

    kind: Kind
    name: str
    """As `Draft` has it."""
    content: Content


class _Late(Exception):
    """Items that are in the plan were gone before they were read: what it would leave in their
    folders was never there."""


class _Recording:
    """The execution of one plan. A Conflict ends it; what it had committed by then stays."""

    def __init__(
        self,
        backup: Backup,
        subject: Subject,
        looked: Looked,
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
        self._draft = None if subject.item else _account_draft(subject, self._problems)
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
        self._moves = list(looked.plan.moves)
        self._removals = list(looked.plan.removals)

    def run(self) -> int:
        """Records all of it, and returns the account. Raises Conflict and _Late."""
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
            raise _Late
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

    def _arrived(self) -> Iterator[tuple[Arrival, _Stored]]:
        """The items to be recorded as new, with what was stored of them. A renamed one that has
        the content that it had is a move; else it is new, and the other one is gone."""
        made = self._plan
        todo: list[tuple[Arrival, Rename | None]] = [(arrival, None) for arrival in made.arrivals]
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
            else:
                self._removals += [rename.item] if rename else []
                yield arrival, stored

    def _digest(self, item: int) -> bytes:
        with self._backup.reader() as reader:
            version = reader.version(item, MAX_SEQUENCE)
        return version.digest if version else b""

    def _store(self, taken: Taken) -> _Stored | None:
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
                self._problems.append(Problem(self._subject.name, "", str(error)))
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
            content = stored.content
            with self._backup.reader() as reader:
                version = reader.version(recheck.item, MAX_SEQUENCE)
            if version is None or content[:3] != (version.digest, version.size, version.date):
                found[recheck.item] = stored
            self._rewritten += version is not None and version.digest != content.digest
        return found

    # Recording

    def _cursor(self, mark: Mark) -> FolderCursor:
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


def _draft(arrival: Arrival, stored: _Stored) -> Draft:
    return Draft(
        kind=stored.kind,
        folder=arrival.folder,
        name=stored.name,
        identity=arrival.source.identity,
        content=stored.content,
        flags=arrival.source.flags,
    )
