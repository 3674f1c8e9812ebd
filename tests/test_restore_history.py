"""Any instant of any history, restored into an empty mailbox, is what the mailbox was then."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.connectors.maildir.names import flags_of, subscriptions
from engine.connectors.sources import open_source
from engine.connectors.targets import open_target
from engine.journal.keys import MAX_SEQUENCE
from engine.query.accounts import Account, accounts
from engine.restore.delivery import Delivered, deliver
from engine.restore.destination import Destination, open_destination
from engine.restore.existing import compare
from engine.restore.selection import Selection, deleted, subtree
from engine.system.clock import SystemClock
from engine.system.stop import Stop
from tests.history.faulty import Victims
from tests.history.server import _MARKS, AccountShown, Message, content
from tests.history.stories import TEXTS, Step, Telling, steps, telling
from tests.maildrop import Maildir
from tests.memory import MEMORY

FEWER = {
    "scan cut short": 0,
    "disturbed scan": 0,
    "failing scan": 0,
    "race": 0,
    "clock": 0,
    "reopen": 0,
    "scan": 8,
    "purge": 0,
    "purge cut short": 0,
    "erase": 0,  # what is erased doesn't come back
    "restore": 0,
    "undelete": 0,
    "move house": 0,
}


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    victims = Victims()
    yield victims
    victims.close()


def restore(told: Telling, selection: Selection, location: str) -> Delivered:
    """Restores to a mailbox of this location."""
    clock = SystemClock()
    with closing(open_target(f"maildir:{location}", clock).mailbox("x", make=True)) as mailbox:
        destination = Destination("x", None, mailbox)
        backup = told.keeper.backup
        made = compare(backup, selection, destination, (), Stop(), anywhere=False)
        return deliver(backup, made, mailbox, Stop())


def scanned(location: str) -> AccountShown:
    """What a source shows of the mailbox."""
    source = open_source(f"maildir:{location}?account=x", SystemClock())
    folders: dict[tuple[str, ...], dict[bytes, Message]] = {}
    with closing(source.mailbox("x")) as mailbox:
        for folder in mailbox.folders().folders:
            folders[folder.path] = {}
            for item in mailbox.listing(folder.path).items if folder.real else ():
                with mailbox.fetch(item) as fetched:
                    message = Message(fetched.file.read(), fetched.date, item.flags)
                    folders[folder.path][item.identity] = message
        return AccountShown(folders, mailbox.metadata())


def without_names(shown: AccountShown) -> tuple[object, object]:
    """Restored messages have names of their own, and don't come to be deleted at once."""
    folders = {
        path: Counter(
            message._replace(flags=tuple(f for f in message.flags if f != "\\Deleted"))
            for message in messages.values()
        )
        for path, messages in shown.folders.items()
    }
    return folders, sorted(shown.meta.get("subscriptions", ()))


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=set(Phase) - {Phase.explain},
)
@given(story=steps(**FEWER), seed=st.integers(0, 1000))
def test_every_instant_can_be_restored(victims: Victims, story: list[Step], seed: int) -> None:
    chance = random.Random(seed)
    with telling(victims) as told, TemporaryDirectory(dir=MEMORY) as directory:
        told.tell("appear alice")
        told.tell("folder alice Work")
        told.tell("deliver alice first hello Work")
        told.tell("scan")
        for step in story:
            told.follow(step)
        told.tell("scan")
        for number, (time, shown) in enumerate(chance.sample(told.keeper.snapshots, 2)):
            for account, wanted in shown.items():
                with told.keeper.backup.reader() as reader:
                    sequence = reader.sequence_at(time)
                    item = next(
                        entry.item
                        for entry in reader.listing(1, sequence)
                        if entry.version.identity == account.encode()
                    )
                    version = reader.version(item, sequence)
                    assert version
                    owner = Account(item, version.name, account, 0, None)
                    selection = subtree(reader, owner, item, min(sequence, MAX_SEQUENCE))
                location = f"{directory}/{number}/{account}"
                messages = sum(map(len, wanted.folders.values()))
                done = restore(told, selection, location)
                assert done.ok
                assert len(done.restored) == messages
                assert without_names(scanned(location)) == without_names(wanted)
                again = restore(told, selection, location)
                assert again.ok
                assert len(again.skipped) == messages
                assert not again.restored
                assert not again.folders
                Path(location).rename(f"{location}-checked")


# Into the live mailbox, while its history goes on


def absorb(told: Telling, account: str) -> None:
    """Lets the server remember what a restore added to a mailbox."""
    maildir, mailbox = Maildir(told.server.mail / account), told.server.mailboxes[account]
    table = {folder: maildir.keywords(folder) for folder in maildir.folders()}
    for folder in maildir.folders():
        known = mailbox.folders.setdefault(folder, {})
        mailbox.marks.setdefault(folder, next(_MARKS))
        for unique, path in maildir.messages(folder).items():
            if unique not in known:
                flags = flags_of(path.name.partition(":2,")[2], table[folder])
                date = path.stat().st_mtime_ns // 1000
                raw = path.read_bytes()
                known[unique] = Message(raw, date, flags)
                told.texts[unique] = next(text for text in TEXTS if content(text) == raw)
    try:
        listed = (maildir.root / "subscriptions").read_bytes()
    except FileNotFoundError:
        pass
    else:
        mailbox.subscriptions = tuple(subscriptions(listed))
    told.server.touched(account, *mailbox.folders)


def bring_back(told: Telling, chance: random.Random) -> None:
    """Undeletes or restores something in a live mailbox, twice."""
    backup = told.keeper.backup
    with backup.reader() as reader:
        living = [a for a in accounts(reader) if a.source_name in told.server.mailboxes]
        living = [a for a in living if a.deleted is None]
        last = reader.last_sequence()
        if not living:
            return
        account = chance.choice(living)
        sequence = chance.randint(1, last)
        into = chance.choice([(), ("Back",), ("Back", "Ü")])
        whole = chance.random() < 0.5 and reader.version(account.item, sequence) is not None
        if whole:
            selection = subtree(reader, account, account.item, sequence)
        else:
            selection = deleted(reader, account, sequence, last)
    before = {
        folder: Counter(messages.values())
        for folder, messages in told.server.mailboxes[account.source_name].folders.items()
    }
    for run in range(2):
        destination = open_destination(backup, account)
        with closing(destination.mailbox):
            anywhere = bool(into) and not whole
            made = compare(backup, selection, destination, into, Stop(), anywhere=anywhere)
            assert run == 0 or made.count == 0
            assert deliver(backup, made, destination.mailbox, Stop()).ok
    absorb(told, account.source_name)
    after = told.server.mailboxes[account.source_name].folders
    for folder, messages in before.items():
        assert messages <= Counter(after[folder].values())
    wanted = Counter((m.folder, m.digest) for m in selection.messages)
    if not into:
        there = Counter(
            (tuple(folder.split("/")), blake3(message.raw).digest())
            for folder, messages in after.items()
            for message in messages.values()
        )
        assert wanted <= there


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=set(Phase) - {Phase.explain},
)
@given(story=steps(**FEWER), more=steps(**FEWER), seed=st.integers(0, 1000))
def test_a_history_goes_on_after_restores(
    victims: Victims, story: list[Step], more: list[Step], seed: int
) -> None:
    """What they add is recorded as any other mail, and every instant stays as it was."""
    chance = random.Random(seed)
    with telling(victims) as told:
        told.tell("appear alice")
        for part in (story[:40], more[:30], []):
            for step in part:
                told.follow(step)
            told.tell("scan")
            bring_back(told, chance)
        told.tell("scan")
