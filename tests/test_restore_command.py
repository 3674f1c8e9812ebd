"""`engine restore`, with real mailboxes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from engine.backup import Backup
from engine.journal.records import Identity, pack, seal
from tests.commands import SCRIPTS, environment, until
from tests.faults import Server
from tests.maildrop import Maildir
from tests.mounting import mounted
from tests.programs import needs
from tests.restores import ALICE, DELIVERED, House, kept, raw, seen


@pytest.fixture
def house(tmp_path: Path, quick: Server) -> House:
    house = House(tmp_path, quick)
    house.fill()
    return house


def test_an_account_into_a_maildir_on_disk(house: House) -> None:
    (house.alice.root / "subscriptions").write_bytes(b"V\t2\n\nINBOX\nWork\tApollo\n")
    before = seen(house.alice)
    instant = house.scan()
    house.alice.delete_folder("Work")
    house.alice.expunge("0.m")
    target = house.root / "out" / "alice"
    done = house.account("restore", ALICE, "--at", instant, "--target", f"maildir:{target}")
    assert len(done["restored"]) == 8
    assert done["to"] == {"account": ALICE, "where": str(target), "folder": None}
    restored = Maildir(target)
    assert seen(restored) == {name: kept(messages) for name, messages in before.items()}
    assert (target / "subscriptions").read_bytes() == b"V\t2\n\nINBOX\nWork\tApollo\n"
    done = house.account("restore", ALICE, "--at", instant, "--target", f"maildir:{target}")
    assert len(done["skipped"]) == 8
    assert done["restored"] == done["folders"] == []


def test_an_account_to_where_it_was_adds_what_is_missing(house: House) -> None:
    before = seen(house.alice)
    instant = house.scan()
    house.alice.delete_folder("Work")
    house.alice.move("0.m", "INBOX", "Entwürfe")
    house.alice.flag("4.m", "R")
    house.alice.deliver(b"Subject: new\n\n", unique="new")
    damaged = seen(house.alice)
    done = house.account("restore", ALICE, "--at", instant, "--to-original")
    assert len(done["restored"]) == 5
    after = seen(house.alice)
    assert after["Work"] == kept(before["Work"])
    assert after["Work/Apollo"] == kept(before["Work/Apollo"])
    assert after["INBOX"] - damaged["INBOX"] == before["INBOX"] - damaged["INBOX"] - Counter(
        one for one in before["INBOX"] if one.raw == raw(4)
    )
    assert all(damaged[name] <= after[name] for name in damaged)


def test_a_folder_below_another_one(house: House) -> None:
    before = seen(house.alice)
    instant = house.scan()
    house.account("restore", f"{ALICE}/Work", "--at", instant, "--into", "As of May")
    after = seen(house.alice)
    assert after["As of May/Work"] == kept(before["Work"])
    assert after["As of May/Work/Apollo"] == kept(before["Work/Apollo"])
    assert after["As of May"] == Counter()
    done = house.account("restore", f"{ALICE}/Work/Apollo", "--at", instant, "--into", "Old")
    assert done["folders"] == ["Old", "Old/Apollo"]
    missing = house.run("restore", f"{ALICE}/Play", "--at", instant, "--to-original", status=2)
    assert "no such folder" in missing.err


def test_a_message_by_its_id(house: House) -> None:
    before = seen(house.alice)
    house.scan()
    item = house.item(4)
    alive = house.run("restore", item, "--to-original", status=2)
    assert "is alive" in alive.err
    house.alice.expunge("4.m")
    done = house.account("restore", item, "--to-original")
    assert done["restored"] == [{"item": item, "folder": "INBOX"}]
    assert seen(house.alice) == before
    done = house.account("restore", item, "--into", "Found")
    assert done["restored"] == [{"item": item, "folder": "Found"}]
    done = house.account("restore", item, "--into", "Found")
    assert done["skipped"] == [{"item": item, "folder": "Found"}]


def test_a_folder_by_its_id_or_its_path_under_a_mount(house: House) -> None:
    needs("/dev/fuse")
    before = seen(house.alice)
    instant = house.scan()
    log = house.run("log", "--json").json
    (item,) = (row["item"] for row in log if row["kind"] == "folder" and row["name"] == "Work")
    done = house.account("restore", item, "--at", instant, "--into", "One")
    assert len(done["restored"]) == 4
    alive = house.run("restore", item, "--into", "One", status=2)
    assert "is alive" in alive.err
    with mounted(house.backup, house.root / "mnt") as mount:
        path = mount.point / "latest" / ALICE / "Work"
        (row,) = house.quick(
            "restore", path, "--at", instant, "--into", "Two", "--json"
        ).json["accounts"]  # fmt: skip
        fate = house.quick("restore", "-b", house.root, path, "--into", "Two", status=2)
        assert "is of the backup" in fate.err
    assert len(row["restored"]) == 4
    after = seen(house.alice)
    assert after["One/Work"] == after["Two/Work"] == kept(before["Work"])
    house.alice.delete_folder("Work")
    house.scan()
    gone = house.run("restore", item, "--into", "Three", status=2)
    assert "what it held was deleted before it" in gone.err


def test_a_backup_of_another_machine_is_restored_from(house: House) -> None:
    instant = house.scan()
    with Backup(house.backup, write=True) as backup, backup.journal.environment.write() as txn:
        own = backup.identity
        other = Identity(own.format, own.backup, "another", own.created)
        txn.put(
            b"identity", seal(b"identity", pack(other)), db=backup.journal.environment.tables.meta
        )
    target = Maildir(house.root / "out")
    words = ("--target", f"maildir:{target.root}")
    done = house.account("restore", ALICE, "--at", instant, *words)
    assert len(done["restored"]) == 8
    refused = house.run("restore", ALICE, "--at", "latest", *words, status=3)
    assert "belongs to another machine" in refused.err
    done = house.account("restore", ALICE, "--at", "latest", "--no-scan", *words)
    assert len(done["skipped"]) == 8


def test_a_message_as_it_was_at_an_instant(house: House) -> None:
    instant = house.scan()
    house.alice.flag("0.m", "RS", keywords=["done"])
    house.scan()
    house.account("restore", house.item(0), "--at", instant, "--into", "Then")
    (one,) = seen(house.alice)["Then"]
    assert (one.raw, one.flags, one.date) == (raw(0), ("\\Seen",), DELIVERED)


def test_a_deleted_account_comes_back_or_as_a_new_one(house: House) -> None:
    before = seen(house.alice)
    house.mailbox("bob")
    house.scan()
    house.alice.root.rename(house.root / "away")
    house.scan()
    done = house.account("restore", f"{ALICE}/Work", "--to-original", "--dry-run")
    assert len(done["restored"]) == 4
    assert not house.alice.root.exists()
    other = "alice-restored@example.com"
    done = house.account("restore", ALICE, "--account", other)
    assert done["to"]["account"] == other
    wanted = {name: kept(messages) for name, messages in before.items()}
    assert seen(house.mailbox("alice-restored")) == wanted
    done = house.account("restore", ALICE, "--to-original")
    assert seen(house.mailbox("alice")) == wanted
    house.scan()
    listed = house.run("accounts", "--json").json
    names = Counter((row["account"], row["deleted"] is None) for row in listed)
    assert names[ALICE, True] == names[other, True] == 1
    assert not names[ALICE, False], "her mailbox was made for her, so she is back"


def test_into_another_account(house: House) -> None:
    bob = house.mailbox("bob")
    bob.deliver(b"Subject: own\n\n", unique="own")
    instant = house.scan()
    done = house.account(
        "restore", f"{ALICE}/INBOX", "--at", instant, "--account", "bob@example.com"
    )
    assert [row["folder"] for row in done["restored"]] == ["INBOX", "INBOX"]
    assert len(bob.messages()) == 3


def test_several_at_once(house: House) -> None:
    house.mailbox("bob").deliver(b"Subject: own\n\n", unique="own")
    instant = house.scan()
    rows = house.run(
        "restore", ALICE, f"{ALICE}/INBOX", "bob@example.com", "--json", "--at", instant,
        "--target", f"maildir:{house.root}/out/{{account}}",
    ).json["accounts"]  # fmt: skip
    assert [len(row["restored"]) for row in rows] == [8, 0, 1]
    assert [len(row["skipped"]) for row in rows] == [0, 2, 0]


def test_latest_is_questioned_where_it_is_to_be_repaired(house: House) -> None:
    house.scan()
    fate = house.run("restore", ALICE, "--at", "latest", "--to-original", status=2)
    assert "--yes" in fate.err
    house.alice.expunge("0.m")
    done = house.account("restore", ALICE, "--at", "latest", "--to-original", "--yes")
    assert len(done["skipped"]) == 7
    assert done["restored"] == []
    target = f"maildir:{house.root}/out"
    done = house.account("restore", ALICE, "--at", "latest", "--target", target)
    assert len(done["restored"]) == 7


def test_what_is_wrong_is_said(house: House) -> None:
    instant = house.scan()
    for words, said in (
        ([ALICE, "--at", instant], "where to?"),
        ([ALICE, "--to-original"], "is alive"),
        (["nobody", "--to-original", "--at", instant], "no account of this backup"),
        (["0zzzzz", "--to-original"], "there is no item 0zzzzz"),
        ([ALICE, "--at", "2001", "--to-original"], "was not there then"),
        ([ALICE, "--at", "9999", "--to-original"], "in the future"),
        ([house.item(0), "--at", "2001", "--to-original"], "not"),
        ([ALICE, "--at", instant, "--target", "pigeon:/coop"], "known are"),
        ([ALICE, "--at", instant, "--target", "maildir:relative"], "absolute"),
        ([ALICE, "--at", instant, "--account", "carl"], "has no place for carl"),
    ):
        fate = house.run("restore", *words, status=2)
        assert said in fate.err, words
        assert fate.err.count("\n") == 1, words
    (house.root / "file").touch()
    target = f"maildir:{house.root}/file/box"
    house.run("restore", ALICE, "--at", instant, "--target", target, status=4)


def test_a_folder_that_cant_be_written_is_named_and_the_rest_restored(house: House) -> None:
    instant = house.scan()
    target = Maildir(house.root / "out")
    (target.root / ".Work.Apollo").symlink_to(house.root)
    done = house.account(
        "restore", ALICE, "--at", instant, "--target", f"maildir:{target.root}", status=1
    )
    assert len(done["restored"]) == 6
    assert {row["folder"] for row in done["failed"]} == {"Work/Apollo"}
    assert [row["item"] for row in done["failed"]].count(None) == 1


def test_a_time_after_the_last_scan_is_said_to_be_unknown(house: House) -> None:
    house.scan()
    house.run("scan")
    target = f"maildir:{house.root}/out"
    fate = house.run("restore", ALICE, "--at", "today", "--target", target, status=2)
    assert "was not there then" in fate.err
    database = house.backup / "journal" / "data.mdb"
    before = database.read_bytes()
    # Times have minutes in relative forms: this one is just now, and so after the scan.
    now = subprocess.run(
        ["date", "-u", "+%Y-%m-%dT%H:%M:%S.%6NZ"], capture_output=True, text=True, check=True
    ).stdout.strip()
    fate = house.run("restore", ALICE, "--at", now, "--target", target)
    assert "what changed from then to the time of --at is not known" in fate.err
    assert database.read_bytes() == before


def test_an_interruption_leaves_nothing_half_done(house: House) -> None:
    for number in range(40):
        house.alice.deliver(b"Subject: x\n\n" + os.urandom(30_000), unique=f"x{number}")
    instant = house.scan()
    target = Maildir(house.root / "out")
    config = house.backup / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("bandwidth = 0", "bandwidth = 100"))
    words = ("--at", instant, "--target", f"maildir:{target.root}")
    process = subprocess.Popen(
        [SCRIPTS / "engine", "restore", "-b", house.backup, ALICE, *words],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(os.listdir(target.root / "cur")) > 5, "messages")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command brings the rest" in err
    config.write_text(text)
    half = list(target.root.rglob("cur/*"))
    assert 5 < len(half) < 48
    assert not list(target.root.rglob("tmp/*"))
    done = house.account("restore", ALICE, *words)
    assert len(done["skipped"]) == len(half)
    assert seen(target) == {name: kept(messages) for name, messages in seen(house.alice).items()}


def test_a_killed_restore_is_completed_by_the_next(house: House) -> None:
    for number in range(40):
        house.alice.deliver(b"Subject: x\n\n" + os.urandom(30_000), unique=f"x{number}")
    instant = house.scan()
    target = Maildir(house.root / "out")
    house.run("config", "set", "restore.bandwidth", "100")
    words = ("--at", instant, "--target", f"maildir:{target.root}")
    process = subprocess.Popen(
        [SCRIPTS / "engine", "restore", "-b", house.backup, ALICE, *words], env=environment()
    )
    until(lambda: len(os.listdir(target.root / "cur")) > 5, "messages")
    process.kill()
    process.wait()
    whole = {one.raw for messages in seen(house.alice).values() for one in messages}
    assert {one.raw for messages in seen(target).values() for one in messages} <= whole
    house.run("config", "set", "restore.bandwidth", "0")
    house.account("restore", ALICE, *words)
    assert seen(target) == {name: kept(messages) for name, messages in seen(house.alice).items()}
    listed = house.run("operations", "--all", "--json").json
    assert {row["outcome"] for row in listed if row["kind"] == "restore"} == {"died", "done"}


def account_items(house: House, name: str) -> dict[bool, str]:
    """The IDs of the accounts of a name, by whether they are alive."""
    rows = house.run("accounts", "--json").json
    return {row["deleted"] is None: row["item"] for row in rows if row["account"] == name}


def test_a_deleted_account_however_it_is_named(house: House) -> None:
    needs("/dev/fuse")
    wanted = {name: kept(messages) for name, messages in seen(house.alice).items()}
    house.mailbox("bob")
    house.scan()
    listed = house.scan()
    house.alice.root.rename(house.root / "away")
    house.scan()
    item = account_items(house, ALICE)[False]
    with mounted(house.backup, house.root / "mnt") as mount:
        path = mount.point / "latest" / ".deleted" / ALICE
        for number, what in enumerate((item, path, ALICE, f"{ALICE}/INBOX", path / "INBOX")):
            name = f"copy{number}@example.com"
            house.run("restore", what, "--account", name)
            found = seen(house.mailbox(f"copy{number}"))
            folders = ["INBOX"] if "INBOX" in str(what) else wanted
            assert {folder: found[folder] for folder in folders} == {
                folder: wanted[folder] for folder in folders
            }, what
    house.run("restore", ALICE, "--at", listed, "--account", "copy5@example.com")
    assert seen(house.mailbox("copy5")) == wanted
    assert not house.alice.root.exists()
    house.run("restore", ALICE)
    assert seen(house.mailbox("alice")) == wanted


def test_a_name_that_is_anothers_by_now_gets_nothing_of_the_former_owner(house: House) -> None:
    wanted = {name: kept(messages) for name, messages in seen(house.alice).items()}
    house.mailbox("bob")
    before = house.scan()
    house.alice.root.rename(house.root / "away")
    house.scan()
    stranger = house.mailbox("alice")
    stranger.deliver(b"Subject: a stranger's\n\n", unique="s")
    house.scan()
    left = seen(stranger)
    items = account_items(house, ALICE)
    for words in (
        [items[False]],
        [items[False], "--to-original"],
        [items[False], "--into", "Old"],
        [ALICE, "--at", before, "--to-original"],
        [ALICE, "--at", before, "--into", "Old"],
    ):
        fate = house.run("restore", *words, status=2)
        assert f"belongs to another account now ({items[True]})" in fate.err, words
        assert fate.err.count("\n") == 1
    assert "where to?" in house.run("restore", ALICE, "--at", before, status=2).err
    assert seen(stranger) == left
    house.run("restore", items[False], "--account", "alice-old@example.com")
    assert seen(house.mailbox("alice-old")) == wanted
    house.run("restore", items[False], "--account", ALICE, "--into", "Old")
    assert seen(house.mailbox("alice"))["Old/Work"] == wanted["Work"]


def test_one_mailbox_that_cant_be_opened_costs_no_other(house: House) -> None:
    house.mailbox("bob").deliver(b"Subject: own\n\n", unique="own")
    instant = house.scan()
    (house.root / "out").mkdir()
    (house.root / "out" / ALICE).touch()
    fate = house.run(
        "restore", ALICE, "bob@example.com", house.item(0), "--json", "--at", instant,
        "--target", f"maildir:{house.root}/out/{{account}}", status=4,
    )  # fmt: skip
    alice, bob, message = fate.json["accounts"]
    assert (len(alice["restored"]), alice["unfinished"]) == (0, 8)
    assert (len(bob["restored"]), bob["unfinished"]) == (1, 0)
    assert (len(message["restored"]), message["unfinished"]) == (0, 1)
    assert fate.err.count("\n") == 1
    assert "9 messages left" in fate.err


def test_messages_that_fail_for_one_reason_take_one_line(house: House) -> None:
    instant = house.scan()
    target = Maildir(house.root / "out")
    (target.root / "tmp").rmdir()
    (target.root / "tmp").symlink_to(house.root)
    (target.root / ".Work.Apollo").symlink_to(house.root)
    words = ("--at", instant, "--target", f"maildir:{target.root}")
    fate = house.run("restore", ALICE, *words, status=1)
    lines = fate.err.splitlines()
    assert len(lines) == 2
    assert all("2 messages: " in line for line in lines)


def test_what_a_server_kept_encrypted_is_only_good_where_it_was(house: House) -> None:
    sealed = b"CRYPTED\x03\x07\x02" + bytes(300)
    house.alice.deliver(sealed, unique="1.h,S=90,W=95")
    instant = house.scan()
    house.alice.expunge("1.h,S=90,W=95")
    done = house.account("undelete", ALICE, "--since", instant, "--to-original")
    assert (len(done["restored"]), done["failed"], done["stored_forms"]) == (1, [], {})
    (name,) = (name for name, path in house.alice.messages().items() if path.read_bytes() == sealed)
    assert name.endswith(",S=90,W=95")
    target = f"maildir:{house.root}/out"
    fate = house.run("restore", ALICE, "--at", instant, "--target", target, status=1)
    assert "1 of the restored messages are encrypted: nobody can read them there" in fate.err
    assert "9 restored, 0 skipped, 1 failed" in fate.out


WITHOUT_RIGHTS = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")


def test_a_dry_run_needs_no_right_to_write(house: House) -> None:
    needs("setpriv")
    house.scan()
    instant = house.scan()
    house.alice.expunge("0.m")
    house.run("scan")
    tops = (house.backup, house.vmail)
    places = [path for top in tops for path in (top, *top.rglob("*")) if path.name != "lock.mdb"]
    modes = {path: path.stat().st_mode for path in places}
    for path in places:
        path.chmod(0o500 if path.is_dir() else 0o400)
    become = WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    try:
        for words, scanned, found in (
            (["undelete", ALICE, "--since", instant], False, "1 restored, 0 skipped, 0 failed"),
            (["restore", ALICE, "--at", "latest", "--yes", "--to-original"], False, "0 restored"),
            (["restore", ALICE, "--at", instant, "--to-original"], True, "1 restored, 7 skipped"),
            (["restore", ALICE, "--at", instant, "--account", "b@example.com"], True, "8 restored"),
        ):
            ran = subprocess.run(
                [
                    *become,
                    SCRIPTS / "engine",
                    words[0],
                    "-b",
                    house.backup,
                    *words[1:],
                    "--dry-run",
                ],
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert (ran.returncode, found in ran.stdout) == (0, True), (words, ran)
            assert ("not scanned first" in ran.stderr) is not scanned, words
            without = [word for word in words if word != "--dry-run"]
            if not scanned:
                refused = subprocess.run(
                    [*become, SCRIPTS / "engine", without[0], "-b", house.backup, *without[1:]],
                    env=environment(),
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert refused.returncode == 3
                assert "can't write here" in refused.stderr
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
