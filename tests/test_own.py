"""`.own`: the past of whoever bears a name now, as Maildirs with UIDs that stay."""

from __future__ import annotations

import re
from datetime import UTC

import pytest

from engine.domain.timestamps import format_time
from engine.journal.arrivals import arrival
from tests.backups import SmallBackup, letter
from tests.looking import Looker
from timefs.view.inodes import is_directory
from timefs.view.tree import Tree

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.org"


@pytest.fixture
def look(small: SmallBackup) -> Looker:
    return Looker(Tree(small.backup, UTC))


def now(small: SmallBackup) -> str:
    """The name of the view of this moment."""
    with small.backup.reader() as reader:
        return format_time(reader.horizon(), UTC)


def uids(look: Looker, maildir: str) -> tuple[int, int, dict[str, int]]:
    """UIDVALIDITY, UIDNEXT, and the UIDs by base name, of which there is one for each message."""
    text = look.content(f"{maildir}/dovecot-uidlist")
    assert isinstance(text, bytes)
    head, *lines = text.decode().splitlines()
    match = re.fullmatch(r"3 V([0-9]+) N([0-9]+) G[0-9a-f]{32}", head)
    assert match, head
    found = {name: int(uid) for uid, name in (line.split(" :") for line in lines)}
    assert list(found.values()) == sorted(set(found.values()))
    assert sorted(found) == sorted(name.partition(":")[0] for name in look.names(f"{maildir}/cur"))
    return int(match[1]), int(match[2]), found


def test_a_name_means_whoever_bears_it_now_at_all_instants(
    small: SmallBackup, look: Looker
) -> None:
    before = now(small)
    alice = small.account(ALICE)
    small.message(alice, small.folder(alice, "INBOX"), letter(1))
    first = now(small)
    small.change(alice, alice, name=CAROL, identity=CAROL.encode())  # she has another name now
    other = small.account(ALICE)  # and a stranger has hers
    small.message(other, small.folder(other, "INBOX"), letter(2))
    second = now(small)

    assert look.names("latest/.own") == [ALICE, CAROL]
    for view in (before, first):
        assert look.names(f"{view}/.own/{ALICE}/cur") == []
        assert uids(look, f"{view}/.own/{ALICE}")[2] == {}
        assert look.names(f"{view}/.own/{ALICE}/.deleted/cur") == []
    (hers,) = look.names(f"{first}/.own/{CAROL}/cur")
    assert look.names(f"{second}/.own/{CAROL}/cur") == [hers]
    (theirs,) = look.names(f"{second}/.own/{ALICE}/cur")
    assert theirs != hers
    assert look.names(f"{before}/.own/{CAROL}/cur") == []
    assert look.at(f"{first}/.own/{BOB}") is None
    assert ".own" not in look.names(second)


def test_a_name_is_never_kept_by_the_kernel_though_the_instant_is_past(
    small: SmallBackup, look: Looker
) -> None:
    alice = small.account(ALICE)
    small.message(alice, small.folder(alice, "INBOX"), letter(1))
    first = now(small)
    small.account(BOB)
    owner = look.at(f"{first}/.own/{ALICE}")
    assert owner
    assert not owner.lasting
    assert not look.lookup(look.node(f"{first}/.own").inode, CAROL).lasting
    cur = look.at(f"{first}/.own/{ALICE}/cur")
    assert cur
    assert cur.lasting  # for it is of that account, whatever its name
    small.delete(alice, alice)
    assert look.at(f"{first}/.own/{ALICE}") is None


def test_a_uid_is_the_transaction_by_which_the_message_came(
    small: SmallBackup, look: Looker
) -> None:
    alice = small.account(ALICE)
    inbox, work = small.folder(alice, "INBOX"), small.folder(alice, "Work")
    one, two = small.messages(alice, inbox, [letter(1), letter(2)])
    first = now(small)
    small.change(alice, one, flags=("\\Seen",))
    small.change(alice, two, folder=work)
    second = now(small)
    small.change(alice, two, folder=inbox)
    small.delete(alice, one)
    third = now(small)

    own = f".own/{ALICE}"
    validity, upto, at_first = uids(look, f"{first}/{own}")
    assert upto == max(at_first.values()) + 1
    assert len(at_first) == 2
    (kept,) = uids(look, f"{second}/{own}")[2].items()
    assert kept in at_first.items()  # flags leave it as it is
    assert len(uids(look, f"{second}/{own}/.Work")[2]) == 1
    again = uids(look, f"{third}/{own}")
    assert again[0] == validity
    (back,) = again[2].values()
    assert back > max(at_first.values())  # it came once more
    assert uids(look, f"{third}/{own}/.Work")[0] != validity
    with small.backup.reader() as reader:
        assert back == arrival(reader, two, reader.last_sequence())


