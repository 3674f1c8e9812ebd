"""Tests of `engine sources` and of what becomes of accounts whose source goes, moves or is down."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backups import letter
from tests.commands import engine
from tests.dovecot import Dovecot, dovecot
from tests.maildrop import Maildir
from tests.mailserver import MASTER_PASSWORD, PASSWORD

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"


class House:
    """Two trees of Maildirs and a backup path of both."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for place, account in (("one", ALICE), ("one", BOB), ("two", CAROL)):
            self.fill(place, account)
        specs = [f"{place}=maildir:{root}/{place}/{{account}}" for place in ("one", "two")]
        engine("init", *self.where, *(w for spec in specs for w in ("--source", spec)))
        engine("scan", *self.where)
        self.config = (root / "backup" / "config.toml").read_text()

    @property
    def where(self) -> tuple[str, Path]:
        return "-b", self.root / "backup"

    def fill(self, place: str, account: str) -> None:
        Maildir(self.root / place / account).deliver(letter(sum(account.encode())), unique=account)

    def take_out(self, name: str) -> None:
        """Takes a source's table out of the settings."""
        head, _, rest = self.config.partition(f"[sources.{name}]\n")
        _, bracket, tail = rest.partition("\n[")
        (self.root / "backup" / "config.toml").write_text(f"{head}{bracket[1:]}{tail}")

    def living(self) -> list[str]:
        rows = engine("accounts", *self.where, "--json").json
        return [row["account"] for row in rows if row["deleted"] is None]

    def sources(self, *words: str, status: int = 0) -> dict[str, dict[str, object]]:
        rows = engine("sources", *self.where, "--json", *words, status=status).json
        return {row["name"]: row for row in rows}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_sources_are_listed_and_probed(house: House) -> None:
    rows = house.sources("--probe")
    assert {name: row["accounts"] for name, row in rows.items()} == {"one": 2, "two": 1}
    assert rows["one"]["location"] == f"{house.root}/one/{{account}}"
    assert rows["one"]["scanned"]
    probe = rows["two"]["probe"]
    assert isinstance(probe, dict)
    assert (probe["reachable"], probe["accounts"], probe["what"]) == (True, 1, None)
    assert probe["abilities"]["owner"] == os.geteuid()
    shutil.rmtree(house.root / "two")
    ran = engine("sources", *house.where, "--probe", status=4)
    assert "two: " in ran.err
    assert "reachable, with 2 accounts" in ran.out
    assert house.sources("--probe", status=4)["two"]["probe"]["reachable"] is False  # type: ignore[index]


def test_a_source_that_was_taken_out_deletes_nothing_until_it_is_forgotten(house: House) -> None:
    house.take_out("two")
    assert engine("scan", *house.where, "--json").json["account_events"] == []
    engine("scan", *house.where, "--accept-empty")
    assert house.living() == [ALICE, BOB, CAROL]
    assert house.sources()["two"]["configured"] is False
    assert "'engine sources forget two'" in engine("sources", *house.where).out
    told = engine("sources", *house.where, "forget", "two", "--dry-run", "--json").json
    assert told == {"source": "two", "dry_run": True, "accounts": [CAROL]}
    assert house.living() == [ALICE, BOB, CAROL]
    refused = engine("sources", *house.where, "forget", "two", status=2, stdin=subprocess.DEVNULL)
    assert "say --yes if it is meant" in refused.err
    assert (
        "is in the settings"
        in engine("sources", *house.where, "forget", "one", "--yes", status=2).err
    )
    assert (
        "1 account recorded as deleted"
        in engine("sources", *house.where, "forget", "two", "--yes").out
    )
    assert house.living() == [ALICE, BOB]
    assert "two" not in house.sources()
    assert (
        "no account was filled by"
        in engine("sources", *house.where, "forget", "two", "--yes", status=2).err
    )


def test_a_source_may_move_and_stays_the_same(house: House) -> None:
    (house.root / "two").rename(house.root / "moved")
    place = f"{house.root}/moved/{{account}}"
    engine("config", *house.where, "set", "sources.two.location", place)
    assert engine("scan", *house.where, "--json").json["account_events"] == []
    assert house.living() == [ALICE, BOB, CAROL]
    assert house.sources()["two"]["location"] == place


def test_accounts_that_appear_in_a_new_source_are_kept_by_recognition(house: House) -> None:
    house.take_out("two")
    place = f"maildir:{house.root}/two/{{account}}"
    engine("config", *house.where, "set", "sources.three", place)
    assert engine("scan", *house.where, "--json").json["account_events"] == []
    rows = house.sources()
    assert {name: row["accounts"] for name, row in rows.items()} == {"one": 2, "three": 1}


def test_one_source_alone_is_scanned(house: House) -> None:
    house.fill("one", "new@example.com")
    house.fill("two", "new2@example.com")
    (house.root / "one" / BOB).rename(house.root / "gone")
    ran = engine("scan", *house.where, "--source", "two", "--json").json
    assert [(event["account"], event["event"]) for event in ran["account_events"]] == [
        ("new2@example.com", "new")
    ]
    assert ran["view"] is None, "no complete scan, which the mount would list"
    assert (
        "there is no source three"
        in engine("scan", *house.where, "--source", "three", status=2).err
    )


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with dovecot() as one, dovecot() as two:
        yield one, two


def test_two_servers_with_different_logins_are_in_one_backup_path(
    servers: tuple[Dovecot, Dovecot], tmp_path: Path
) -> None:
    one, two = servers
    (tmp_path / "own").write_text(f"{PASSWORD}\n")
    for server, account in ((one, ALICE), (two, BOB)):
        with server.client(account) as client:
            client.append("INBOX", "", None, letter(len(account)))
    where = "-b", tmp_path / "backup"
    second = two.spec([BOB], method="each", password_file=tmp_path / "own", timeout=9)
    engine("init", *where, "--source", f"one={one.spec([ALICE])}", "--source", second)
    scanned = engine("scan", *where, "--json").json
    assert (scanned["accounts"], scanned["errors"]) == (2, [])
    rows = engine("sources", *where, "--probe", "--json").json
    assert [row["name"] for row in rows] == ["one", "mail"]
    assert [row["probe"]["abilities"]["opened as"].split(",")[0] for row in rows] == [
        "master",
        "each",
    ]
    assert MASTER_PASSWORD not in engine("sources", *where).out
    for server, account in ((one, ALICE), (two, BOB)):
        with server.client(account) as client:
            client.select("INBOX")
            client.store("1", "+FLAGS", r"(\Deleted)")
            client.expunge()
    engine("scan", *where)
    done = engine("undelete", *where, BOB, "--since", "1h-ago", "--json").json
    (row,) = done["accounts"]
    assert (len(row["restored"]), row["failed"]) == (1, [])
    assert f":{two.port}" in row["to"]["where"]
    for server, account, there in ((one, ALICE, False), (two, BOB, True)):
        with server.client(account) as client:
            assert any(b"Undeleted" in bytes(line) for line in client.list()[1]) is there  # type: ignore[arg-type]
