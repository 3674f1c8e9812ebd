"""Tests of the `engine` command: what users type, what they see, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

import engine.cli.search
import engine.cli.show
import engine.cli.status
import engine.query.damage
import engine.scan.running
import engine.scan.smart
from engine.backup import Backup
from engine.cli import VERBS, main
from engine.domain.model import item_id
from engine.journal.journal import Journal
from engine.journal.keys import pair_key
from engine.journal.writer import Content
from engine.query.status import status
from engine.system import filesystem
from engine.system.mounts import MountedItem
from engine.system.stop import Stop
from tests.backups import MINUTE, START, SmallBackup, letter
from tests.maildrop import Maildir
from tests.programs import needs
from tests.schemas import document

README = Path(__file__).parent.parent / "README.md"
READING = ["accounts", "check", "config", "log", "search", "status"]
"""Verbs that only read, and need no argument."""


@dataclass
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str
    words: tuple[object, ...] = ()
    """What was run."""

    @property
    def json(self) -> Any:
        """What it printed; fails if that isn't one JSON document, as its schema says."""
        return document(self.words, self.out)

    @property
    def complaint(self) -> str:
        """The one line that it complained in."""
        assert self.out == ""
        assert re.fullmatch(r"engine: [^\n]+\n", self.err), self.err
        return self.err.strip()


class Command:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str | Path) -> Ran:
        self._capsys.readouterr()
        status = main([str(argument) for argument in argv])
        return Ran(status, *self._capsys.readouterr(), argv)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("TIMEFS_BACKUP", raising=False)
    return Command(capsys)


class Server:
    """A mail server with two accounts, and where its backup goes."""

    def __init__(self, root: Path) -> None:
        self.mail = root / "vmail"
        self.backup = root / "backup"
        self.spec = f"maildir:{self.mail}/{{domain}}/{{user}}"
        self.alice = self.account("alice")
        self.alice.create_folder("Work")
        self.first = self.alice.deliver(letter(1))
        self.second = self.alice.deliver(letter(2), "Work", flags="S")
        self.bob = self.account("bob")
        self.bob.deliver(letter(3))

    def account(self, name: str) -> Maildir:
        return Maildir(self.mail / "example.com" / name)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def scanned(server: Server, run: Command) -> Server:
    """A server that was scanned once."""
    assert run("init", "-b", server.backup, "--source", server.spec).status == 0
    assert run("scan", "-b", server.backup).status == 0
    return server


class Past(SmallBackup):
    """A backup of 2024, about which the command can be asked between two steps."""

    def __init__(self, path: Path, command: Command) -> None:
        super().__init__(path)
        self._command = command

    def run(self, verb: str, *argv: str | Path) -> Ran:
        """Runs a verb on this backup."""
        return self.ask(verb, "-b", self.path, *argv)

    def ask(self, *argv: str | Path) -> Ran:
        """Runs the command. A process can't have the same journal open twice."""
        self.backup.close()
        try:
            return self._command(*argv)
        finally:
            self.backup = Backup(self.path, write=True, clock=self.clock)


@pytest.fixture
def past(tmp_path: Path, run: Command) -> Iterator[Past]:
    past = Past(tmp_path / "past", run)
    yield past
    past.close()