def test_what_was_deleted_is_a_maildir_of_its_own(small: SmallBackup, look: Looker) -> None:
    alice = small.account(ALICE)
    inbox, work = small.folder(alice, "INBOX"), small.folder(alice, "Work")
    small.folder(alice, "Empty")
    apollo = small.folder(alice, "Apollo", work)
    one, two, kept = small.messages(alice, inbox, [letter(1), letter(2), letter(3)])
    three = small.message(alice, apollo, letter(4), flags=("\\Flagged", "todo"))
    small.delete(alice, one)
    first = now(small)
    small.delete(alice, three, apollo)
    small.delete(alice, two)

    lost = f".own/{ALICE}/.deleted"
    assert len(look.names(f"{first}/{lost}/cur")) == 1
    assert look.names(f"latest/{lost}") == [
        ".Work",
        ".Work.Apollo",
        "cur",
        "dovecot-keywords",
        "dovecot-uidlist",
        "new",
        "subscriptions",
        "tmp",
    ]
    assert len(uids(look, f"latest/{lost}")[2]) == 2
    assert look.names(f"latest/{lost}/.Work/cur") == []
    (name,) = look.names(f"latest/{lost}/.Work.Apollo/cur")
    assert name.endswith(":2,F")  # and without keywords
    assert look.content(f"latest/{lost}/.Work.Apollo/dovecot-keywords") == b""
    assert uids(look, f"latest/{lost}/.Work.Apollo")[2]
    assert look.content(f"latest/{lost}/subscriptions") == b"V\t2\n\nINBOX\nWork\nWork\tApollo\n"
    assert ".deleted" not in look.names(f"latest/.own/{ALICE}")
    assert kept


def test_all_of_it_can_be_walked_through_and_agrees_with_itself(
    small: SmallBackup, look: Looker
) -> None:
    alice = small.account(ALICE)
    inbox, work = small.folder(alice, "INBOX"), small.folder(alice, "Work")
    items = small.messages(alice, inbox, [letter(n) for n in range(4)])
    early = now(small)
    small.change(alice, items[0], folder=work, flags=("\\Seen", "later"))
    small.delete(alice, items[1])
    for view in ("latest", early, "2024-04"):
        for maildir in (f".own/{ALICE}", f".own/{ALICE}/.plain", f".own/{ALICE}/.deleted"):
            found = look.walk(f"{view}/{maildir}")
            files = {path: node for path, node in found.items() if not is_directory(node.inode)}
            for path, node in files.items():
                content = look.content(f"{view}/{maildir}/{path}")
                length = len(content) if isinstance(content, bytes) else content.location.size
                assert node.size == length, path


def test_uids_beyond_32_bits_are_ranks_under_a_validity_that_changes(
    small: SmallBackup, look: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = small.account(ALICE)
    inbox = small.folder(alice, "INBOX")
    small.messages(alice, inbox, [letter(1), letter(2)])
    monkeypatch.setattr("timefs.view.own._LAST_UID", 3)
    validity, _, found = uids(look, f"latest/.own/{ALICE}")
    assert sorted(found.values()) == [1, 2]
    small.message(alice, inbox, letter(3))
    changed, _, found = uids(look, f"latest/.own/{ALICE}")
    assert sorted(found.values()) == [1, 2, 3]
    assert changed != validity


def test_without_keywords_it_is_the_same(small: SmallBackup, look: Looker) -> None:
    alice = small.account(ALICE)
    inbox = small.folder(alice, "INBOX")
    small.message(alice, inbox, letter(1), flags=("\\Flagged", "\\Seen", "todo"))
    small.message(alice, inbox, letter(2))
    own, plain = f"latest/.own/{ALICE}", f"latest/.own/{ALICE}/.plain"
    assert [name.partition(":")[2] for name in look.names(f"{own}/cur")] == ["2,FSa", "2,"]
    assert [name.partition(":")[2] for name in look.names(f"{plain}/cur")] == ["2,FS", "2,"]
    assert look.content(f"{plain}/dovecot-keywords") == b""
    assert uids(look, plain) == uids(look, own)
