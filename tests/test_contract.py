"""Sentences of the contract, tried with the commands on Maildirs such as Dovecot leaves them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands import engine, timefs
from tests.maildrop import Maildir

ALICE, ANNA, BOB = "alice@example.com", "anna@example.com", "bob@example.com"


class Server:
    """Mailboxes, and the backup of them."""

    def __init__(self, path: Path) -> None:
        self.mail = path / "mail"
        self.backup = path / "backup"
        self.mail.mkdir()
        engine("init", "-b", self.backup, "--source", f"maildir:{self.mail}/{{account}}/Maildir")

    def mailbox(self, account: str, guid: str, *texts: str) -> Maildir:
        """Makes a mailbox with these messages; Dovecot has numbered its inbox."""
        maildir = Maildir(self.mail / account / "Maildir")
        (maildir.root / "dovecot-uidlist").write_text(f"3 V1 N1 G{guid * 32}\n")
        for text in texts:
            maildir.deliver(f"Subject: {text}\n\n".encode(), unique=f"{text}.mx")
        return maildir

    def rename(self, account: str, name: str) -> None:
        os.rename(self.mail / account, self.mail / name)

    def scan(self, *words: object, status: int = 0) -> Any:
        return engine("scan", "-b", self.backup, "--json", *words, status=status).json

    def subjects(self) -> dict[str, list[str]]:
        """The living messages of each account."""
        found: dict[str, list[str]] = {}
        for row in engine("search", "-b", self.backup, "--json").json:
            if row["deleted"] is None:
                found.setdefault(row["account"], []).append(row["subject"])
        return found


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_renamed_account_keeps_its_history_though_a_new_one_has_its_name(server: Server) -> None:
    server.mailbox(ALICE, "a", "old")
    server.mailbox(BOB, "b", "bobs")
    server.scan()
    server.rename(ALICE, ANNA)
    server.mailbox(ALICE, "c", "young")
    scan = server.scan()
    assert scan["account_events"] == [
        {"account": ALICE, "event": "new", "former": None},
        {"account": ANNA, "event": "renamed", "former": ALICE},
    ]
    assert (scan["created"], scan["changed"], scan["deleted"]) == (3, 1, 0)
    assert server.subjects() == {ALICE: ["young"], ANNA: ["old"], BOB: ["bobs"]}
    names = [
        account["account"] for account in engine("accounts", "-b", server.backup, "--json").json
    ]
    assert names == [ALICE, ANNA, BOB], "and none of them was shown under another name"


def test_accounts_that_take_over_names_in_a_row_are_each_renamed(server: Server) -> None:
    for account, guid in ((ALICE, "a"), (ANNA, "b"), (BOB, "c")):
        server.mailbox(account, guid, f"of-{account}")
    server.scan()
    server.rename(BOB, "carol@example.com")
    server.rename(ANNA, BOB)
    server.rename(ALICE, ANNA)
    scan = server.scan()
    assert {event["event"] for event in scan["account_events"]} == {"renamed"}
    assert (scan["created"], scan["changed"], scan["deleted"]) == (0, 3, 0)
    assert server.subjects() == {
        ANNA: [f"of-{ALICE}"],
        BOB: [f"of-{ANNA}"],
        "carol@example.com": [f"of-{BOB}"],
    }


def test_an_account_whose_directory_is_empty_all_at_once_is_named(server: Server) -> None:
    server.mailbox(ALICE, "a", "kept")
    server.mailbox(BOB, "b")
    server.scan()
    for entry in (server.mail / ALICE / "Maildir").iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    scan = server.scan(status=1)
    assert [error["account"] for error in scan["errors"]] == [ALICE]
    assert "not taken for deleted" in scan["errors"][0]["what"]
    assert scan["deleted"] == 0
    assert server.subjects() == {ALICE: ["kept"]}
    shutil.rmtree(server.mail / ALICE)
    assert server.scan()["deleted"] == 1, "with its directory it is gone"


def test_an_empty_time_is_no_time(server: Server, tmp_path: Path) -> None:
    server.mailbox(BOB, "b")
    server.scan()
    point = tmp_path / "mnt"
    point.mkdir()
    ran = timefs("mount", "-b", server.backup, "--at", "", point, status=2)
    assert ran.err == (
        "timefs: '' is no time: use 'latest', or a form like 2024-05-01T10:00 or 2d-ago, or a "
        "range of these like 2d-ago..1d-ago\n"
    )
