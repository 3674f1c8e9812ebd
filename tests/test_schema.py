"""`engine schema`, and that each verb prints what it says."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from engine.api.schema import VERBS
from engine.cli import VERBS as ALL_VERBS
from tests.backups import letter
from tests.faults import Fate
from tests.faults import Server as Quick
from tests.maildrop import Maildir
from tests.schemas import document, faults, of

ALICE = "alice@example.com"


class House:
    """A backup path with two accounts, and what its documents were."""

    def __init__(self, root: Path, quick: Quick) -> None:
        self.root = root
        self.quick = quick
        self.path = root / "backup"
        self.alice = Maildir(root / "vmail" / "example.com" / "alice")
        self.alice.create_folder("Work")
        self.first = self.alice.deliver(letter(1))
        self.alice.deliver(letter(2), "Work", flags="S")
        self.bob = Maildir(root / "vmail" / "example.com" / "bob")
        self.bob.deliver(letter(3))
        self.spec = f"maildir:{root}/vmail/{{domain}}/{{user}}"
        self.seen: dict[str, list[Any]] = {}

    def __call__(self, verb: str, *words: object, status: int = 0) -> Any:
        """The document of a verb, which is as its schema says."""
        ran = self.quick(verb, "-b", self.path, "--json", *words, status=status)
        found = ran.json
        self.seen.setdefault(verb, []).append(found)
        return found


@pytest.fixture
def house(tmp_path: Path, quick: Quick) -> House:
    made = House(tmp_path, quick)
    made("init", "--source", made.spec)
    made("scan")
    return made


def is_time(value: object) -> bool:
    return isinstance(value, str) and value.endswith("Z")


def test_verbs_are_listed(quick: Quick) -> None:
    assert quick("schema").out.splitlines() == list(VERBS) == quick("schema", "--json").json
    assert set(ALL_VERBS) - set(VERBS) == {"run"}, "the daemon prints nothing"


@pytest.mark.parametrize("verb", VERBS)
def test_schemas_are_what_the_command_prints(quick: Quick, verb: str) -> None:
    printed = quick("schema", verb)
    assert json.loads(printed.out) == of(verb)
    assert printed.json == of(verb), "which is a document of its own"
    for name, part in of(verb)["$defs"].items():
        assert part["additionalProperties"] is False, name
        assert part["required"] == list(part["properties"]), "all is always there"
        assert part["description"], name


@pytest.mark.parametrize("verb", ["guess", "run", "scan --json", ""])
def test_an_unknown_verb_is_wrong_usage(quick: Quick, verb: str) -> None:
    ran = quick("schema", verb, status=2)
    assert (ran.out, ran.err.count("\n")) == ("", 1)
    assert "'engine schema' lists them" in ran.err


def test_every_verb_prints_what_its_schema_says(house: House) -> None:
    scan = house("scan", "--dry-run", "--deep")
    assert (scan["dry_run"], scan["accounts"], scan["view"]) == (True, 2, None)
    (folder,) = [row["item"] for row in house("log") if row["name"] == "Work"]
    (found,) = house("search", "letter 1")
    assert (found["account"], found["deleted"], is_time(found["date"])) == (ALICE, None, True)
    house.alice.expunge(house.first)
    (house.alice.root / "cur" / "odd.x:2,").mkdir()
    assert [error["account"] for error in house("scan", status=1)["errors"]] == [ALICE]
    (version,) = house("show", found["item"])
    assert version["end"] == version["deleted"]
    assert house("show", folder)[0]["subject"] is None
    (gone,) = house("search", "--deleted")
    assert is_time(gone["deleted"])
    (row,) = house("undelete", ALICE, "--since", "1h-ago", "--dry-run")["accounts"]
    assert [one["item"] for one in row["restored"]] == [found["item"]]
    target = f"maildir:{house.root}/other"
    house("restore", found["item"], "--target", target)
    assert house("hold", "add", ALICE, "--reason", "case 1")[0]["account"] == ALICE
    assert house("hold", "list")[0]["reason"] == "case 1"
    house("hold", "remove", ALICE)
    assert [row["account"] for row in house("accounts")] == [ALICE, "bob@example.com"]
    known = house("status", status=1)
    assert (known["blobs"]["count"], known["problems"]["count"]) == (3, 1)
    checked = house("check", "--deep", "--source", status=1)
    assert {problem["kind"] for problem in checked["problems"]} == {"source"}
    assert checked["verified"]["never"] == 0
    assert house("backup-journal")["removed"] == 0
    operations = house("operations", "list")
    assert {one["kind"] for one in operations} >= {"scan", "restore", "check"}
    assert house("operations", "show", operations[0]["id"]) == operations[0]
    assert house("operations", "stop", operations[0]["id"]) == operations[:1]
    (source,) = house("sources", "--probe")
    assert (source["accounts"], source["probe"]["reachable"]) == (2, True)
    assert house("config")["retention.data_days"] == 30
    assert house("config", "get", "sources") == {"sources": [house.spec]}
    assert house("notifications") == {}
    house("config", "set", "notify.command", "true")
    assert house("notifications", "test") == [{"way": "notify.command", "what": None}]
    assert house("purge", "--dry-run")["due"] == []
    assert house("purge")["errors"] == []
    assert house("erase", found["item"], "--yes")["item"] == found["item"]
    house("config", "set", "past_imap.directory", house.root / "past")
    house("config", "set", "past_imap.user", pwd.getpwuid(os.geteuid()).pw_name)
    house("config", "set", "past_imap.live", "imap:127.0.0.1")
    past = house("past-imap", "--dovecot", "2.3", "--separator", "/")
    assert (past["dovecot"], Path(past["server_file"]).is_file()) == ("2.3", True)
    elsewhere = {"export", "import", "watch", "schema"}
    assert set(VERBS) - house.seen.keys() == elsewhere, "each is tried, here or below"


def test_exports_and_imports_print_what_their_schemas_say(house: House) -> None:
    whole, state = house.root / "whole", house.root / "state"
    done = house("export", "--history", whole)
    assert (done["contents"], done["missing"]) == (3, [])
    assert house("export", "--account", ALICE, state)["transactions"] is None
    imported = house("import", state, "--target", f"maildir:{house.root}/new")
    (row,) = imported["accounts"]
    assert row["to"] == {"account": ALICE, "where": f"{house.root}/new", "folder": None}
    assert row["counts"] == {"restored": 2, "skipped": 0, "erased": 0}
    old, house.path = house.path, house.root / "again"
    house("init", "--source", house.spec)
    assert house("import", whole)["contents"] == 3
    house.path = old
    house("init", "--take-over")


def test_owners_of_a_name_and_what_is_due_are_told(house: House) -> None:
    house.bob.root.rename(house.root / "away")
    house("scan")
    (gone,) = [row for row in house("accounts") if row["deleted"]]
    house("config", "set", "retention.accounts_days", "1")
    assert gone["owners"][0]["item"] == gone["item"]
    house("accounts", "acknowledge", gone["item"], status=2)
    assert house("purge", "--dry-run")["accounts"] == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("status", "-b", "/nowhere"), 3),
        (("scan", "--wat"), 2),
        (("show", "--at", "never", "k3f9q2"), 2),
        (("search", "-b", "/nowhere", "x"), 3),
        (("hold", "dance"), 2),
        (("config", "get", "-b", "/nowhere", "sources"), 3),
        (("watch", "-b", "/nowhere"), 3),
        (("schema", "guess"), 2),
        (("guess",), 2),
        ((), 2),
    ],
)
def test_an_error_has_a_document_and_a_line(
    quick: Quick, words: tuple[str, ...], status: int
) -> None:
    ran: Fate = quick(*words, "--json", status=status)
    found = document(words, ran.out)
    assert ran.err == f"engine: {found['error']['what']}\n"
    assert found["error"]["status"] == status
    assert ran.out.count("\n") == 1
    assert quick(*words, status=status).out == ""


def test_an_error_after_the_document_has_none_of_its_own(house: House) -> None:
    house.bob.root.parent.rename(house.root / "away")
    other = Maildir(house.root / "here")
    other.deliver(letter(4))
    specs = [house.spec, f"maildir:{other.root}?account=carol@example.com"]
    house("config", "set", "sources", json.dumps(specs))
    scan = house("scan", status=4)
    assert (scan["created"] > 0, scan["view"]) == (True, None)


def test_the_validator_sees_what_is_wrong() -> None:
    rules = of("hold")
    held: dict[str, object] = {"account": ALICE, "item": "k3f9q2", "reason": None, "deleted": None}
    held["since"] = "2024-05-01T00:00:00.000000Z"
    assert not faults([held], rules)
    for change in ({"since": "today"}, {"item": 5}, {"reason": True}, {"more": 1}, {"deleted": ""}):
        assert faults([held | change], rules), change
    assert faults([{name: held[name] for name in held if name != "item"}], rules)
    assert faults(held, rules)
    assert faults({"error": {"what": "x", "status": True}}, rules)
