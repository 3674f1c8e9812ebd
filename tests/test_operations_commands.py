"""`engine operations`, `engine notifications`, and scans and checks that are operations."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import operations
from tests.backups import SmallBackup, letter
from tests.commands import SCRIPTS, engine, environment, until
from tests.faults import Fate, Server
from tests.maildrop import Maildir
from tests.working import Worker

ALICE = "alice@example.com"
WORDS = [bytes(word) for word in itertools.permutations(b"aeinst", 5)]


class Desk:
    """A Maildir, a backup of it, and a command that files notifications."""

    def __init__(self, directory: Path, quick: Server) -> None:
        self.mail = directory / "mail"
        self.inbox = Maildir(self.mail / ALICE)
        self.path = directory / "backup"
        self.told = directory / "told"
        self.told.touch()
        self._quick = quick
        quick("init", "-b", self.path, "--source", f"maildir:{self.mail}/{{account}}")

    def engine(self, *words: object, status: int = 0) -> Fate:
        return self._quick(words[0], "-b", self.path, *words[1:], status=status)

    def listen(self) -> None:
        command = f'echo "$TIMEFS_LEVEL $TIMEFS_SUBJECT" >>{self.told}'
        self.engine("config", "set", "notify.command", command)

    def subjects(self) -> list[str]:
        return self.told.read_text().splitlines()

    def operations(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.engine("operations", "--json").json
        return rows


@pytest.fixture
def desk(tmp_path: Path, quick: Server) -> Desk:
    return Desk(tmp_path, quick)


# Scans and checks


def test_scans_and_checks_are_operations(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.engine("scan", "--dry-run")
    assert desk.operations() == []
    desk.engine("scan")
    desk.engine("scan", "--account", ALICE, "--deep")
    desk.engine("check", "--deep")
    first, second, check = desk.operations()
    assert [row["outcome"] for row in (first, second, check)] == ["done"] * 3
    assert (first["kind"], first["accounts"], first["detail"]) == ("scan", [], "")
    assert (second["accounts"], second["detail"]) == ([ALICE], "deep")
    assert (check["kind"], check["detail"]) == ("check", "deep")
    counted = {count["unit"]: count["done"] for count in first["progress"]}
    assert counted == {"accounts": 1, "messages": 1}
    assert [count["unit"] for count in check["progress"]] == ["records", "bytes of packs"]
    assert all(count["done"] == count["total"] for count in check["progress"])
    assert first["start"] < first["end"] <= second["start"]
    out = desk.engine("operations").out.splitlines()
    assert len(out) == 4
    assert out[2].startswith(f"{second['id']}  scan ")
    assert out[2].endswith(f"{ALICE} (deep)")
    assert len(desk.engine("operations", "list", "--limit", 1).out.splitlines()) == 2
    assert len(desk.engine("operations", "list", "--all").out.splitlines()) == 4


def test_what_went_wrong_is_to_be_seen(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.engine("scan")
    desk.mail.rename(desk.mail.with_name("gone"))
    failure = desk.engine("scan", status=4)
    (_, failed) = desk.operations()
    assert failed["outcome"] == "failed"
    assert failure.err == f"engine: {failed['message']}\n"
    shown = desk.engine("operations", "show", failed["id"]).out
    assert f"outcome   failed: {failed['message']}" in shown.splitlines()
    assert desk.engine("operations", "show", failed["id"].upper(), "--json").json == failed


def test_a_scan_with_problems_says_how_many(desk: Desk) -> None:
    (desk.mail / ALICE / "cur" / "1.x:2,").mkdir()
    (desk.mail / ALICE / "cur" / "2.x:2,").symlink_to("/nowhere")
    ran = desk.engine("scan", "--json", status=1)
    (row,) = desk.operations()
    assert row["outcome"] == "done with problems"
    assert row["message"].split(" ")[0] == str(len(ran.json["errors"]))


def test_a_scan_is_stopped_from_elsewhere(desk: Desk) -> None:
    slow = b" ".join(random.Random(1).choices(WORDS, k=200_000))
    for number in range(30):
        desk.inbox.deliver(f"\n\n{number} ".encode() + slow)
    desk.engine("config", "set", "compression.level", "19")  # half a minute's work
    process = subprocess.Popen(
        [SCRIPTS / "engine", "scan", "-b", desk.path],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    (running,) = until(lambda: operations.under_way(desk.path), "the scan is seen")
    assert desk.engine("operations", "stop", running.id).out == f"{running.id}  stopped\n"
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("engine: interrupted: what was recorded stays")
    desk.engine("check")
    assert [row["outcome"] for row in desk.operations()] == ["stopped", "done"]


# The command


def test_stopping_waits_for_the_end(small: SmallBackup, worker: Callable[[], Worker]) -> None:
    one, two, three = worker(), worker(), worker()
    for each in (one, two, three):
        each.go_on()
    ran = engine("operations", "-b", small.path, "stop", one.id)
    assert ran.out == f"{one.id}  stopped\n"
    assert one.process.wait(30) == 130
    ran = engine("operations", "-b", small.path, "stop", one.id, "--json")
    assert [(row["id"], row["outcome"]) for row in ran.json] == [(one.id, "stopped")]
    assert (
        f"{one.id}  had ended already: stopped, "
        in engine("operations", "-b", small.path, "stop", one.id).out
    )
    ran = engine("operations", "-b", small.path, "stop", "--all")
    assert sorted(ran.out.splitlines()) == sorted(f"{e.id}  stopped" for e in (two, three))
    assert two.process.wait(30) == three.process.wait(30) == 130
    ran = engine("operations", "-b", small.path, "stop", "--all")
    assert ran.out == "nothing runs\n"


def test_one_that_does_not_stop_in_time_is_named(
    small: SmallBackup, worker: Callable[[], Worker]
) -> None:
    one = worker()  # doesn't look before it may go on
    ran = engine("operations", "-b", small.path, "stop", one.id, "--wait", "0s", status=1)
    assert (ran.out, ran.err) == (
        "",
        f"engine: {one.id}: still running; it stops as soon as it can\n",
    )
    one.go_on()
    assert one.process.wait(30) == 130


def test_following_ends_with_what_is_followed(
    small: SmallBackup, worker: Callable[[], Worker]
) -> None:
    one = worker()
    until(lambda: operations.find(small.path, one.id).counts, "progress is shown")
    words = [SCRIPTS / "engine", "operations", "-b", small.path, "show", "--follow", one.id]
    following = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert following.stdout
    first = following.stdout.readline()
    assert first.startswith(f"{one.id}  running")
    one.kill()
    rest, _ = following.communicate(timeout=60)
    assert following.returncode == 0
    lines = rest.splitlines()
    assert any(line.startswith(f"{one.id}  died  1 of 3 accounts") for line in lines)
    assert any(line.startswith("outcome   died: process ") for line in lines)
    assert "accounts  alice@example.com" in lines
    ran = engine("operations", "-b", small.path, "show", one.id, "--follow", "--json")
    assert ran.json["outcome"] == "died"


def test_on_a_terminal_one_line_is_written_over(
    small: SmallBackup, worker: Callable[[], Worker]
) -> None:
    one = worker()
    leader, follower = os.openpty()
    words = [SCRIPTS / "engine", "operations", "-b", small.path, "show", one.id, "--follow"]
    following = subprocess.Popen([str(word) for word in words], stdout=follower, env=environment())
    os.close(follower)
    shown = os.read(leader, 1000)
    assert shown.startswith(f"\r{one.id}  running".encode())
    one.go_on()
    engine("operations", "-b", small.path, "stop", one.id)
    while b"process" not in shown:
        shown += os.read(leader, 1000)
    assert following.wait(30) == 0
    os.close(leader)
    live, _, rest = shown.rpartition(b"\x1b[K")
    assert b"\n" not in live
    assert rest.decode().startswith(f"ID        {one.id}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "zzzzzzz"], "zzzzzzz: no such operation ('engine operations' lists them)"),
        (["stop", "zzzzzzz"], "zzzzzzz: no such operation ('engine operations' lists them)"),
        (["stop"], "write 'operations'"),
        (["stop", "--all", "zzzzzzz"], "write 'operations'"),
        (["show"], "write 'operations'"),
        (["dance"], "write 'operations'"),
        (["list", "--follow"], "--follow goes with 'operations show'"),
        (["show", "zzzzzzz", "--all"], "--all goes with 'operations list or stop'"),
        (["--wait", "3s"], "--wait goes with 'operations stop'"),
        (["--limit", "x"], "--limit: 'x' is not a whole number"),
        (["--limit", "3", "--all"], "--all or --limit: give one of them"),
    ],
)
def test_wrong_usage_is_told(desk: Desk, words: list[str], told: str) -> None:
    ran = desk.engine("operations", *words, status=2)
    assert ran.err.startswith(f"engine: {told}")
    assert ran.err.count("\n") == 1


def test_where_there_is_no_backup(tmp_path: Path, quick: Server) -> None:
    for verb in ("operations", "notifications", "config"):
        assert "not a backup path" in quick(verb, "-b", tmp_path, status=3).err


# Notifications


def test_a_scan_that_fails_is_told_once_and_its_end_too(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.engine("scan")
    desk.listen()
    gone = desk.mail.with_name("gone")
    desk.mail.rename(gone)
    desk.engine("scan", "--dry-run", status=4)
    assert desk.subjects() == []
    desk.engine("scan", status=4)
    desk.engine("scan", status=4)
    assert desk.subjects() == ["error the scan failed: a source can't be reached"]
    (condition,) = desk.engine("notifications", "--json").json.values()
    assert condition["level"] == "error"
    assert "the scan failed: a source can't be reached" in desk.engine("notifications").out
    gone.rename(desk.mail)
    desk.engine("scan", "--account", ALICE)
    assert len(desk.subjects()) == 1
    desk.engine("scan")
    assert desk.subjects()[1:] == ["error over: the scan failed: a source can't be reached"]
    assert desk.engine("notifications").out == "nothing\n"


def test_wrong_usage_and_unknown_accounts_are_not_told(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.listen()
    desk.engine("scan", "--account", "nobody@example.com", status=2)
    assert desk.subjects() == []


def test_damage_is_told(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.engine("scan")
    desk.listen()
    (pack,) = (desk.path / "packs").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    data[200] ^= 1
    pack.write_bytes(data)
    assert desk.engine("check", "--json", status=1).json["ok"] is False
    desk.engine("check", status=1)
    assert len(desk.subjects()) == 1
    assert desk.subjects()[0].startswith("critical ")
    assert desk.subjects()[0].endswith(" found in the backup")
    data[200] ^= 1
    pack.write_bytes(data)
    desk.engine("check")
    assert len(desk.subjects()) == 2


def test_a_journal_that_can_not_be_opened_is_told(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.engine("scan")
    desk.listen()
    (desk.path / "journal" / "data.mdb").write_bytes(b"nothing" * 4096)
    desk.engine("scan", status=3)
    assert desk.subjects() == ["critical the scan failed"]


def test_an_account_that_loses_much_is_told(desk: Desk) -> None:
    names = [desk.inbox.deliver(letter(n), unique=f"{n}.x") for n in range(20)]
    desk.engine("scan")
    desk.listen()
    desk.engine("config", "set", "alert.least", "10")
    for name in names[:15]:
        desk.inbox.expunge(name)
    desk.engine("scan")
    assert desk.subjects() == [f"warning {ALICE} lost 15 of 20 messages"]


def test_a_scan_that_was_killed_is_told(
    small: SmallBackup, worker: Callable[[], Worker], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    engine("config", "-b", small.path, "set", "notify.command", f'echo "$TIMEFS_EVENT" >>{told}')
    worker().kill()
    engine("check", "-b", small.path, status=None)
    assert "died/scan" in told.read_text().splitlines()


def test_notifications_can_be_tried(desk: Desk) -> None:
    ran = desk.engine("notifications", "test", status=1)
    assert ran.err.startswith("engine: no way is set: see notify.mail_to and notify.command")
    told = json.loads(desk.engine("notifications", "test", "--json", status=1).out)
    assert told["error"]["what"].startswith("no way is set: ")
    desk.listen()
    assert desk.engine("notifications", "test").out == "sent by notify.command\n"
    assert desk.subjects() == ["information a test"]
    desk.engine("config", "set", "notify.command", "exit 3")
    assert desk.engine("notifications", "test", "--json", status=1).json == [
        {"way": "notify.command", "what": "status 3"}
    ]
    desk.engine("notifications", "dance", status=2)


def test_json_of_a_scan_stays_alone_on_standard_output(desk: Desk) -> None:
    desk.inbox.deliver(letter(1))
    desk.engine("config", "set", "notify.command", "echo loud; exit 1")
    desk.mail.rename(desk.mail.with_name("gone"))
    ran = desk.engine("scan", "--json", status=4)
    assert ran.json["error"]["status"] == 4
    assert "engine: a notification wasn't sent by notify.command: status 1: loud\n" in ran.err
    desk.mail.with_name("gone").rename(desk.mail)
    assert json.loads(desk.engine("scan", "--json").out)["created"] == 3


def test_kinds_of_all_lengths_stand_in_their_column(desk: Desk) -> None:
    desk.engine("scan")
    desk.engine("backup-journal")
    title, *rows = desk.engine("operations").out.splitlines()
    assert [row.split()[1] for row in rows] == ["scan", "backup-journal"]
    assert {row.index(row.split()[2]) for row in rows} == {title.index("STARTED")}
