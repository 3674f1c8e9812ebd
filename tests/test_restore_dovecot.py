"""What a real Dovecot makes of what was restored, beside it and through it."""

from __future__ import annotations

import imaplib
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import mktime

import pytest

from tests import dovecot as servers
from tests.dovecot import Dovecot, dovecot
from tests.faults import Server
from tests.mail import letters
from tests.programs import needs

FOLDERS = ["INBOX", "Work", "Work/Apollo", "Entw&APw-rfe"]
Mailbox = dict[str, Counter[tuple[bytes, bytes, frozenset[bytes]]]]


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as running:
        yield running


def fill(server: Dovecot, account: str, number: int = 40) -> None:
    """A mailbox with flags, keywords and dates, made by a client."""
    with server.client(account) as client:
        for folder in FOLDERS[1:]:
            client.create(f'"{folder}"')
            client.subscribe(f'"{folder}"')
        for index, one in enumerate(letters(7, number)):
            flags = " ".join([["\\Seen"], [], ["\\Flagged", "todo"], ["$Junk"]][index % 4])
            when = f'"{index % 28 + 1:02}-Mar-2024 10:{index % 60:02}:00 +0100"'
            folder = FOLDERS[index % len(FOLDERS)]
            said, _ = client.append(f'"{folder}"', f"({flags})", when, one.raw)
            assert said == "OK"


def seen(server: Dovecot, account: str) -> Mailbox:
    """All that a client sees: content, INTERNALDATE and flags by folder."""
    found: Mailbox = {}
    with server.client(account) as client:
        _, rows = client.list()
        for row in rows:
            assert isinstance(row, bytes)
            match = re.fullmatch(rb'\((.*?)\) "/" "?([^"]*)"?', row)
            assert match
            name = match[2].decode()
            if b"\\Noselect" in match[1] or name.startswith("Public"):
                continue
            (count,) = client.select(f'"{name}"', readonly=True)[1]
            parts: list[object] = []
            if count != b"0":
                parts = [*client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]]
            found[name] = Counter(
                (part[1], *described(part[0])) for part in parts if isinstance(part, tuple)
            )
    return found


def described(head: bytes) -> tuple[bytes, frozenset[bytes]]:
    date = re.search(rb'INTERNALDATE "([^"]*)"', head)
    flags = re.search(rb"FLAGS \(([^)]*)\)", head)
    assert date
    assert flags
    return date[1], frozenset(flags[1].split()) - {b"\\Recent"}


def subscribed(server: Dovecot, account: str) -> set[bytes]:
    with server.client(account) as client:
        return {row for row in client.lsub()[1] if isinstance(row, bytes)}


def initialised(root: Path, quick: Server, source: str) -> tuple[Path, str]:
    """A backup of the source, and the end of its first scan."""
    backup = root / "backup"
    quick("init", "-b", backup, "--source", source)
    return backup, quick("scan", "-b", backup, "--json").json["end"]


