"""A state that is delivered to mailboxes: as a restore does it, from files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.connectors.maildir.names import flags_of
from tests.commands import SCRIPTS, environment
from tests.dovecot import Dovecot, dovecot
from tests.faults import Server
from tests.maildrop import Maildir
from tests.restores import ALICE, House, kept, raw, seen
from tests.test_restore_dovecot import fill, initialised, subscribed
from tests.test_restore_dovecot import seen as client_sees


@pytest.fixture
def house(tmp_path: Path, quick: Server) -> House:
    house = House(tmp_path, quick)
    house.fill()
    house.scan()
    return house


def target(root: Path) -> str:
    return f"maildir:{root}/{{domain}}/{{user}}/Maildir"


@pytest.mark.parametrize("form", ["export", "export.tar.zst", "backup"])
def test_a_new_server_gets_what_the_old_one_had(
    house: House, tmp_path: Path, quick: Server, form: str
) -> None:
    source = tmp_path / form
    if form != "backup":
        house.run("export", source)
    words = ("import", source, "--target", target(tmp_path / "new"), "--map", tmp_path / "map")
    dry = quick(*words, "--dry-run", "--json").json
    assert (dry["accounts"][0]["counts"]["restored"], (tmp_path / "new").exists()) == (8, False)
    (row,) = quick(*words, "--json").json["accounts"]
    assert (row["account"], row["counts"]["restored"], row["counts"]["skipped"], row["failed"]) == (
        ALICE,
        8,
        0,
        [],
    )
    alice = Maildir(tmp_path / "new/example.com/alice/Maildir")
    before = {folder: kept(found) for folder, found in seen(house.alice).items()}
    assert seen(alice) == before
    (row,) = quick(*words, "--json").json["accounts"]
    assert (row["counts"]["restored"], row["counts"]["skipped"]) == (0, 8)
    assert seen(alice) == before
    lines = [json.loads(line) for line in (tmp_path / "map").read_text().splitlines()]
    first, again = lines[:8], lines[8:]
    assert {line["old"] for line in first} == {house.item(number) for number in range(8)}
    names = {path.name.partition(":")[0] for path in tmp_path.glob("new/**/cur/*")}
    assert {line["new"] for line in first} == names
    assert all(line["was_there"] and line["new"] is None for line in again)
    assert (tmp_path / "map").stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_used_and_nothing_is_taken(
    house: House, tmp_path: Path, quick: Server
) -> None:
    house.run("export", tmp_path / "export")
    alice = Maildir(tmp_path / "new/example.com/alice/Maildir")
    alice.create_folder("Work")
    alice.deliver(raw(1), "Work", unique="there", delivered=1_600_000_000_000_000)
    alice.deliver(b"Subject: own\n\n", unique="own")
    words = ("import", tmp_path / "export", "--target", target(tmp_path / "new"), "--json")
    (row,) = quick(*words).json["accounts"]
    assert (row["counts"]["restored"], row["counts"]["skipped"]) == (7, 1)
    assert {"there", "own"} <= {
        path.name.partition(":")[0] for path in tmp_path.glob("new/**/cur/*")
    } | {path.name for path in tmp_path.glob("new/**/new/*")}


def test_an_instant_of_another_backup_path_is_delivered_directly(
    house: House, tmp_path: Path, quick: Server
) -> None:
    instant = house.scan()
    for path in house.alice.messages("Work").values():
        path.unlink()
    house.scan()
    words = ("import", house.backup, "--target", target(tmp_path / "new"), "--json")
    (row,) = quick(*words, "--at", instant).json["accounts"]
    assert row["counts"]["restored"] == 8
    house.run("export", tmp_path / "export")
    refused = quick("import", tmp_path / "export", *words[2:], "--at", instant, status=2)
    assert "has one state only" in refused.err


def test_one_bad_message_is_named_and_the_rest_is_delivered(
    house: House, tmp_path: Path, quick: Server
) -> None:
    house.run("export", tmp_path / "export")
    first, second, *_ = sorted((tmp_path / "export").glob("accounts/*/Maildir/cur/*"))
    first.write_bytes(b"x")
    second.unlink()
    words = ("import", tmp_path / "export", "--target", target(tmp_path / "new"), "--json")
    (row,) = quick(*words, status=1).json["accounts"]
    assert row["counts"]["restored"] == 6
    assert {failure["item"] for failure in row["failed"]} == {
        first.name.partition(".")[0],
        second.name.partition(".")[0],
    }


def test_what_was_erased_stays_out(house: House, tmp_path: Path, quick: Server) -> None:
    house.run("export", tmp_path / "export")
    item = house.item(2)
    for path in house.alice.messages("Work/Apollo").values():
        if path.read_bytes() == raw(2):
            path.unlink()
    house.scan()
    house.run("erase", item, "--yes")
    words = ("import", tmp_path / "export", "--target", target(tmp_path / "new"), "--json")
    (row,) = quick(*words, "-b", house.backup).json["accounts"]
    assert (row["counts"]["restored"], row["counts"]["erased"]) == (7, 1)


def test_a_delivery_that_is_killed_goes_on(house: House, tmp_path: Path, quick: Server) -> None:
    house.run("export", tmp_path / "export")
    words = ("import", tmp_path / "export", "--target", target(tmp_path / "new"))
    steps = quick.engine(*words, "--dry-run").steps
    for death in range(len(steps), len(steps) + 30, 3):
        killed = quick.engine(*words, die=death)
        assert killed.status in (0, -signal.SIGKILL)
    quick(*words)
    alice = Maildir(tmp_path / "new/example.com/alice/Maildir")
    assert seen(alice) == {folder: kept(found) for folder, found in seen(house.alice).items()}


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as running:
        yield running


def test_a_second_dovecot_shows_the_same(server: Dovecot, tmp_path: Path, quick: Server) -> None:
    fill(server, "alice")
    before = client_sees(server, "alice")
    backup, _ = initialised(tmp_path, quick, f"maildir:{server.mail}/{{user}}/Maildir")
    quick("export", "-b", backup, tmp_path / "export.tar.zst", "--account", "alice")
    with dovecot() as second:
        where = f"maildir:{second.mail}/{{user}}/Maildir"
        quick("import", tmp_path / "export.tar.zst", "--target", where)
        assert client_sees(second, "alice") == before
        assert subscribed(second, "alice") == subscribed(server, "alice")
        assert "Error" not in (second.root / "log").read_text()


def test_the_flags_of_an_export_are_those_that_clients_see(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    fill(server, "bob")
    backup, _ = initialised(tmp_path, quick, f"maildir:{server.mail}/{{user}}/Maildir")
    quick("export", "-b", backup, tmp_path / "export", "--account", "bob")
    before = Counter(
        (folder, flags - {b"\\Recent"})
        for folder, found in client_sees(server, "bob").items()
        for _, _, flags in found.elements()
    )
    mail = tmp_path / "export/accounts/bob/Maildir"
    after: Counter[tuple[str, frozenset[bytes]]] = Counter()
    for directory in (mail, *mail.glob(".*")):
        table = (directory / "dovecot-keywords").read_text().split("\n")
        keywords = [line.partition(" ")[2] for line in table]
        folder = directory.name[1:].replace(".", "/") if directory != mail else "INBOX"
        for path in (directory / "cur").iterdir():
            flags = flags_of(path.name.partition(":2,")[2], keywords)
            after[folder, frozenset(map(os.fsencode, flags))] += 1
    assert after == before


def test_a_target_needs_no_other_backup_path(house: House, tmp_path: Path, quick: Server) -> None:
    link = tmp_path / "the same"
    link.symlink_to(house.backup)
    words = ("--json", "--target", target(tmp_path / "one"))
    for source, backup, restored in (
        (house.backup, house.backup, 8),
        (link, house.backup, 0),
        (house.backup, link, 0),
    ):
        for more in ("--dry-run", "--json"):
            (row,) = quick("import", "-b", backup, source, *words, more).json["accounts"]
            assert (row["counts"]["restored"], row["counts"]["skipped"]) == (restored, 8 - restored)
    quick("import", house.backup, *words, "-b", tmp_path / "missing", status=3)
    for named in ({"TIMEFS_BACKUP": str(house.backup)}, {"TIMEFS_BACKUP": str(link / "missing")}):
        ran = subprocess.run(
            [SCRIPTS / "engine", "import", house.backup, *words],
            env=environment() | named,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0
        missing = "missing" in named["TIMEFS_BACKUP"]
        assert ("what was erased from it, don't count" in ran.stderr) is missing


def test_one_mailbox_is_no_target_for_several_accounts(
    house: House, tmp_path: Path, quick: Server
) -> None:
    house.mailbox("bob").deliver(b"Subject: own\n\n", unique="own")
    instant = house.scan()
    single = f"maildir:{tmp_path}/out"
    fate = quick("import", house.backup, "--target", single, status=2)
    assert "is one mailbox, and these are 2 accounts" in fate.err
    words = ("restore", ALICE, "bob@example.com", "--at", instant)
    fate = house.run(*words, "--target", single, status=2)
    assert "is one mailbox, and these are 2 accounts" in fate.err
    imap = "imap:127.0.0.1:1?method=each&login=x&password_file=/x"
    assert "is one mailbox" in house.run(*words, "--target", imap, status=2).err
    assert not (tmp_path / "out").exists()
    quick("import", house.backup, "--target", single, "--account", ALICE)
    assert len(Maildir(tmp_path / "out").messages()) == 2


def test_what_ends_one_account_ends_no_other(house: House, tmp_path: Path, quick: Server) -> None:
    for number in range(12):
        house.mailbox(f"u{number:02}").deliver(b"Subject: own\n\n", unique="own")
    house.scan()
    out = tmp_path / "out"
    out.mkdir()
    words = ("import", house.backup, "--json", "--target", f"maildir:{out}/{{account}}")
    (out / ALICE).touch()
    fate = quick(*words, status=4)
    first, *others = fate.json["accounts"]
    assert (first["counts"]["restored"], first["unfinished"]) == (0, 8)
    assert [row["counts"]["restored"] for row in others] == [1] * 12
    assert fate.err.count("\n") == 1
    for number in range(12):
        shutil.rmtree(out / f"u{number:02}@example.com")
        (out / f"u{number:02}@example.com").touch()
    fate = quick(*words, status=4)
    assert len(fate.json["accounts"]) == 5  # one after the other: that is no chance
    assert fate.err.count("\n") == 5
