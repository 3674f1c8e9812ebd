"""`engine undelete`, with real mailboxes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults import Server
from tests.restores import ALICE, House, kept, raw, seen, undeleted


@pytest.fixture
def house(tmp_path: Path, quick: Server) -> House:
    house = House(tmp_path, quick)
    house.fill()
    return house


def test_what_was_deleted_is_put_into_a_folder_of_its_own(house: House) -> None:
    before = seen(house.alice)
    start = house.scan()
    house.alice.expunge("0.m")
    house.alice.expunge("4.m")
    house.alice.delete_folder("Work")
    left = seen(house.alice)
    done = house.account("undelete", ALICE, "--since", start)
    assert len(done["restored"]) == 6
    assert done["skipped"] == done["failed"] == done["lost_keywords"] == []
    after = seen(house.alice)
    assert {name: messages for name, messages in after.items() if name in left} == left
    assert undeleted(after) == {
        "": Counter(),
        "INBOX": kept(before["INBOX"]),
        "Work": kept(before["Work"]),
        "Work/Apollo": kept(before["Work/Apollo"]),
    }
    assert {row["folder"].partition("/")[2] for row in done["restored"]} == {
        "INBOX",
        "Work",
        "Work/Apollo",
    }
    for again in (done, house.account("undelete", ALICE, "--since", start)):
        assert seen(house.alice) == after
        assert len(again["restored"]) == (6 if again is done else 0)
    assert len(again["skipped"]) == 6


def test_the_next_day_adds_nothing_either(house: House) -> None:
    start = house.scan()
    house.alice.expunge("0.m")
    house.account("undelete", ALICE, "--since", start, "--into", "Undeleted 2024-05-01")
    after = seen(house.alice)
    done = house.account("undelete", ALICE, "--since", start, "--into", "Undeleted 2024-05-02")
    assert done["restored"] == done["folders"] == []
    assert done["skipped"][0]["folder"] == "Undeleted 2024-05-01/INBOX"
    assert seen(house.alice) == after


def test_to_the_original_folders(house: House) -> None:
    before = seen(house.alice)
    start = house.scan()
    house.alice.create_folder("Empty")
    house.scan()
    house.alice.delete_folder("Empty")
    house.alice.delete_folder("Work")
    house.alice.expunge("0.m")
    done = house.account("undelete", ALICE, "--since", start, "--to-original")
    assert len(done["restored"]) == 5
    assert sorted(done["folders"]) == ["Empty", "Work", "Work/Apollo"]
    wanted = {name: kept(messages) for name, messages in before.items()}
    assert seen(house.alice) == wanted | {"Empty": Counter()}
    done = house.account("undelete", ALICE, "--since", start, "--to-original")
    assert done["restored"] == done["folders"] == []
    assert seen(house.alice) == wanted | {"Empty": Counter()}


def test_only_a_folder_and_what_is_below_it(house: House) -> None:
    start = house.scan()
    for unique, folder in (("0.m", "INBOX"), ("1.m", "Work"), ("2.m", "Work/Apollo")):
        house.alice.expunge(unique, folder)
    done = house.account("undelete", ALICE, "--since", start, "--folder", "Work/Apollo")
    assert [row["item"] for row in done["restored"]] == [house.item(2)]
    done = house.account("undelete", ALICE, "--since", start, "--folder", "Work")
    assert len(done["restored"]) == 1
    assert len(done["skipped"]) == 1
    fate = house.run("undelete", ALICE, "--since", start, "--folder", "Play", status=2)
    assert "no folder 'Play'" in fate.err


def test_only_what_was_deleted_in_the_window(house: House) -> None:
    start = house.scan()
    house.alice.expunge("0.m")
    first = house.scan()
    house.alice.expunge("4.m")
    second = house.scan()
    house.alice.expunge("1.m", "Work")
    for since, until, numbers in ((start, first, [0]), (first, second, [4]), (start, None, [0, 4])):
        words = ["--since", since, *(["--until", until] if until else []), "--no-scan", "--dry-run"]
        done = house.account("undelete", ALICE, *words)
        assert sorted(row["item"] for row in done["restored"]) == [house.item(n) for n in numbers]
    now = datetime.now(UTC).isoformat()
    fate = house.run("undelete", ALICE, "--since", second, "--until", now)
    assert "leave --until out to have it" in fate.err
    assert "0 restored" in fate.out
    done = house.account("undelete", ALICE, "--since", second)
    assert [row["item"] for row in done["restored"]] == [house.item(1)]


def test_what_moved_or_came_back_was_not_deleted(house: House) -> None:
    start = house.scan()
    house.alice.move("0.m", "INBOX", "Work")
    house.alice.expunge("4.m")
    house.scan()
    house.alice.deliver(raw(4), "INBOX", unique="4.m", delivered=1)
    done = house.account("undelete", ALICE, "--since", start)
    assert done["restored"] == done["skipped"] == []


def test_what_is_elsewhere_is_skipped_but_not_to_the_original(house: House) -> None:
    start = house.scan()
    house.alice.copy("0.m", "INBOX", "Work", new_unique="copy")
    house.alice.expunge("0.m")
    done = house.account("undelete", ALICE, "--since", start)
    assert [row["folder"] for row in done["skipped"]] == ["Work"]
    assert done["restored"] == done["folders"] == []
    done = house.account("undelete", ALICE, "--since", start, "--to-original")
    assert [row["folder"] for row in done["restored"]] == ["INBOX"]


def test_what_only_the_journal_has_elsewhere_is_restored(house: House) -> None:
    """Without a scan the journal thinks that there is a copy, and there is none."""
    house.alice.copy("0.m", "INBOX", "Work", new_unique="copy")
    start = house.scan()
    house.alice.expunge("0.m")
    house.scan()
    house.alice.expunge("copy", "Work")
    done = house.account("undelete", ALICE, "--since", start, "--no-scan")
    assert len(done["restored"]) == 1


def test_copies_come_back_as_often_as_they_were(house: House) -> None:
    house.alice.copy("0.m", "INBOX", "INBOX", new_unique="twin")
    house.alice.copy("0.m", "INBOX", "Work", new_unique="copy")
    start = house.scan()
    before = seen(house.alice)
    house.alice.expunge("0.m")
    house.alice.expunge("twin")
    house.alice.expunge("copy", "Work")
    done = house.account("undelete", ALICE, "--since", start, "--to-original")
    assert len(done["restored"]) == 3
    assert seen(house.alice) == before
    done = house.account("undelete", ALICE, "--since", start, "--to-original")
    assert len(done["skipped"]) == 3


def test_a_copy_in_the_folder_of_undeleted_items_is_no_other(house: House) -> None:
    """As after an interruption between two copies."""
    house.alice.copy("0.m", "INBOX", "Work", new_unique="copy")
    start = house.scan()
    house.alice.expunge("0.m")
    house.alice.expunge("copy", "Work")
    words = ("undelete", ALICE, "--since", start, "--into", "Back")
    assert len(house.account(*words)["restored"]) == 2
    (one,) = house.alice.messages("Back/INBOX")
    house.alice.expunge(one, "Back/INBOX")
    until = house.scan()
    done = house.account(*words, "--until", until)
    assert [row["folder"] for row in done["restored"]] == ["Back/INBOX"]


def test_a_dry_run_writes_nothing_and_says_what_it_would(house: House) -> None:
    start = house.scan()
    house.alice.expunge("0.m")
    after = seen(house.alice)
    fate = house.run("undelete", ALICE, "--since", start, "--dry-run")
    assert seen(house.alice) == after
    assert f"{house.item(0)}  Undeleted " in fate.out
    assert "/INBOX/2023-11-14T2213_bob@example.org_Number-0" in fate.out
    assert (
        "Nothing was written. It would be: 1 restored, 0 skipped, 0 failed; 2 folders" in fate.out
    )
    document = house.run("undelete", ALICE, "--since", start, "--dry-run", "--json").json
    assert document["dry_run"] is True
    assert document["accounts"][0]["to"]["account"] == ALICE


def test_a_new_folder_is_subscribed_where_there_is_a_list(house: House) -> None:
    start = house.scan()
    house.alice.expunge("0.m")
    (house.alice.root / "subscriptions").write_bytes(b"V\t2\n\nINBOX\n")
    house.account("undelete", ALICE, "--since", start, "--into", "Back")
    text = (house.alice.root / "subscriptions").read_bytes()
    assert text == b"V\t2\n\nINBOX\nBack\nBack\tINBOX\n"


def test_a_restored_message_is_a_new_item(house: House) -> None:
    start = house.scan()
    old = house.item(0)
    house.alice.expunge("0.m")
    house.account("undelete", ALICE, "--since", start, "--to-original")
    house.scan()
    items = [row["item"] for row in house.run("search", "Number 0.", "--json").json]
    assert len(items) == 2
    assert old in items
    assert house.run("check", "--json").json["ok"]
    done = house.account("undelete", ALICE, "--since", start, "--to-original")
    assert done["restored"] == []


def test_what_is_wrong_is_said(house: House) -> None:
    house.mailbox("bob")
    start = house.scan()
    nobody = house.run("undelete", "nobody@example.com", "--since", start, status=2)
    assert "no account 'nobody@example.com'" in nobody.err
    for words in (
        ["--since", "9999"],
        ["--since", "now and then"],
        ["--since", start, "--until", "2000"],
        ["--since", start, "--into", "a//b"],
        ["--since", start, "--into", "a", "--to-original"],
    ):
        assert house.run("undelete", ALICE, *words, status=2).err.count("\n") == 1
    house.alice.root.rename(house.root / "away")
    house.scan()
    fate = house.run("undelete", ALICE, "--since", start, status=2)
    assert "engine restore" in fate.err


def test_a_mail_volume_that_is_not_mounted_is_not_written_to(house: House) -> None:
    start = house.scan()
    house.alice.expunge("0.m")
    house.scan()
    house.vmail.rename(house.root / "away")
    house.vmail.mkdir()
    for words in ([], ["--no-scan"]):
        house.run("undelete", ALICE, "--since", start, *words, status=4)
    assert list(house.vmail.iterdir()) == []


def test_a_damaged_content_is_named_and_the_rest_restored(house: House) -> None:
    house.alice.deliver(b"Subject: large\n\n" + bytes(range(256)) * 2000, unique="large")
    start = house.scan()
    item = house.run("search", "large", "--json").json[0]["item"]
    house.alice.expunge("large")
    house.alice.expunge("0.m")
    house.scan()
    (pack,) = house.backup.rglob("*.pack")
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.write_bytes(damaged)
    done = house.account("undelete", ALICE, "--since", start, status=1)
    assert [row["item"] for row in done["failed"]] == [item]
    assert [row["item"] for row in done["restored"]] == [house.item(0)]
    fate = house.run("undelete", ALICE, "--since", start, status=1)
    assert f"{item}: Undeleted" in fate.err
    assert "0 restored, 1 skipped, 1 failed" in fate.out
    assert not list(house.alice.root.rglob("tmp/*"))


def test_a_folder_is_found_by_the_names_that_it_had(house: House) -> None:
    start = house.scan()
    house.alice.expunge("1.m", "Work")
    house.alice.expunge("2.m", "Work/Apollo")
    house.alice.expunge("0.m")
    house.scan()
    house.alice.rename_folder("Work", "Archive")
    renamed = house.scan()
    house.alice.expunge("5.m", "Archive")
    words = ("--since", start, "--dry-run")
    for name, numbers in (
        ("Work", [1, 2, 5]),
        ("Archive", [1, 2, 5]),
        ("Work/Apollo", [2]),
        ("Archive/Apollo", [2]),
        ("INBOX", [0]),
    ):
        done = house.account("undelete", ALICE, *words, "--folder", name)
        found = sorted(row["item"] for row in done["restored"])
        assert found == sorted(house.item(number) for number in numbers), name
    done = house.account(
        "undelete", ALICE, *words, "--folder", "Archive", "--until", renamed, "--no-scan"
    )
    assert len(done["restored"]) == 2
    done = house.account("undelete", ALICE, "--since", start, "--folder", "Work", "--to-original")
    assert {row["folder"] for row in done["restored"]} == {"Archive", "Archive/Apollo"}
    fate = house.run("undelete", ALICE, *words, "--folder", "Work/Zeus", status=2)
    assert "has no folder 'Work/Zeus', and never had" in fate.err