def test_dovecot_sees_a_restored_maildir_as_it_was(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    fill(server, "alice")
    with server.client("bob") as client:  # has letters of its own
        client.append(
            "INBOX", "(own todo)", '"01-Jan-2024 00:00:00 +0000"', b"Subject: own\r\n\r\n"
        )
    before, own = seen(server, "alice"), seen(server, "bob")
    backup, instant = initialised(tmp_path, quick, f"maildir:{server.mail}/{{user}}/Maildir")
    with server.client("bob") as client:  # has it open meanwhile
        client.select("INBOX")
        quick("restore", "-b", backup, "alice", "--at", instant, "--account", "bob")
        client.noop()
    after = seen(server, "bob")
    assert after == {name: before[name] + own.get(name, Counter()) for name in before}
    assert subscribed(server, "bob") >= subscribed(server, "alice")
    with server.client("bob") as client:  # in order of their dates
        client.select("Work", readonly=True)
        rows = [row for row in client.fetch("1:*", "(INTERNALDATE)")[1] if isinstance(row, bytes)]
        dates = [mktime(found) for row in rows if (found := imaplib.Internaldate2tuple(row))]
    assert len(dates) > 5
    assert dates == sorted(dates)
    assert "Error" not in (server.root / "log").read_text()


def test_what_a_client_expunged_is_undeleted_beside_it(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    fill(server, "carol")
    before = seen(server, "carol")
    source = f"maildir:{server.maildir('carol')}?account=carol"
    backup, instant = initialised(tmp_path, quick, source)
    with server.client("carol") as client:
        client.select("Work")
        client.store("1:3", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.delete("Work/Apollo")
        quick("undelete", "-b", backup, "carol", "--since", instant, "--to-original")
        client.noop()
    assert seen(server, "carol") == before
    with server.client("carol") as client:
        client.select("Work")
        client.store("1:*", "+FLAGS", "(another)")
    quick("undelete", "-b", backup, "carol", "--since", instant)
    names = seen(server, "carol").keys() - before.keys()
    assert names == set()
    assert "Error" not in (server.root / "log").read_text()


PLUGINS = """
mail_plugins = zlib mail_crypt quota
plugin {{{{
  zlib_save = zstd
  mail_crypt_global_private_key = <{keys}/private.pem
  mail_crypt_global_public_key = <{keys}/public.pem
  mail_crypt_save_version = {version}
  quota = maildir:User quota
  quota_rule = *:storage=100M
}}}}
"""


@contextmanager
def keys() -> Iterator[Path]:
    """A pair of keys, for a block, where the server's user may look."""
    needs("openssl")
    with tempfile.TemporaryDirectory(prefix="dk") as directory:
        os.chmod(directory, 0o755)
        for words in (
            "ecparam -name prime256v1 -genkey -noout -out key.pem",
            "pkey -in key.pem -out private.pem",
            "pkey -in key.pem -pubout -out public.pem",
        ):
            command = ["openssl", *words.split()]
            subprocess.run(command, cwd=directory, check=True, capture_output=True)
        os.chmod(Path(directory, "private.pem"), 0o644)
        yield Path(directory)


@pytest.mark.parametrize("version", [0, 2])
def test_a_server_that_compresses_or_encrypts_reads_and_counts_what_is_restored(
    version: int, tmp_path: Path, quick: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keys() as directory:
        text = servers.CONFIGURATION + PLUGINS.format(keys=directory, version=version)
        monkeypatch.setattr(servers, "CONFIGURATION", text)
        reads_and_counts(version, tmp_path, quick)


def reads_and_counts(version: int, tmp_path: Path, quick: Server) -> None:
    with dovecot() as server:
        fill(server, "alice", 12)
        before = seen(server, "alice")
        home = server.maildir("alice")
        kept = [path.read_bytes() for path in home.rglob("cur/*")]
        assert all(each.startswith(b"CRYPTED" if version else b"\x28\xb5\x2f\xfd") for each in kept)
        backup, instant = initialised(tmp_path, quick, f"maildir:{server.mail}/{{user}}/Maildir")
        with server.client("alice") as client:
            client.select("Work")
            client.store("1:3", "+FLAGS", "(\\Deleted)")
            client.expunge()
        (done,) = quick(
            "undelete", "-b", backup, "alice", "--since", instant, "--to-original", "--json"
        ).json["accounts"]  # fmt: skip
        assert (len(done["restored"]), done["failed"], done["stored_forms"]) == (3, [], {})
        assert seen(server, "alice") == before
        counts = [line.split() for line in (home / "maildirsize").read_text().splitlines()[1:]]
        sizes = [
            int(found[1])
            for path in home.rglob("cur/*")
            for found in [SIZE.search(path.name)]
            if found
        ]
        assert sum(int(size) for size, _ in counts) == sum(sizes)
        assert sum(int(count) for _, count in counts) == len(sizes) == 12
        words = ("restore", "-b", backup, "alice", "--at", instant, "--account", "bob", "--json")
        with server.client("bob"):
            pass
        (done,) = quick(*words, status=1 if version else 0).json["accounts"]
        assert done["stored_forms"] == {"encrypted" if version else "zstd": 12}
        assert len(done["failed"]) == (1 if version else 0)
        assert seen(server, "bob") == before  # it has the keys
        target = server.spec(["carol"])
        elsewhere = (*words[:6], "--account", "carol", "--target", target, "--json")
        for more in ("--dry-run", "--json"):
            (done,) = quick(*elsewhere, more, status=1).json["accounts"]
            assert (len(done["restored"]), len(done["failed"])) == (0, 12)
        assert "Error" not in (server.root / "log").read_text()


SIZE = re.compile(r",S=(\d+)")


def test_contents_that_were_put_back_are_the_same_messages_as_before(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    """With their UIDs; and what was damaged is in no folder."""
    fill(server, "frank")
    before, uids = seen(server, "frank"), numbered(server, "frank")
    source = f"maildir:{server.maildir('frank')}?account=frank"
    backup, _ = initialised(tmp_path, quick, source)
    files = sorted(path for path in server.maildir("frank").rglob("*,S=*"))
    assert len(files) == 40
    for path in files[1:]:
        path.write_bytes(b"?" * path.stat().st_size)
    files[0].unlink()
    restored = quick("restore", "-b", backup, "frank", "--contents").out
    assert "40 restored, 0 skipped, 0 failed; 39 of them damaged" in restored
    assert seen(server, "frank") == before
    assert numbered(server, "frank") == uids


def numbered(server: Dovecot, account: str) -> dict[str, list[object]]:
    """The UIDs of each folder's messages."""
    found = {}
    with server.client(account) as client:
        for folder in FOLDERS:
            client.select(f'"{folder}"', readonly=True)
            found[folder] = list(client.uid("SEARCH", "ALL")[1])
    return found
