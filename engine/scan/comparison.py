"""Looks at one account, in the journal and at the source, and makes the plan of its scan.

Reads no content and writes nothing. What didn't change since the last scan is not even listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from engine.backup import Backup
from engine.connectors.source import Mailbox, MailboxIdentity
from engine.domain.paths import FolderPath
from engine.journal.records import StoreState
from engine.scan.folder_cache import FolderCache, Remembered
from engine.scan.known import concerned, count_messages, known_folders
from engine.scan.plan import AccountPlan, plan
from engine.scan.report import ScanProblem
from engine.scan.states import KnownFolder, KnownItem, Path, SeenFolder
from engine.scan.survey import NO_FILES, ROUNDS, Files, Survey
from engine.system.stop import Stop

NEW = -(2**40)
"""Stands for an account that has no item yet."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The account that is scanned."""

    item: int | None
    """None: it is new, and its first commit makes it."""
    name: str
    """As the source names it."""
    mailbox: Mailbox
    origin: str
    """The name of the source."""
    identity: MailboxIdentity | None = None
    """What the mailbox was recognised by as that of the account; None: it is asked for that."""
    location: str = ""
    """Where the source is, as `KIND:LOCATION`; empty where that is its name."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a look found."""

    plan: AccountPlan
    state: StoreState
    """The state of the account's mail that the plan was made from."""
    had: int = 0
    """How many messages the account had."""
    problems: list[ScanProblem] = field(default_factory=list)
    notes: list[ScanProblem] = field(default_factory=list)


def look(
    backup: Backup,
    subject: Subject,
    stop: Stop,
    *,
    deep: bool = False,
    folders: Collection[FolderPath] | None = None,
    files: Files = NO_FILES,
    memory: FolderCache | None = None,
    emptied: Callable[[Subject], None] = lambda subject: None,
    replaced: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compares the account's journal with its source. Blocks.

    With `folders` it looks at these, and at folders that are new or renamed. Only where messages
    have come or gone, and may have come from or gone to another folder, it asks the others whether
    they have changed, too. `files`: in which folders it looks for contents that changed. A process
    that looks often may give a `memory`, always the same.

    `emptied` is called where the plan removes everything that the account has, and `replaced` where
    others come, and none of its own stays; they raise where that can't be right. Raises
    SourceUnavailable where the mailbox can't be read at all. Whose mailbox it is the caller knows:
    see `scan.recognition`.
    """
    with backup.reader() as reader:
        state = reader.store(subject.item) if subject.item else StoreState()
        known = known_folders(reader, subject.item) if subject.item else []
    memory = FolderCache(0) if memory is None else memory
    vanished: set[Path] = set()
    for _ in range(ROUNDS):
        survey = Survey(
            subject.name,
            subject.mailbox,
            known,
            stop,
            deep=deep,
            hinted=folders,
            files=files._replace(turn=state.scans),
        )
        made, had = _compare(backup, subject, known, survey.settle(), memory, stop, deep=deep)
        if survey.partial and (made.arrivals or made.removals):
            survey.widen()
            made, had = _compare(backup, subject, known, survey.settle(), memory, stop, deep=deep)
        if not survey.vanished or survey.vanished == vanished:
            break
        vanished = survey.vanished
    survey.name_vanished()
    if made.removals and had + len(made.arrivals) == len(made.removals):
        emptied(subject)
    if made.arrivals and len(made.removals) == had:
        replaced()
    return Comparison(made, state, had, survey.problems, survey.notes)


def _compare(
    backup: Backup,
    subject: Subject,
    known: list[KnownFolder],
    seen: Mapping[Path, SeenFolder],
    memory: FolderCache,
    stop: Stop,
    *,
    deep: bool,
) -> tuple[AccountPlan, int]:
    """The plan, and how many messages the account has in the journal."""
    entries: dict[int, Mapping[bytes, KnownItem]] = {}
    taken: list[Remembered] = []
    with backup.reader() as reader:
        for folder in known:
            found = seen.get(folder.path)
            if found and found.items is None:
                continue
            if found and found.changes and not found.items and found.changes.gone is None:
                entries[folder.item] = {}
                continue
            remembered = memory.take(reader, folder.item)
            taken.append(remembered)
            whole = remembered.messages
            entries[folder.item] = concerned(whole, found) if found and found.changes else whole
            stop.check()
        had = count_messages(reader, known)
    stop.check()
    made = plan(subject.item or NEW, known, entries, seen.values(), deep=deep)
    stop.check()
    for remembered in taken:
        memory.give_back(remembered)
    return made, had
