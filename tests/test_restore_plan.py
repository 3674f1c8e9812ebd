"""What a restore plans, and how fast it goes. Pure."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.mail import kept_flags
from engine.connectors.targets import open_target
from engine.domain.errors import UsageError
from engine.domain.kinds import Kind
from engine.domain.paths import FolderPath
from engine.journal.erasures import account_hash, content_hash, record
from engine.journal.records import Erasure
from engine.query.accounts import Account
from engine.restore.destination import Destination
from engine.restore.existing import compare
from engine.restore.plan import placed, plan
from engine.restore.selection import Message, Selection, deleted, subtree
from engine.restore.throttle import Throttle
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter

ACCOUNT = Account(2, "alice", "alice", 0, None)
FOLDERS: list[FolderPath] = [("INBOX",), ("Work",), ("Work", "Apollo")]
DIGESTS = [b"a", b"b", b"c"]


def message(item: int, folder: FolderPath, digest: bytes) -> Message:
    return Message(item, folder, f"{item}.eml", digest, 3, 0, (), b"", Kind.MESSAGE, {})


messages = st.lists(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(DIGESTS)), max_size=12).map(
    lambda found: [message(number, *one) for number, one in enumerate(found, start=3)]
)
counts = st.dictionaries(st.sampled_from(DIGESTS), st.integers(0, 3)).map(Counter)


@given(
    messages,
    st.dictionaries(st.sampled_from(FOLDERS), counts),
    st.sets(st.sampled_from(DIGESTS)),
    st.sampled_from([(), ("Back",), ("Back", "again")]),
)
def test_in_the_end_each_folder_has_what_it_had_and_what_is_wanted(
    wanted: list[Message],
    had: dict[FolderPath, Counter[bytes]],
    erased: set[bytes],
    into: FolderPath,
) -> None:
    selection = Selection(ACCOUNT, 0, messages=wanted)
    there = {placed(folder, 0, into): counted for folder, counted in had.items()}
    made = plan(selection, into, there, {}, erased)
    for folder in FOLDERS:
        path = placed(folder, 0, into)
        want = Counter(m.digest for m in wanted if m.folder == folder and m.digest not in erased)
        came = Counter(m.digest for m in made.deliveries.get(path, ()))
        before = there.get(path, Counter())
        assert before + came == before | want
    handled = [m for found in made.deliveries.values() for m in found]
    handled += [skipped.message for skipped in made.skipped] + made.erased
    assert sorted(handled) == sorted(wanted)
    assert all(m.digest in erased for m in made.erased)
    assert set(made.deliveries) <= set(made.folders)
    assert all(path[: len(into)] == into for path in made.folders)
    assert not into or not made.folders or into in made.folders
    again = plan(
        selection,
        into,
        {
            path: there.get(path, Counter())
            + Counter(m.digest for m in made.deliveries.get(path, ()))
            for path in there.keys() | made.deliveries.keys()
        },
        {},
        erased,
    )
    assert again.count == 0
    assert again.folders == []


def test_what_is_elsewhere_need_not_come() -> None:
    selection = Selection(ACCOUNT, 0, messages=[message(3, ("INBOX",), b"a")])
    made = plan(selection, ("Back",), {}, {b"a": ("Archive",)})
    assert made.count == 0
    assert [skipped.where for skipped in made.skipped] == [("Archive",)]


def test_where_things_are_put() -> None:
    assert placed(("Work", "Apollo"), 1, ("Old",)) == ("Old", "Apollo")
    assert placed(("Work",), 1, ("Old",)) == ("Old",)
    assert placed(("Work",), 1, ()) == ("Work",)
    assert kept_flags(("$Junk", "\\Deleted", "\\Seen")) == ("$Junk", "\\Seen")


def test_a_throttle_lets_so_much_through_in_a_second() -> None:
    now, waited = 0.0, []

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        waited.append(seconds)

    throttle = Throttle(100, wait, lambda: now)
    assert list(throttle.through([b"x" * 50, b"y" * 150, b"", b"z"])) == [
        b"x" * 50,
        b"y" * 150,
        b"",
        b"z",
    ]
    assert waited == [0.5, 1.5]
    now = 100.0
    assert list(throttle.through([b"x" * 1000])) == [b"x" * 1000]
    assert list(throttle.through([b"x"])) == [b"x"]
    assert waited[2:] == [10.0]
    assert list(Throttle(0, wait).through([b"x" * 10**6])) == [b"x" * 10**6]
    assert len(waited) == 3


# From a journal


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallBackup:
    return SmallBackup(tmp_path_factory.mktemp("small") / "backup")


def chosen(small: SmallBackup, account: int, since: int = 0) -> Selection:
    with small.backup.reader() as reader:
        owner = Account(account, "alice", "alice", 0, None)
        return deleted(reader, owner, since, reader.last_sequence())


def test_what_was_erased_does_not_come_back(small: SmallBackup) -> None:
    account = small.account("alice")
    inbox = small.folder(account, "INBOX")
    items = small.messages(account, inbox, [letter(1), letter(2)])
    small.delete(account, *items)
    selection = chosen(small, account)
    assert [m.item for m in selection.messages] == items
    clock = ManualClock(0)
    target = f"maildir:{small.path.parent}/out"

    def compared() -> tuple[int, list[int]]:
        mailbox = open_target(target, clock).mailbox("alice", make=True)
        destination = Destination("alice", None, mailbox)
        made = compare(small.backup, selection, destination, (), Stop(), anywhere=False)
        return made.count, [m.item for m in made.erased]

    assert compared() == (2, [])
    environment, own = small.backup.journal.environment, small.backup.identity.backup
    with environment.write() as txn:
        digest = selection.messages[0].digest
        record(environment, txn, content_hash(own, b"alice", digest), Erasure(1, 99, 1))
    assert compared() == (1, [items[0]])
    with environment.write() as txn:
        record(environment, txn, account_hash(own, b"alice"), Erasure(1, account, 3))
    with pytest.raises(UsageError, match="was erased"):
        compared()
    small.close()


def test_a_folder_is_named_as_its_source_named_it(small: SmallBackup) -> None:
    """Views show an escaped name; the mailbox gets its own."""
    account = small.account("alice")
    small.clock.advance(1)
    folder = small.folder(account, "account.json")
    small.change(account, folder, name="%61ccount.json")
    item = small.message(account, folder, letter(1))
    with small.backup.reader() as reader:
        owner = Account(account, "alice", "alice", 0, None)
        selection = subtree(reader, owner, account, reader.last_sequence())
    assert selection.folders == [("account.json",)]
    assert [m.folder for m in selection.messages] == [("account.json",)]
    small.delete(account, item)
    assert [m.folder for m in chosen(small, account).messages] == [("account.json",)]
    small.delete(account, folder)
    assert chosen(small, account).folders == [("account.json",)]
    small.close()


def test_subscriptions_are_those_of_folders_first(small: SmallBackup) -> None:
    account = small.account("alice")
    small.folder(account, "Apollo", small.folder(account, "Work"))
    names = ["INBOX", "Work.Apollo", "Work/Apollo", "Play/Chess", "", "v1.2"]
    small.change(account, account, meta={"subscriptions": names})
    with small.backup.reader() as reader:
        owner = Account(account, "alice", "alice", 0, None)
        selection = subtree(reader, owner, account, reader.last_sequence())
    assert selection.subscriptions == [
        ("INBOX",),
        ("Work", "Apollo"),
        ("Work", "Apollo"),
        ("Play", "Chess"),
        ("v1.2",),
    ]
    small.close()
