"""Messages that programs give other names than that of their delivery: mbsync and offlineimap note
what they know in them, servers their sizes, and some programs don't know the colon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.connectors.source import SourceItem
from engine.connectors.sources import open_source
from engine.domain.identity import stem
from engine.domain.model import Action
from engine.scan.pairing import AddedItem, MissingItem, pair
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.scan.states import KnownItem
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.desk import SECOND, Desk
from tests.maildrop import Maildir

FMD5 = "FMD5=7e33429f656f1e6e9d79b29c3f82c57e"


class Alice:
    """An account of a Maildir source, and its backup."""

    def __init__(self, desk: Desk, root: Path) -> None:
        self.desk = desk
        self.maildir = Maildir(root / "alice")
        self.maildir.create_folder("Work")
        self.spec = f"maildir:{root}/{{account}}"
        self.read: list[int] = []

    def put(self, name: str, content: bytes = b"Subject: hello\n\n", folder: str = "INBOX") -> None:
        (self.maildir.path(folder) / "cur" / name).write_bytes(content)

    def rename(self, old: str, new: str, folder: str = "INBOX", target: str = "INBOX") -> None:
        place = self.maildir.path(target) / "cur"
        (self.maildir.path(folder) / "cur" / old).rename(place / new)

    def scan(self) -> Result:
        self.desk.clock.advance(3600 * SECOND)
        source = NamedSource(self.spec, open_source(self.spec, ManualClock(2**52)))
        return scan(self.desk.backup, [source], ScanOptions(), Stop())


@pytest.fixture
def alice(desk: Desk, tmp_path: Path) -> Alice:
    return Alice(desk, tmp_path / "mail")


def counts(result: Result) -> tuple[int, int, int]:
    assert not result.tally.problems
    return result.tally.created, result.tally.changed, result.tally.deleted


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.M1P1.h:2,S", "1.M1P1.h,U=1:2,S"),
        ("1.M1P1.h,U=1:2,S", "1.M1P1.h,U=7:2,S"),
        ("1.M1P1.h,U=1:2,S", "1.M1P1.h:2,S"),
        ("1.M1P1.h,U=1:2,S", "1.M1P1.h,U=1:2,RS"),
        ("1.M1P1.h,S=16,W=18:2,", "1.M1P1.h,S=16,W=18,U=1:2,S"),
        ("1.M1P1.h:2,", "1.M1P1.h,S=16:2,"),
        ("1.M1P1.h:2,S", f"1.M1P1.h,U=5,{FMD5}:2,S"),
        (f"1.M1P1.h,U=5,{FMD5}:2,S", f"1.M1P1.h,U=6,{FMD5}:2,S"),
        ("1.M1P1.h!2,S", "1.M1P1.h!2,RS"),
        ("1.M1P1.h;2,S", "1.M1P1.h,U=3;2,"),
    ],
)
@pytest.mark.parametrize("target", ["INBOX", "Work"])
def test_a_message_stays_what_it_is_whatever_is_appended_to_its_name(
    alice: Alice, old: str, new: str, target: str
) -> None:
    alice.put(old)
    alice.put("2.M2P2.h:2,", b"Subject: another\n\n")
    alice.scan()
    before = alice.desk.last()
    alice.rename(old, new, target=target)
    assert counts(alice.scan()) == (0, 1, 0)
    moved = Action.MOVE if target == "Work" else Action.CHANGE
    assert alice.desk.actions(before) == [moved]
    assert counts(alice.scan()) == (0, 0, 0)


def test_a_whole_folder_is_renamed_with_nothing_stored_again(alice: Alice) -> None:
    for number in range(50):
        alice.put(f"{number}.h:2,", b"Subject: %d\n\n" % number)
    alice.scan()
    blobs = len(alice.desk.rows("blobs"))
    packs = alice.desk.rows("packs")
    for number in range(50):
        alice.rename(f"{number}.h:2,", f"{number}.h,U={number + 1}:2,S")
    assert counts(alice.scan()) == (0, 50, 0)
    assert len(alice.desk.rows("blobs")) == blobs
    assert alice.desk.rows("packs") == packs


def test_a_name_is_no_proof_without_the_content(alice: Alice) -> None:
    alice.put("1.h,U=1:2,", b"Subject: first\n\n")
    alice.scan()
    before = alice.desk.last()
    (alice.maildir.root / "cur" / "1.h,U=1:2,").unlink()
    alice.put("1.h,U=2:2,", b"Subject: second\n\n")
    assert counts(alice.scan()) == (1, 0, 1)
    assert alice.desk.actions(before) == [Action.CREATE, Action.DELETE]


def test_copies_with_names_that_begin_alike_are_messages_of_their_own(alice: Alice) -> None:
    alice.put("1.h,U=1:2,")
    alice.put("1.h,U=2:2,")
    assert counts(alice.scan()) == (5, 0, 0)
    alice.put("1.h,U=3:2,")
    assert counts(alice.scan()) == (1, 0, 0)


def test_what_is_renamed_and_can_not_be_read_stays_as_it_was(alice: Alice) -> None:
    alice.put("1.h:2,")
    alice.scan()
    cur = alice.maildir.root / "cur"
    (cur / "1.h:2,").unlink()
    (cur / "1.h,U=1:2,").symlink_to(alice.desk.path / "config.toml")
    result = alice.scan()
    assert len(result.tally.problems) == 1
    assert (result.tally.created, result.tally.changed, result.tally.deleted) == (0, 0, 0)
    (cur / "1.h,U=1:2,").unlink()
    alice.put("1.h,U=1:2,")
    assert counts(alice.scan()) == (0, 1, 0)


def test_what_was_gone_returns_under_a_longer_name(alice: Alice) -> None:
    alice.put("1.h:2,S")
    alice.scan()
    (alice.maildir.root / "cur" / "1.h:2,S").unlink()
    alice.scan()
    before = alice.desk.last()
    alice.put("1.h,U=1:2,S")
    alice.scan()
    assert alice.desk.actions(before) == [Action.RETURN]


def test_a_folder_that_goes_takes_nothing_along_that_was_renamed_elsewhere(alice: Alice) -> None:
    alice.put("1.h:2,", folder="Work")
    alice.scan()
    alice.rename("1.h:2,", "1.h,U=9:2,S", "Work")
    alice.maildir.delete_folder("Work")
    assert counts(alice.scan()) == (0, 1, 1)  # the message moved, the folder is gone
    alice.put("2.h:2,", folder="INBOX")
    alice.maildir.create_folder("Work")
    alice.put("3.h:2,", folder="Work")
    alice.scan()
    alice.maildir.delete_folder("Work")
    (alice.maildir.root / "cur" / "3.h,U=1:2,").symlink_to(alice.desk.path / "config.toml")
    result = alice.scan()
    assert len(result.tally.problems) == 1
    assert result.tally.deleted == 2  # what can't be read isn't known to be what it was


def test_stems() -> None:
    assert stem(b"1.M1P1.h,S=5,W=6,U=7,FMD5=0a") == b"1.M1P1.h"
    assert stem(b"1.M1P1.h") == b"1.M1P1.h"
    assert stem(b"1.M1P1.h,x,U=7") == b"1.M1P1.h,x"
    assert stem(b"1.M1P1.h,U=7,x") == b"1.M1P1.h,U=7,x"
    assert stem(b",U=7") == b",U=7"
    assert stem(b"g,U=7/5") == b""
    hostile = b",A=" * 80
    assert stem(hostile) == hostile or hostile.startswith(stem(hostile))


def test_identities_with_a_place_are_no_names_of_files() -> None:
    lost = MissingItem(3, b"g,U=1/5", KnownItem(4, ()))
    arrived = AddedItem(3, SourceItem((), b"g,U=2/6", (), ""))
    assert pair([lost], [arrived]) == ([], [], [lost], [arrived])


@pytest.mark.parametrize("name", [os.fsencode("é,U=1"), b"\xff,U=1", b"1,U=1\n"])
def test_stems_of_odd_names(name: bytes) -> None:
    assert name.startswith(stem(name))