def script(argv: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs the command as a process of its own."""
    command = [sys.executable, "-c", "import sys, engine.cli; sys.exit(engine.cli.main())"]
    environment = {**os.environ, "PYTHONPATH": str(README.parent), "TZ": "UTC"}
    environment["PYTHONUNBUFFERED"] = ""  # so that there is something left at the end
    return subprocess.run([*command, *map(str, argv)], env=environment, timeout=60, **options)


# init


def test_init_makes_a_backup_path_and_says_what_comes_next(server: Server, run: Command) -> None:
    ran = run("init", "-b", server.backup, "--source", server.spec)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{server.backup} is made, for the mail in",
        f"    mail: {server.spec}  (2 accounts now)",
        f"Next: engine scan -b {server.backup}",
    ]
    assert run("config", "get", "sources", "-b", server.backup).out == f"{server.spec}\n"


def test_init_says_that_settings_come_next_where_some_are_missing(
    server: Server, run: Command
) -> None:
    imap = "imaps:mail.example.com"
    ran = run("init", "-b", server.backup, "--source", server.spec, "--source", imap)
    assert ran.status == 0
    assert ran.err.startswith("engine: warning: sources.mail2: login is missing")
    option = f"-b {server.backup}"
    assert ran.out.splitlines()[-1] == (
        f"Next: engine config set {option} KEY VALUE, for each setting that is missing; "
        f"then engine scan {option}"
    )


def test_init_tells_what_it_made_as_json(server: Server, run: Command) -> None:
    ran = run("init", "--json", "-b", server.backup, "--source", server.spec)
    assert ran.err == ""
    with_id = run("status", "--json", "-b", server.backup).json["id"]
    made = {"name": "mail", "source": server.spec, "accounts": 2}
    sources = [made | {"what": None, "notes": []}]
    assert ran.json == {"backup": str(server.backup), "id": with_id, "sources": sources}


def test_init_only_warns_of_a_source_that_is_not_there(tmp_path: Path, run: Command) -> None:
    ran = run("init", "-b", tmp_path / "b", "--source", f"maildir:{tmp_path}/none/{{user}}")
    assert ran.status == 0
    assert re.fullmatch(r"engine: warning: .*/none: No such file or directory.*\n", ran.err)
    assert (tmp_path / "b" / "config.toml").is_file()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--source is missing"),
        (["--source", "/var/vmail"], "is not a source"),
        (["--source", "mbox:host"], "is not a source"),
        (["--source", "maildir:vmail/{user}"], "absolute"),
        (["--source", "maildir:/v/{user}", "--take-over"], "--take-over keeps the sources"),
    ],
)
def test_init_refuses_what_is_no_source(
    tmp_path: Path, run: Command, arguments: list[str], word: str
) -> None:
    ran = run("init", "-b", tmp_path / "b", *arguments)
    assert ran.status == 2
    assert word in ran.complaint
    assert not (tmp_path / "b").exists()


def test_init_refuses_a_path_that_is_in_use(scanned: Server, run: Command) -> None:
    ran = run("init", "-b", scanned.backup, "--source", scanned.spec)
    assert ran.status == 2
    assert f"{scanned.backup}: is a backup path already: " in ran.complaint
    assert run("status", "-b", scanned.backup).status == 0
    full = scanned.backup.with_name("full")
    (full / "of-something").mkdir(parents=True)
    assert f"{full}: exists" in run("init", "-b", full, "--source", scanned.spec).complaint


def test_a_backup_path_among_the_mail_is_refused(scanned: Server, run: Command) -> None:
    inside = scanned.alice.root / "backup"
    ran = run("init", "-b", inside, "--source", scanned.spec)
    assert ran.status == 2
    assert f"{inside}: lies where {scanned.spec} reads mail" in ran.complaint
    assert not inside.exists()
    around = f'["maildir:{scanned.backup.parent}/{{user}}"]'
    assert run("config", "-b", scanned.backup, "set", "sources", around).status == 2
    config = scanned.backup / "config.toml"
    config.write_text(f"sources = {around}\n")
    ran = run("scan", "-b", scanned.backup)
    assert ran.status == 2
    assert "reads mail" in ran.complaint


def test_what_other_sources_gave_is_told_where_one_is_missing(
    scanned: Server, run: Command
) -> None:
    missing = f"maildir:{scanned.backup.parent}/missing/{{user}}"
    run("config", "-b", scanned.backup, "set", "sources", f'["{scanned.spec}", "{missing}"]')
    scanned.alice.deliver(letter(77))
    ran = run("scan", "-b", scanned.backup, "--json")
    assert ran.status == 4
    assert ran.json["created"] == 1
    assert ran.json["view"] is None, "no complete scan, which the mount would list"
    assert "1 created" in ran.err
    assert ran.err.count("\n") == 1


def test_a_backup_of_another_machine_is_only_read_until_it_is_taken_over(
    scanned: Server, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "server_id", lambda: "another")
    where = ("-b", scanned.backup)
    assert run("status", *where, "--json").json["own"] is False
    assert "of another machine" in run("status", *where).out
    assert run("scan", *where, "--dry-run").status == 0
    ran = run("scan", *where)
    assert ran.status == 3
    assert "init --take-over" in ran.complaint
    ran = run("init", *where, "--take-over")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        f"{scanned.backup} belongs to this machine now. Next: engine scan -b {scanned.backup}\n"
    )
    assert run("scan", *where).status == 0
    assert run("init", *where, "--take-over", "--json").json["backup"] == str(scanned.backup)


def test_only_a_backup_can_be_taken_over(tmp_path: Path, run: Command) -> None:
    ran = run("init", "-b", tmp_path, "--take-over")
    assert ran.status == 3
    assert "not a backup path" in ran.complaint


# scan


def test_scan_tells_what_it_did(server: Server, run: Command) -> None:
    where = ("-b", server.backup)
    run("init", *where, "--source", server.spec)
    ran = run("scan", *where)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[:2] == ["new       alice@example.com", "new       bob@example.com"]
    counts = "2 accounts: 8 created, 0 changed, 0 deleted, 0 problems, in "
    assert re.fullmatch(rf"{counts}\d+\.\d s", lines[2])
    assert re.fullmatch(r"The mount shows it as \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", lines[3])

    server.alice.flag(server.first, "S")
    server.alice.expunge(server.second, "Work")
    (server.mail / "example.com" / "bob").rename(server.mail / "example.com" / "robert")
    ran = run("scan", *where)
    assert ran.out.splitlines()[0] == "renamed   bob@example.com -> robert@example.com"
    assert "2 accounts: 0 created, 2 changed, 1 deleted, 0 problems" in ran.out


def test_scan_tells_it_as_json(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup, "--json")
    scanned.account("carol").deliver(letter(4), unique="4.mx")
    (scanned.mail / "example.com" / "bob").rename(scanned.mail.parent / "bob")
    ran = run("scan", *where)
    assert (ran.status, ran.err) == (0, "")
    document = ran.json
    assert {key: document[key] for key in ("accounts", "created", "changed", "deleted")} == {
        "accounts": 2,
        "created": 3,
        "changed": 0,
        "deleted": 1,
    }
    assert document["errors"] == []
    assert document["account_events"] == [
        {"account": "bob@example.com", "event": "deleted", "former": None},
        {"account": "carol@example.com", "event": "new", "former": None},
    ]
    assert document["seconds"] >= 0
    assert document["start"] < document["end"]
    assert document["end"][:19] <= document["view"]
    again = run("scan", *where).json
    assert (again["created"], again["changed"], again["deleted"]) == (0, 0, 0)


def test_a_dry_run_records_nothing(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup)
    before = run("status", *where, "--json").json
    scanned.alice.deliver(letter(4))
    ran = run("scan", *where, "--dry-run")
    assert ran.status == 0
    assert re.fullmatch(
        r"Nothing was recorded\. 2 accounts: 1 created, 0 changed, 0 deleted.*\n", ran.out
    )
    document = run("scan", *where, "--dry-run", "--json").json
    assert (document["dry_run"], document["created"], document["view"]) == (True, 1, None)
    after = run("status", *where, "--json").json
    for figures in (before, after):
        del figures["age_seconds"], figures["fresh_seconds"]
    assert after == before


def test_scan_of_one_account_leaves_the_others_alone(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup)
    scanned.alice.deliver(letter(4))
    scanned.bob.deliver(letter(5))
    document = run("scan", *where, "--account", "bob@example.com", "--json").json
    assert (document["accounts"], document["created"], document["view"]) == (1, 1, None)
    ran = run("scan", *where, "--account", "dave@example.com")
    assert ran.status == 2
    assert "dave@example.com: no such account" in ran.complaint


def test_what_cant_be_read_is_named_and_the_rest_backed_up(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup)
    (scanned.alice.root / "cur" / "9.odd\x1b[2J:2,").mkdir()
    scanned.alice.deliver(letter(4))
    ran = run("scan", *where)
    assert ran.status == 1
    assert "1 created, 0 changed, 0 deleted, 1 problem," in ran.out
    assert re.fullmatch(r"engine: alice@example\.com: .*9\.odd\\x1b\[2J.*\n", ran.err)
    ran = run("scan", *where, "--json")
    assert (ran.status, ran.err) == (1, "")
    (error,) = ran.json["errors"]
    assert set(error) == {"account", "where", "what"}
    assert error["account"] == "alice@example.com"


def test_a_source_that_shows_nothing_is_refused_unless_it_is_meant(
    scanned: Server, run: Command
) -> None:
    where = ("-b", scanned.backup)
    (scanned.mail / "example.com").rename(scanned.mail.parent / "elsewhere")
    ran = run("scan", *where)
    assert ran.status == 4
    assert "is mounted" in ran.complaint
    assert run("accounts", *where, "--json").json[0]["deleted"] is None
    ran = run("scan", *where, "--accept-empty")
    assert ran.status == 0
    assert ran.out.startswith("deleted   alice@example.com\ndeleted   bob@example.com\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_scan_that_is_interrupted_says_so(
    scanned: Server, run: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupted(
        backup: object, sources: object, options: object, stop: Stop, bar: object
    ) -> None:
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL, "a second one ends the process at once"
        stop.check()

    before = signal.getsignal(number)
    monkeypatch.setattr(engine.scan.smart, "scan", interrupted)
    ran = run("scan", "-b", scanned.backup)
    assert ran.status == 130
    assert "interrupted" in ran.complaint
    assert signal.getsignal(number) is before


# status and accounts


def test_status_before_any_scan(server: Server, run: Command) -> None:
    where = ("-b", server.backup)
    run("init", *where, "--source", server.spec)
    ran = run("status", *where)
    assert (ran.status, ran.err) == (0, "")
    assert "none yet: 'engine scan' makes the first" in ran.out
    document = run("status", *where, "--json").json
    assert document["first_scan"] is document["last_scan"] is document["complete_since"] is None
    assert document["blobs"] == {"count": 0, "raw_bytes": 0, "stored_bytes": 0}
    ran = run("status", *where, "--json", "--max-age", "3d")
    assert ran.status == 1
    assert ran.err == "engine: the last scan: there was none; --max-age is 3d\n"


def test_status_counts(scanned: Server, run: Command) -> None:
    document = run("status", "-b", scanned.backup, "--json").json
    counts = ("accounts", "deleted_accounts", "items", "transactions", "scans", "format")
    assert [document[key] for key in counts] == [2, 0, 6, 8, 1, 2]
    assert document["backup"] == str(scanned.backup)
    blobs = document["blobs"]
    assert blobs["count"] == 3
    assert blobs["raw_bytes"] == sum(len(letter(number)) for number in (1, 2, 3))
    packs = scanned.backup.joinpath("packs").rglob("*.pack")
    assert blobs["stored_bytes"] == sum(pack.stat().st_size for pack in packs)
    assert document["first_scan"] == document["last_scan"] == document["complete_since"]
    out = run("status", "-b", scanned.backup).out
    assert re.search(r"^items +6$", out, re.MULTILINE)
    assert re.search(r"^last scan +\S+ \(\d s ago\)$", out, re.MULTILINE)


def test_status_judges_the_age_of_the_last_complete_scan(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = past.account("alice@example.com")
    past.message(alice, alice, letter(1))
    end = past.scan_end()
    past.clock.advance(90 * MINUTE)

    def later(backup: Backup) -> object:
        backup.clock = past.clock
        backup.journal = Journal(backup.journal.environment, past.clock)
        return status(backup)

    monkeypatch.setattr(engine.cli.status, "status", later)
    assert past.run("status", "--max-age", "90m").status == 0
    ran = past.run("status", "--max-age", "5399s", "--json")
    assert (ran.status, ran.json["age_seconds"]) == (1, 5400.0)
    assert ran.err == "engine: the last scan: 90 min old; --max-age is 5399s\n"
    assert end == START + 3 * MINUTE
    assert ran.json["last_scan"] == "2024-05-01T00:03:00.000000Z"
    assert "2024-05-01T00:03:00 (90 min ago)" in past.run("status").out
    past.clock.advance(-100 * MINUTE)
    ran = past.run("status", "--max-age", "90m")
    assert ran.status == 1, "no other scan can be made until the clock has come there"
    assert ran.err == "engine: the last scan: ahead of this machine's clock; --max-age is 90m\n"


def test_status_tells_living_from_deleted_accounts(past: Past) -> None:
    alice, bob = past.account("alice@example.com"), past.account("bob@example.com")
    past.messages(alice, alice, [letter(1), letter(2)])
    past.message(bob, bob, letter(3))
    past.delete(bob, bob)
    document = past.run("status", "--json").json
    counts = ("accounts", "deleted_accounts", "items", "transactions")
    assert [document[key] for key in counts] == [1, 1, 2, 6]
    assert "accounts       1, and 1 deleted\n" in past.run("status").out


def test_a_scan_of_single_accounts_is_not_the_last_scan(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup)
    before = run("status", *where, "--json").json
    assert run("scan", *where, "--account", "bob@example.com").status == 0
    after = run("status", *where, "--json").json
    assert (after["last_scan"], after["scans"]) == (before["last_scan"], 1)


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "2h30m", "1.5h", "2 h", "1y"])
def test_lengths_of_time_that_are_none(scanned: Server, run: Command, text: str) -> None:
    ran = run("status", "-b", scanned.backup, f"--max-age={text}")
    assert ran.status == 2
    assert f"--max-age: {text!r} is not a length of time" in ran.complaint


def test_accounts_are_listed_with_the_deleted_ones(past: Past) -> None:
    bob = past.account("bob@example.com")
    alice = past.account("alice@example.com")
    inbox = past.folder(alice, "INBOX")
    past.message(alice, inbox, letter(1))
    past.delete(bob, bob)
    ran = past.run("accounts")
    until = "2024-05-01T00:05:00Z"
    assert (ran.status, ran.err) == (0, "")
    assert [re.split(r"  +", line) for line in ran.out.splitlines()] == [
        ["ID", "ITEMS", "LAST CHANGE", "ACCOUNT"],
        [item_id(alice), "2", "2024-05-01T00:04:00Z", "alice@example.com"],
        [item_id(bob), "0", until, "bob@example.com", f"(deleted {until})"],
    ]
    first, second = past.run("accounts", "--json").json
    assert (first["account"], first["items"], first["deleted"]) == ("alice@example.com", 2, None)
    assert first["item"] == item_id(alice)
    assert first["changed"] == "2024-05-01T00:04:00.000000Z"
    assert first["source"] == "maildir:/nowhere"
    assert second["deleted"] == "2024-05-01T00:05:00.000000Z"


# log


@pytest.fixture
def history(past: Past) -> dict[str, int]:
    """A history of seven transactions, one a minute from 00:01 on; and who is in it."""
    alice = past.account("alice@example.com")
    inbox = past.folder(alice, "INBOX")
    work = past.folder(alice, "Work")
    item = past.message(alice, inbox, letter(1))
    past.change(alice, item, flags=("\\Seen",))
    past.change(alice, item, folder=work)
    past.delete(alice, item)
    return {"alice": alice, "inbox": inbox, "work": work, "item": item}


def test_log_lists_what_happened(past: Past, history: dict[str, int]) -> None:
    rows = past.run("log", "--json").json
    assert [row["transaction"] for row in rows] == list(range(1, 8))
    assert [row["time"] for row in rows] == [
        f"2024-05-01T00:0{minute}:00.000000Z" for minute in range(1, 8)
    ]
    assert [(row["action"], row["kind"], row["folder"]) for row in rows] == [
        ("create", "account", ""),
        ("create", "folder", ""),
        ("create", "folder", ""),
        ("create", "message", "INBOX"),
        ("change", "message", "INBOX"),
        ("move", "message", "Work"),
        ("delete", "message", "Work"),
    ]
    assert {row["account"] for row in rows} == {"alice@example.com"}
    assert [row["former_folder"] for row in rows[4:]] == ["INBOX", "INBOX", "Work"]
    assert {row["item"] for row in rows[3:]} == {item_id(history["item"])}
    name = rows[3]["name"]
    out = past.run("log").out.splitlines()
    assert out[0].split() == ["1", rows[0]["time"], "create", rows[0]["item"], "alice@example.com"]
    assert out[5].endswith(f"  alice@example.com: INBOX/{name} -> Work/{name}")


def test_log_of_a_window_includes_both_ends(past: Past, history: dict[str, int]) -> None:
    def numbers(*arguments: str) -> list[int]:
        return [row["transaction"] for row in past.run("log", "--json", *arguments).json]

    assert numbers("--since", "2024-05-01T00:02", "--until", "2024-05-01T00:04") == [2, 3, 4]
    assert numbers("--since", "2024-05-01T00:06:00.000001Z") == [7]
    assert numbers("--until", "2024-05-01T00:00:59.999999") == []
    assert numbers("--since", "2024-05-02") == []


def test_log_of_some_accounts(past: Past, history: dict[str, int]) -> None:
    past.account("bob@example.com")
    assert len(past.run("log", "--json", "--account", "alice@example.com").json) == 7
    (row,) = past.run("log", "--json", "--account", "bob@example.com").json
    assert row["transaction"] == 8
    ran = past.run("log", "--account", "dave@example.com")
    assert ran.status == 2
    assert "no account 'dave@example.com'" in ran.complaint


def test_a_long_log_is_read_in_pieces(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = past.account("alice@example.com")
    past.messages(alice, alice, [letter(number) for number in range(8)])
    for size in (1, 2, 3, 9):
        monkeypatch.setattr("engine.query.history._BATCH", size)
        rows = past.run("log", "--json").json
        assert [row["transaction"] for row in rows] == list(range(1, 10))


@pytest.mark.parametrize("verb", ["log", "search"])
@pytest.mark.parametrize("text", ["nonsense", "2024-13", "", "latest"])
def test_times_that_are_none(scanned: Server, run: Command, verb: str, text: str) -> None:
    ran = run(verb, "-b", scanned.backup, "--since", text)
    assert ran.status == 2
    assert f"--since: {text!r} is not a time" in ran.complaint


# show


def test_show_prints_the_whole_journal(past: Past, history: dict[str, int]) -> None:
    ran = past.run("show", item_id(history["item"]))
    assert (ran.status, ran.err) == (0, "")
    times = [f"2024-05-01T00:0{minute}:00.000000Z" for minute in range(8)]
    keys = ("transaction", "action", "start", "end", "deleted", "folder", "flags")
    assert [[row[key] for key in keys] for row in ran.json] == [
        [4, "create", times[4], times[5], None, "INBOX", []],
        [5, "change", times[5], times[6], None, "INBOX", ["\\Seen"]],
        [6, "move", times[6], times[7], times[7], "Work", ["\\Seen"]],
    ]
    row = ran.json[0]
    assert row["item"] == item_id(history["item"])
    assert row["size"] == len(letter(1))
    assert re.fullmatch("[0-9a-f]{64}", row["digest"])
    assert row["name"].endswith(f"_{item_id(history['item'])}.eml")
    assert (row["subject"], row["from"]) == ("Letter 1", "Bob <bob@example.com>")
    assert past.run("show", "--json", item_id(history["item"]).upper()).out == ran.out


def test_show_of_a_living_item_has_no_end_unless_its_account_has(
    past: Past, history: dict[str, int]
) -> None:
    folder = item_id(history["inbox"])
    (row,) = past.run("show", folder).json
    assert (row["end"], row["deleted"], row["kind"], row["date"]) == (None, None, "folder", None)
    assert row["start"] == "2024-05-01T00:02:00.000000Z"
    past.delete(history["alice"], history["alice"])
    (row,) = past.run("show", folder).json
    assert row["end"] == row["deleted"] == "2024-05-01T00:08:00.000000Z"


def test_show_at_a_time(past: Past, history: dict[str, int]) -> None:
    item = item_id(history["item"])
    (row,) = past.run("show", item, "--at", "2024-05-01T00:05:59.999999").json
    assert row["transaction"] == 5
    (row,) = past.run("show", item, "--at", "2024-05-01T00:06").json
    assert row["transaction"] == 6
    for time in ("2024-05-01T00:03:59", "2024-05-01T00:07"):
        ran = past.run("show", item, "--at", time)
        assert ran.status == 1
        assert f"{item} was not there at {time}" in ran.complaint


def test_show_writes_content_as_it_was(scanned: Server, run: Command) -> None:
    content = b"Subject: odd\r\n\r\n\x00\xff\r" + bytes(range(256))
    scanned.alice.deliver(content)
    large = b"Subject: large\n\n" + b"0123456789abcde\n" * (1 << 19)
    scanned.alice.deliver(large)
    assert run("scan", "-b", scanned.backup).status == 0
    for subject, expected in (("odd", content), ("large", large)):
        (row,) = run("search", "-b", scanned.backup, "--json", "--subject", subject).json
        done = script(["show", "-b", scanned.backup, row["item"], "--blob"], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == expected


def test_show_writes_the_content_of_the_version_that_is_meant(past: Past) -> None:
    alice = past.account("alice@example.com")
    item, other = past.messages(alice, alice, [letter(1), letter(2)])
    with past.backup.reader() as reader:
        version = reader.version_before(other, 99)
    past.change(alice, item, content=Content(version.digest, version.size, 0))
    past.delete(alice, item)
    shown = item_id(item)
    assert past.run("show", shown, "--blob").out.encode() == letter(2)
    early = past.run("show", shown, "--blob", "--at", "2024-05-01T00:02:30")
    assert early.out.encode() == letter(1)


def test_show_of_content_that_is_not_there(past: Past, history: dict[str, int]) -> None:
    ran = past.run("show", item_id(history["inbox"]), "--blob")
    assert ran.status == 1
    assert "has no content: it is of kind folder" in ran.complaint
    ran = past.run("show", item_id(history["inbox"]), "--blob", "--json")
    assert ran.status == 2


def test_damaged_content_is_not_shown(past: Past, history: dict[str, int]) -> None:
    (pack,) = past.path.joinpath("packs").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    data[-20] ^= 1
    pack.write_bytes(data)
    ran = past.run("show", item_id(history["item"]), "--blob")
    assert ran.status == 1
    assert "blob" in ran.complaint


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ("zzzzzz", "there is no item zzzzzz"),
        ("k3f9", "'k3f9' is not an item ID"),
        ("letter.eml", "'letter.eml' is not an item ID"),
        ("/no/such/file", "/no/such/file: is not there, or not under a mounted backup"),
        ("/", "/: is not there, or not under a mounted backup"),
    ],
)
def test_show_of_what_is_no_item(past: Past, item: str, word: str) -> None:
    ran = past.run("show", item)
    assert ran.status == 2
    assert word in ran.complaint


def test_show_of_a_path_under_a_mount(
    past: Past, history: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"Drafts": MountedItem(str(past.path), history["work"])}
    monkeypatch.setattr(engine.cli.show, "item_at", shown.get)
    (row,) = past.ask("show", "Drafts").json
    assert row["item"] == item_id(history["work"])
    assert past.run("show", "Drafts").status == 0
    ran = past.ask("show", "Drafts", "-b", past.path.parent)
    assert ran.status == 2
    assert f"Drafts: is of the backup {past.path}, not of {past.path.parent}" in ran.complaint


# search


def test_search_tells_all_of_what_it_finds(past: Past, history: dict[str, int]) -> None:
    past.message(history["alice"], history["inbox"], letter(2), flags=("\\Flagged",))
    ran = past.run("search", "letter", "--json")
    assert (ran.status, ran.err) == (0, "")
    living, deleted = ran.json
    name = living["name"]
    assert living == {
        "item": item_id(history["item"] + 1),
        "kind": "message",
        "account": "alice@example.com",
        "folder": "INBOX",
        "name": name,
        "subject": "Letter 2",
        "from": "Bob <bob@example.com>",
        "to": "alice@example.com",
        "date": "2024-05-01T00:07:00.000000Z",
        "deleted": None,
        "size": len(letter(2)),
        "damaged": False,
        "message_id": "<2@example.com>",
        "flags": ["\\Flagged"],
        "paths": [f"latest/alice@example.com/INBOX/{name}"],
    }
    name = deleted["name"]
    assert deleted["deleted"] == "2024-05-01T00:07:00.000000Z"
    assert deleted["paths"] == [
        f"2024-05-01T00:06:59.999999Z/alice@example.com/Work/{name}",
        f"latest/alice@example.com/.deleted/Work/{name}",
    ]


def test_search_for_people(
    past: Past,
    history: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past.clock.advance(30 * MINUTE)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setattr(engine.cli.search, "mount_of", lambda path: "/mnt/past")
    ran = past.run("search", "--deleted", "--from", "BOB", "--until", "2024-05-02")
    name = past.run("log", "--json").json[3]["name"]
    assert ran.out.splitlines() == [
        f"{item_id(history['item'])}  2024-05-01T05:33:00+05:30  Bob <bob@example.com>: Letter 1",
        "        deleted 2024-05-01T05:37:00+05:30",
        f"        /mnt/past/2024-05-01T05:36:59.999999+05:30/alice@example.com/Work/{name}",
        f"        /mnt/past/latest/alice@example.com/.deleted/Work/{name}",
    ]


def test_search_that_finds_nothing_is_no_failure(scanned: Server, run: Command) -> None:
    ran = run("search", "-b", scanned.backup, "no such words")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert run("search", "-b", scanned.backup, "no such words", "--json").json == []


def test_search_names_what_is_damaged(past: Past, history: dict[str, int]) -> None:
    with past.backup.journal.environment.write() as txn:
        tables = past.backup.journal.environment.tables
        txn.put(pair_key(history["item"], 6), b"no version", db=tables.versions)
    past.message(history["alice"], history["inbox"], letter(2))
    ran = past.run("search", "--json")
    assert ran.status == 1
    assert [row["subject"] for row in ran.json] == ["Letter 2"]
    assert re.fullmatch(r"engine: journal: versions record \w+ is damaged.*\n", ran.err)


def test_what_a_check_found_damaged_is_marked_until_it_is_mended(
    past: Past, history: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (pack,) = past.path.joinpath("packs").rglob("*.pack")
    sound = pack.read_bytes()
    past.message(history["alice"], history["inbox"], letter(2))

    def marked() -> tuple[list[bool], list[bool]]:
        found, rows = past.run("search", "--json").json, past.run("log", "--json").json
        assert ("damaged" in past.run("search").out) == any(row["damaged"] for row in found)
        lines = past.run("log").out.splitlines()
        assert [line.endswith("(damaged)") for line in lines] == [row["damaged"] for row in rows]
        return [row["damaged"] for row in found], [row["damaged"] for row in rows]

    written = pack.read_bytes()
    pack.write_bytes(sound[:-20] + bytes([sound[-20] ^ 1]) + written[len(sound) - 19 :])
    with monkeypatch.context() as patch:
        patch.setattr(engine.query.damage, "is_damaged", None)  # nothing is looked at
        assert marked() == ([False, False], [False] * 8)
    assert past.run("check").status == 1
    assert marked() == ([False, True], [False] * 3 + [True] * 4 + [False])
    lines = past.run("search", "--deleted").out.splitlines()
    assert lines[2] == "        damaged: its content can't be read"
    pack.write_bytes(written)
    assert marked() == ([False, False], [False] * 8)
    assert (past.path / "damaged").exists()
    assert past.run("check", "--deep").status == 0
    assert not (past.path / "damaged").exists()


def test_paths_lead_to_what_was_found(scanned: Server, run: Command) -> None:
    needs("/dev/fuse", "fusermount3")
    scanned.alice.expunge(scanned.first)
    scanned.account("carol").deliver(letter(4), unique="4.mx")
    (scanned.mail / "example.com" / "bob").rename(scanned.mail.parent / "bob")
    where = ("-b", scanned.backup)
    assert run("scan", *where).status == 0
    point = scanned.mail.parent / "mnt"
    point.mkdir()
    assert mount("mount", *where, point) == 0
    try:
        rows = run("search", *where, "--json").json
        assert len(rows) == 4
        for row in rows:
            assert row["paths"]
            for path in row["paths"]:
                assert path.startswith(f"{point}/")
                assert Path(path).read_bytes() == letter(int(row["subject"][-1]))
                assert run("show", path).json[0]["item"] == row["item"]
        for path, kind in (("Work", "folder"), ("", "account"), ("account.json", "account")):
            (row,) = run("show", point / "latest" / "alice@example.com" / path).json
            assert row["kind"] == kind
        for path in ("latest", "README.txt", "latest/.deleted"):
            assert run("show", point / path).status == 2
    finally:
        assert mount("umount", point) == 0


def mount(*argv: str | Path) -> int:
    """Runs the command `timefs`, which leaves a process behind that must not hold our pipes."""
    command = [sys.executable, "-c", "import sys, timefs.cli; sys.exit(timefs.cli.main())"]
    environment = {**os.environ, "PYTHONPATH": str(README.parent), "TZ": "UTC"}
    words = [*command, *map(str, argv)]
    return subprocess.run(words, env=environment, timeout=60, stdout=subprocess.DEVNULL).returncode


# check


def test_check_of_a_sound_backup(scanned: Server, run: Command) -> None:
    ran = run("check", "-b", scanned.backup, "--deep")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("no problems in 8 versions, 3 blobs and ")
    document = run("check", "-b", scanned.backup, "--json").json
    assert (document["ok"], document["problems"], document["repaired"]) == (True, [], [])
    assert (document["versions"], document["blobs"]) == (8, 3)


def test_check_names_and_repairs(past: Past, history: dict[str, int]) -> None:
    with past.backup.journal.environment.write() as txn:
        txn.drop(past.backup.journal.environment.tables.timeline, delete=False)
    ran = past.run("check")
    assert ran.status == 1
    lines = ran.err.splitlines()
    assert lines
    assert all(re.fullmatch(r"engine: [a-z-]+: .+", line) for line in lines)
    assert ran.out.startswith(f"{len(lines)} problems in 7 versions")
    assert ran.out.endswith("'engine check --repair' mends what can be mended\n")
    document = past.run("check", "--json").json
    assert document["ok"] is False
    assert {"kind", "what"} == set(document["problems"][0])
    ran = past.run("check", "--repair")
    assert (ran.status, ran.err) == (0, "")
    assert re.match(r"repaired: .+\nno problems in ", ran.out)
    assert "--repair" not in ran.out
    ran = past.run("check", "--deep")
    assert ran.out.splitlines()[1].startswith("all packs were verified in depth, the one that ")
    assert past.run("check", "--repair", "--json").json["repaired"] == []


# config


def test_config_shows_and_changes_settings(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup)
    assert f"sources = {scanned.spec}\nscan.workers = 2\n" in run("config", *where).out
    assert run("config", *where, "get", "scan.workers").out == "2\n"
    assert run("config", *where, "set", "scan.workers", "5").out == "scan.workers = 5\n"
    assert run("config", *where, "get", "scan.workers", "--json").json == {"scan.workers": 5}
    assert run("config", *where, "--json").json["sources"] == [scanned.spec]
    two = json.dumps([scanned.spec, "maildir:/srv/{user}"])
    assert run("config", *where, "set", "sources", two, "--json").json == {
        "sources": [scanned.spec, "maildir:/srv/{user}"]
    }
    assert run("config", *where, "get", "sources").out == f"{scanned.spec}\nmaildir:/srv/{{user}}\n"


def test_config_shows_empty_lists_and_takes_them(scanned: Server, run: Command) -> None:
    where = ("-b", scanned.backup)
    assert "notify.mail_to = []\n" in run("config", *where).out
    assert run("config", *where, "get", "notify.mail_to").out == "[]\n"
    run("config", *where, "set", "notify.mail_to", '["a@example.com", "b@example.com"]')
    assert run("config", *where, "get", "notify.mail_to").out == "a@example.com\nb@example.com\n"
    assert run("config", *where, "set", "notify.mail_to", "[]").out == "notify.mail_to = []\n"
    assert run("config", *where, "get", "notify.mail_to", "--json").json == {"notify.mail_to": []}


def test_the_crontab_of_the_help_has_the_full_path_of_the_command(run: Command) -> None:
    (line,) = [line for line in run("scan", "--help").out.splitlines() if "* * * *" in line]
    assert Path(line.split()[6]).is_absolute()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["get", "colour"], "there is no setting colour"),
        (["set", "colour", "blue"], "there is no setting colour"),
        (["set", "scan.workers", "many"], "scan.workers can't be"),
        (["set", "sources", "mbox:host"], "is not a source"),
        (["set", "sources", "[]"], "sources can't be"),
        (["set", "scan.workers"], "config set KEY VALUE"),
        (["get", "scan.workers", "3"], "config get KEY"),
        (["get"], "config get KEY"),
        (["put", "scan.workers", "3"], "config get KEY"),
    ],
)
def test_config_refuses_what_it_doesnt_know(
    scanned: Server, run: Command, arguments: list[str], word: str
) -> None:
    before = (scanned.backup / "config.toml").read_bytes()
    ran = run("config", "-b", scanned.backup, *arguments)
    assert ran.status == 2
    assert word in ran.complaint
    assert (scanned.backup / "config.toml").read_bytes() == before


def test_settings_that_are_wrong_stop_every_verb(scanned: Server, run: Command) -> None:
    with (scanned.backup / "config.toml").open("a") as file:
        file.write("colour = 'blue'\n")
    for verb in (*READING, "scan"):
        ran = run(verb, "-b", scanned.backup)
        assert ran.status == 2
        assert re.search(r"config\.toml, line \d+: there is no setting", ran.complaint)


# All verbs


@pytest.mark.parametrize("verb", [*READING, "scan"])
def test_json_is_one_document_and_nothing_else(scanned: Server, run: Command, verb: str) -> None:
    ran = run(verb, "-b", scanned.backup, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert isinstance(ran.json, dict | list)


@pytest.mark.parametrize("verb", [*READING, "scan", "show"])
def test_what_is_no_backup_is_refused(tmp_path: Path, run: Command, verb: str) -> None:
    item = ["00000z"] if verb == "show" else []
    for path in (tmp_path, tmp_path / "missing", Path(__file__)):
        ran = run(verb, *item, "-b", path)
        assert ran.status == 3
        assert str(path) in ran.complaint


def test_the_backup_path_may_be_named_in_three_ways(
    scanned: Server, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("-b", scanned.backup, "status").status == 0
    assert run("--backup", scanned.backup, "--json", "status").json["accounts"] == 2
    assert run("status", f"--backup={scanned.backup}").status == 0
    monkeypatch.setenv("TIMEFS_BACKUP", str(tmp_path / "missing"))
    assert run("-b", tmp_path / "missing", "status", "-b", scanned.backup).status == 0
    assert run("status").status == 3
    monkeypatch.setenv("TIMEFS_BACKUP", str(scanned.backup))
    assert run("status").status == 0
    monkeypatch.setenv("TIMEFS_BACKUP", "")
    assert run("status", "-b", scanned.backup).status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["guess"],
        ["status", "--wat"],
        ["status", "extra"],
        ["status", "--max-age"],
        ["--wat", "status"],
        ["show"],
        ["search", "one", "two\nlines"],
        ["status", "--js"],
    ],
)
def test_wrong_usage_is_told_in_one_line(run: Command, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert "--help" in ran.complaint or "there is no verb 'guess'; there are init" in ran.complaint


def test_a_defect_is_told_in_one_line_and_shown_on_request(
    scanned: Server, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(backup: Backup) -> NoReturn:
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr(engine.cli.status, "status", broken)
    ran = run("status", "-b", scanned.backup)
    assert ran.status == 1
    assert ran.complaint == r"engine: ZeroDivisionError: by\nnought (a defect; --debug shows where)"
    ran = run("status", "-b", scanned.backup, "--debug")
    assert ran.status == 1
    assert ran.err.startswith("Traceback ")
    assert ran.err.endswith("(a defect; --debug shows where)\n")


def test_a_defect_with_an_account_is_told_in_one_line_and_shown_on_request(
    scanned: Server, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(engine.scan.running, "scan_account", broken)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    ran = run("scan", "-b", scanned.backup)
    assert ran.status == 1
    assert "ZeroDivisionError: by nought (a defect; --debug shows where)" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in run("scan", "-b", scanned.backup, "--debug").err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(13, "", "/srv/x"), 1, "engine: /srv/x: Permission denied\n"),
        (OSError(28, "what it is"), 1, "engine: what it is\n"),
    ],
)
def test_how_else_it_ends(
    scanned: Server,
    run: Command,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    told: str,
) -> None:
    def fails(backup: Backup) -> NoReturn:
        raise error

    monkeypatch.setattr(engine.cli.status, "status", fails)
    ran = run("status", "-b", scanned.backup)
    assert (ran.status, ran.out, ran.err) == (status, "", told)


def test_what_strangers_wrote_cant_play_with_the_terminal(past: Past) -> None:
    alice = past.account("alice@example.com")
    subject = "=?utf-8?q?=1B]0;owned=07_=E2=80=AEtxt=0D=E3=80=80end?="
    past.message(alice, alice, f"Subject: {subject}\nFrom: x\n\n".encode())
    for verb in ("search", "log"):
        out = past.run(verb).out
        assert out
        assert {c for c in out if not c.isprintable()} <= {"\n", "\u3000"}
    (row,) = past.run("search", "--json").json
    assert row["subject"].endswith("\u3000end")


def test_names_that_are_not_utf8_are_valid_json(server: Server, run: Command) -> None:
    odd = Maildir(server.mail / "example.com" / os.fsdecode(b"m\xfcller"))
    odd.deliver(letter(7), unique=os.fsdecode(b"7.\xff.mx"))
    where = ("-b", server.backup)
    run("init", *where, "--source", server.spec)
    assert run("scan", *where).status == 0
    (name,) = [
        row["source_name"]
        for row in run("accounts", *where, "--json").json
        if row["account"] not in ("alice@example.com", "bob@example.com")
    ]
    assert os.fsencode(name) == b"m\xfcller@example.com"
    (row,) = run("search", *where, "--json", "letter 7").json
    (version,) = run("show", *where, row["item"]).json
    assert os.fsencode(version["identity"]) == b"7.\xff.mx"


# Standard output, and the process


def test_a_reader_that_goes_away_is_no_error(scanned: Server) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = script(["status", "-b", scanned.backup], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["--help"]])
def test_a_full_disk_under_the_output_is_told(scanned: Server, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = script([*arguments, "-b", scanned.backup], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"engine: can't write the output: No space left on device\n"


def test_a_closed_output_is_told(scanned: Server) -> None:
    done = script(
        ["status", "-b", scanned.backup], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1)
    )
    assert done.returncode == 1
    assert done.stderr == b"engine: standard output is closed\n"


def test_a_locale_without_the_letters_is_no_error(past: Past) -> None:
    alice = past.account("alice@example.com")
    past.message(alice, alice, "Subject: Zoë ☀\n\n".encode())
    command = ["env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0", sys.executable, "-c"]
    command.append("import sys, engine.cli; sys.exit(engine.cli.main())")
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    for option, text in (([], b"Zo\\xeb \\u2600"), (["--json"], "Zoë ☀".encode())):
        done = subprocess.run(
            [*command, "search", "-b", str(past.path), *option],
            env=environment,
            timeout=60,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert text in done.stdout


def test_a_verb_imports_only_what_it_needs(scanned: Server) -> None:
    program = (
        "import sys, engine.cli\n"
        "engine.cli.main(sys.argv[1:])\n"
        "heavy = {'lmdb', 'trio', 'rich', 'zstandard', 'blake3', 'pyfuse3', 'email', 'socket',"
        " 'hashlib', 'ssl', 'subprocess', 'asyncio', 'http', 'html'}\n"
        "print('imports', *sorted(heavy & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    for arguments, allowed in (
        (["--version"], set()),
        (["--help"], set()),
        (["status", "-b", scanned.backup], {"lmdb", "zstandard", "blake3"}),
        (["scan", "-b", scanned.backup], {"lmdb", "zstandard", "blake3"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        imported = set(done.stdout.splitlines()[-1].split()[1:])
        assert imported <= allowed, arguments


# Help


def test_the_overview_names_every_verb(run: Command) -> None:
    ran = run("--help")
    assert (ran.status, ran.err) == (0, "")
    for verb, summary in VERBS.items():
        assert re.search(rf"^    {verb} +{re.escape(summary)}$", ran.out, re.MULTILINE)
    assert run("-h").out == ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_manual(run: Command, verb: str) -> None:
    ran = run(verb, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: engine {verb} ")
    for part in ("--json", "-b PATH", "Exit status:", "    130  interrupted", "Examples:"):
        assert part in ran.out
    _, _, examples = ran.out.partition("Examples:\n\n")
    assert examples.startswith(f"    engine {verb}")
    before, _, _ = ran.out.partition("Exit status:")
    assert "\n\n" in before.strip()
    for line in ran.out.splitlines():
        assert len(line) < 80 or line.startswith("    "), line


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert re.search(rf"^\| `engine {verb}\b", README.read_text(), re.MULTILINE)


def test_the_version(run: Command) -> None:
    ran = run("--version")
    assert ran.status == 0
    assert re.fullmatch(r"engine \d+\.\d+\.\d+\n", ran.out)
