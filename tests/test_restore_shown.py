"""`engine restore` and `engine show --blob` of paths under a mount mean what is shown there."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.backups import SmallBackup
from tests.faults import Server
from tests.looking import Looker
from tests.maildrop import Maildir
from tests.mounting import mounted
from tests.restores import ALICE, House, kept, seen
from timefs.view.tree import Tree

TOKYO = "local_zone = lambda *given: __import__('zoneinfo').ZoneInfo('Asia/Tokyo')"
"""A mount with a zone of its own, which the commands don't have."""


@pytest.fixture
def house(tmp_path: Path, quick: Server) -> House:
    house = House(tmp_path, quick)
    house.fill()
    return house


def in_tokyo(instant: str) -> str:
    """A time as a mount there understands it."""
    return datetime.fromisoformat(instant).astimezone(ZoneInfo("Asia/Tokyo")).strftime("%FT%T.%f")


def flags(mailbox: Maildir, folder: str) -> set[tuple[str, ...]]:
    return {message.flags for message in seen(mailbox)[folder]}


@pytest.mark.parametrize("single", [False, True])
def test_a_path_means_the_time_that_it_shows(house: House, single: bool) -> None:
    before = seen(house.alice)
    instant = house.scan()
    house.alice.expunge("1.m", "Work")
    house.alice.flag("5.m", "R", "Work")
    changed = seen(house.alice)["Work"]
    house.scan()
    at = in_tokyo(instant)
    point = house.root / "latest"  # what the mount point is called means nothing
    with mounted(house.backup, point, at=at if single else "", prelude=TOKYO) as mount:
        view = mount.point if single else mount.point / at
        work = view / ALICE / "Work"
        message = next(path for path in work.glob("*.eml") if "Number-5" in path.name)
        done = house.account("restore", work, "--into", "Then")
        assert len(done["restored"]) == 4
        house.account("restore", message, "--into", "One")
        later = house.run("restore", work, "--at", "latest", "--into", "Now", "--yes")
        assert later.status == 0
    after = seen(house.alice)
    assert after["Then/Work"] == kept(before["Work"])
    assert after["Now/Work"] == kept(changed)
    assert after["One"] == kept(Counter(one for one in before["Work"] if "todo" in one.flags))
    assert after["Then/Work"] != after["Now/Work"]


def test_latest_is_questioned_and_a_deleted_message_is_not(house: House) -> None:
    before = seen(house.alice)
    house.scan()
    house.alice.expunge("4.m")
    house.scan()
    with mounted(house.backup, house.root / "mnt") as mount:
        latest = mount.point / "latest" / ALICE
        for view in (latest, mount.point / "2024-01.." / "created" / ALICE):
            refused = house.run("restore", view, "--to-original", status=2)
            assert "latest is the state" in refused.err or "say of which time" in refused.err
        done = house.account("restore", latest / "Work", "--account", "copy@example.com")
        assert len(done["restored"]) == 4
        (gone,) = (latest / ".deleted" / "INBOX").glob("*.eml")
        (same,) = (mount.point / "2024-01..latest" / "deleted" / ALICE / "INBOX").glob("*.eml")
        assert house.account("restore", gone, "--to-original")["restored"]
        assert house.account("restore", same, "--to-original")["skipped"]
        for folder in (gone.parent, same.parent):
            refused = house.run("restore", folder, "--to-original", status=2)
            assert "--at TIME" in refused.err
    assert seen(house.alice) == before


def test_a_deleted_message_is_as_it_last_was_before_that_time(house: House) -> None:
    house.alice.deliver(b"Subject: once\n\n1\n", unique="once", flags="S")
    house.scan()
    house.alice.expunge("once")
    instant = house.scan()
    house.alice.deliver(b"Subject: once\n\n1\n", unique="once", flags="FS")
    house.scan()
    with mounted(house.backup, house.root / "mnt") as mount:
        (gone,) = (mount.point / instant / ALICE / ".deleted" / "INBOX").glob("*_once_*.eml")
        house.account("restore", gone, "--into", "Found")
        listed = house.run("show", "--blob", gone)
        assert listed.out == "Subject: once\n\n1\n"
        folder = house.run("restore", gone.parent, "--into", "Found", status=2)
        assert "only some of what it held" in folder.err
    assert flags(house.alice, "Found") == {("\\Seen",)}


def test_everybodys_own_past_and_its_maildir_have_times(house: House) -> None:
    before = seen(house.alice)["INBOX"]
    instant = house.scan()
    house.alice.flag("0.m", "F")
    house.scan()
    with mounted(house.backup, house.root / "mnt") as mount:
        for number, tree in enumerate((".own", ".maildir")):
            for file in (mount.point / instant / tree / ALICE / "cur").glob("*"):
                house.account("restore", file, "--into", f"F{number}")
    after = seen(house.alice)
    assert after["F0"] == after["F1"] == kept(before)


def test_show_writes_the_content_that_the_mount_shows(house: House) -> None:
    path = next(iter(house.alice.messages().values()))
    before = path.read_bytes()
    instant = house.scan()
    path.write_bytes(b"Subject: rewritten\n\n2\n")
    house.run("scan", "--deep")
    with mounted(house.backup, house.root / "mnt") as mount:
        for view, content in ((instant, before), ("latest", path.read_bytes())):
            (file,) = (
                file
                for file in (mount.point / view / ALICE / "INBOX").glob("*.eml")
                if file.read_bytes() == content
            )
            assert house.run("show", "--blob", file).out.encode() == content


def test_a_view_tells_its_instant_and_does_not_list_it(small: SmallBackup) -> None:
    look = Looker(Tree(small.backup, ZoneInfo("Europe/Berlin")))
    small.account(ALICE)
    small.scan_end()
    assert look.content("2024-05-01T02:01/.time") == b"2024-05-01T00:01:00.000000Z\n"
    assert look.content("2024-05-01..2024-05-01T02:01/.time") == b"..2024-05-01T00:01:00.000000Z\n"
    assert look.names("2024-05-01T02:01") == [ALICE]
    assert look.at(f"latest/{ALICE}/.time") is None
    assert look.at(".time") is None
