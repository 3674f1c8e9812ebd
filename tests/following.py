"""A real-time scan at work in this process, and the states that mail went through, to compare."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from engine.backup import Backup, create
from engine.connectors.registry import KINDS
from engine.connectors.sources import open_source
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.scan.follow.follower import Follower
from engine.scan.follow.listener import Listener
from engine.scan.follow.rescans import Scan
from engine.scan.report import Tally
from engine.scan.smart import NamedSource
from engine.settings import config
from engine.system.stop import Stop
from tests.commands import until
from tests.maildrop import Maildir

FLAGS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}

Folder = dict[str, tuple[str, ...]]
"""The flags of its messages, by unique name."""
State = dict[str, dict[str, Folder]]
"""Account -> folder -> messages."""


class Heard(Listener):
    """A listener that remembers."""

    def __init__(self) -> None:
        self.tallies: list[tuple[str, Tally]] = []
        self.troubles: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def recorded(self, account: str, tally: Tally) -> None:
        self.tallies.append((account, tally))

    def trouble(self, account: str, what: str) -> None:
        self.troubles.append((account, what))

    def note(self, what: str) -> None:
        self.notes.append(what)

    def rewritten(self) -> int:
        """How many messages were recorded with another content."""
        return sum(tally.rewritten for _, tally in self.tallies)


@contextmanager
def at_work(
    backup: Backup, spec: str, heard: Heard, scan_all: Scan | None = None
) -> Iterator[Follower]:
    """A source is followed for as long as the block lasts. Everything is caught up with at its
    start."""
    source = NamedSource(spec, open_source(spec, backup.clock))
    follower = Follower(backup, [source], listener=heard, scan_all=scan_all)
    failures: list[BaseException] = []
    stop = Stop()

    def run() -> None:
        try:
            follower.run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: follower.state().ready or failures, "the first scan")
        yield follower
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


class Post:
    """A mail server's directory, and a backup of it that is followed."""

    def __init__(self, directory: Path, pattern: str = "{account}", **settings: object) -> None:
        self.vmail = directory / "mail"
        self.vmail.mkdir(exist_ok=True)
        self.path = directory / "backup"
        self.spec = f"maildir:{self.vmail}/{pattern}"
        if not self.path.exists():
            create(self.path, [self.spec])
            for key, value in settings.items():
                config.set_value(self.path / "config.toml", f"realtime.{key}", str(value), KINDS)
        self.backup = Backup(self.path, write=True)
        self.heard = Heard()
        self.follower: Follower | None = None

    def maildir(self, account: str) -> Maildir:
        return Maildir(self.vmail / account)

    def followed(self, scan_all: Scan | None = None) -> AbstractContextManager[Follower]:
        """Follows for as long as the block lasts. Everything is caught up with at its start."""
        return at_work(self.backup, self.spec, self.heard, scan_all)

    def recorded(self) -> State:
        """What the journal says now."""
        with self.backup.reader() as reader:
            return state_at(reader, MAX_SEQUENCE)

    def states(self) -> list[State]:
        """What each commit left, the same in a row only once."""
        found: list[State] = []
        with self.backup.reader() as reader:
            for key, value in reader.txn.cursor(reader.tables.times):
                span = reader.span(key, value)
                state = state_at(reader, span.sequence + span.length - 1)
                if not found or found[-1] != state:
                    found.append(state)
        return found

    def there(self) -> State:
        """What the mail server has now."""
        return {
            path.name: shown(Maildir(path)) for path in sorted(self.vmail.iterdir()) if is_box(path)
        }

    def caught_up(self) -> None:
        """Waits until what is recorded is what is there."""
        until(lambda: self.recorded() == self.there(), "all is recorded")

    def close(self) -> None:
        self.backup.close()


def is_box(path: Path) -> bool:
    return (path / "cur").is_dir()


def shown(mailbox: Maildir) -> dict[str, Folder]:
    """The folders of a mailbox, and their messages."""
    return {
        folder: {
            unique: flags_of(path.name, mailbox.keywords(folder))
            for unique, path in mailbox.messages(folder).items()
        }
        for folder in mailbox.folders()
    }


def flags_of(name: str, keywords: list[str]) -> tuple[str, ...]:
    letters = name.partition(":2,")[2]
    return tuple(sorted(FLAGS[c] if c.isupper() else keywords[ord(c) - ord("a")] for c in letters))


def state_at(reader: Reader, sequence: int) -> State:
    """All that was alive at a sequence."""
    state: State = {}
    accounts = {a.item: a for a in reader.accounts()}
    for item in accounts:
        version = reader.version(item, sequence)
        if version is None:
            continue
        folders: dict[str, Folder] = {}
        state[os.fsdecode(version.identity)] = folders
        open_ = [(item, "")]
        while open_:
            container, path = open_.pop()
            for entry in reader.listing(container, sequence):
                name = os.fsdecode(entry.version.identity)
                if entry.version.container:
                    below = f"{path}/{name}" if path else name
                    folders[below] = {}
                    open_.append((entry.item, below))
                else:
                    folders[path][name] = tuple(sorted(entry.version.flags))
    return state


class History:
    """Random things that happen to a mailbox, one directory entry at a time."""

    def __init__(self, mailbox: Maildir, rng: random.Random) -> None:
        self._mailbox = mailbox
        self._rng = rng
        self._number = 0

    def step(self) -> None:
        """The next thing."""
        mailbox, rng = self._mailbox, self._rng
        folder, other = (rng.choice(mailbox.folders()) for _ in range(2))
        messages = sorted(mailbox.messages(folder))
        kind = rng.randrange(12)
        self._number += 1
        name = f"{self._number}.{mailbox.root.name}"
        if kind < 4 or not messages:
            mailbox.deliver(b"Subject: %d\n\nhi\n" % self._number, folder, unique=name)
        elif kind < 6:
            mailbox.flag(rng.choice(messages), "".join(rng.sample("FRST", 2)), folder)
        elif kind < 8 and folder != other:
            mailbox.move(rng.choice(messages), folder, other)
        elif kind == 8:
            mailbox.expunge(rng.choice(messages), folder)
        elif kind == 9:
            mailbox.copy(rng.choice(messages), folder, other, new_unique=name)
        elif kind == 10 and len(mailbox.folders()) < 5:
            mailbox.create_folder(f"F{self._number}")
        elif kind == 11 and folder != "INBOX":
            mailbox.rename_folder(folder, f"R{self._number}")


def places(state: State) -> dict[str, set[tuple[str, tuple[str, ...]]]]:
    """Where each message is, and with which flags."""
    found: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for folders in state.values():
        for folder, messages in folders.items():
            for unique, flags in messages.items():
                found.setdefault(unique, set()).add((folder, flags))
    return found


def assert_went_through(recorded: list[State], states: list[State]) -> None:
    """Asserts that each message was recorded in states that it went through, in their order, and
    that the last that was recorded of all is the last that there was."""
    assert recorded[-1] == states[-1]
    for message in {m for state in states for m in places(state)}:
        went = [places(state).get(message, set()) for state in states]
        found = [places(state).get(message, set()) for state in recorded]
        assert is_subsequence(without_repeats(found), [set(), *without_repeats(went)]), message


def without_repeats(states: list[set[tuple[str, tuple[str, ...]]]]) -> list[object]:
    return [s for i, s in enumerate(states) if i == 0 or states[i - 1] != s]


def is_subsequence(few: Iterable[object], many: Iterable[object]) -> bool:
    """Whether all of the few are among the many, in their order."""
    rest = iter(many)
    return all(any(one == other for other in rest) for one in few)
