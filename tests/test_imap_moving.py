"""Folders that change while they are looked at: what is listed, and what is recorded of it, was
there together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from engine.connectors.imap.mailbox import ImapMailbox
from engine.connectors.source import Mailbox, SourceItem
from engine.connectors.sources import open_source
from engine.domain.errors import ItemVanished
from engine.domain.paths import INBOX
from engine.scan import recording
from engine.scan.fetching import Download, take_ahead
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.dovecot import dovecot
from tests.following import Post
from tests.imap_script import Message, Script, serving

ALICE = "alice@example.com"
LETTER = b"Subject: x\r\n\r\nhi\r\n"
DONE = b"%T OK done\r\n"


@pytest.fixture
def script() -> Iterator[Script]:
    with serving(Script(messages=[Message(1, LETTER)])) as served:
        yield served


def mailbox(script: Script, tmp_path: Path) -> ImapMailbox:
    password = tmp_path / "password"
    password.write_text("x\n")
    spec = f"imap:127.0.0.1:{script.port}?method=each&login={ALICE}&password_file={password}"
    opened = open_source(spec, ManualClock(0)).mailbox(ALICE)
    assert isinstance(opened, ImapMailbox)
    return opened


@pytest.mark.parametrize("told", [b"* 2 EXISTS\r\n", b"* 1 EXPUNGE\r\n", b"* VANISHED 9\r\n"])
def test_a_folder_that_changes_while_it_is_listed_is_listed_again(
    script: Script, tmp_path: Path, told: bytes
) -> None:
    stale = b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n" + told + DONE
    script.answers[b"UID FETCH"] = [stale]
    with closing(mailbox(script, tmp_path)) as opened:
        (item,) = opened.listing(INBOX).items
    assert item.flags == ()


def test_a_folder_that_never_stands_still_is_listed_all_the_same(
    script: Script, tmp_path: Path
) -> None:
    told = b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n* 2 EXISTS\r\n" + DONE
    header = b"* 1 FETCH (UID 1 BODY[HEADER] {4}\r\nx\r\n\r RFC822.SIZE 4)\r\n" + DONE
    script.answers[b"UID FETCH 1 (UID RFC822"] = [header] * 99
    script.answers[b"UID FETCH"] = [told] * 99
    with closing(mailbox(script, tmp_path)) as opened:
        (item,) = opened.listing(INBOX).items
    assert item.flags == ("\\Seen",)


def test_a_folder_that_is_listed_and_gone_is_only_the_parent_of_others() -> None:
    with dovecot() as server, server.client(ALICE) as client:
        for name in ("F", "F/G"):
            client.create(name)
            client.append(name, "", "", LETTER)
        with closing(open_source(server.spec([ALICE]), ManualClock(0)).mailbox(ALICE)) as opened:
            assert [folder.real for folder in opened.folders().folders] == [True] * 4
            client.delete("F")
            assert any(b"F" in row for row in client.list()[1] if isinstance(row, bytes))
            found = {folder.path: folder.real for folder in opened.folders().folders}
            assert found == {("F",): False, ("F", "G"): True, INBOX: True, ("Sent",): True}
            assert opened.listing(("F",)).items == []
            client.delete('"F/G"')
            with pytest.raises(ItemVanished):
                opened.listing(("F", "G"))


def test_the_inbox_is_never_said_to_be_gone(script: Script, tmp_path: Path) -> None:
    script.answers[b"STATUS"] = [b"%T NO [NONEXISTENT] no such folder\r\n"] * 2
    with closing(mailbox(script, tmp_path)) as opened:
        assert [folder.path for folder in opened.folders().folders] == [INBOX]


def test_what_is_gone_before_it_is_read_is_not_recorded_with_what_came_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Post(tmp_path)
    alice = post.maildir("alice")
    for name in ("one", "two"):
        alice.deliver(b"Subject: %s\n\n" % name.encode(), unique=name)
    went = [{"one", "two"}]

    def meanwhile(
        mailbox: Mailbox, sources: Sequence[SourceItem], stop: Stop
    ) -> Iterator[Download]:
        if len(went) == 1:
            alice.deliver(b"Subject: three\n\n", unique="three")
            went.append({"one", "two", "three"})
            alice.expunge("two")
            went.append({"one", "three"})
        return take_ahead(mailbox, sources, stop)

    monkeypatch.setattr(recording, "take_ahead", meanwhile)
    with closing(post):
        source = NamedSource(post.spec, open_source(post.spec, post.backup.clock))
        scan(post.backup, [source], ScanOptions(), Stop())
        assert [set(state["alice"]["INBOX"]) for state in post.states()] == went[-1:]


def test_a_mailbox_in_which_messages_are_never_there_is_scanned_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Post(tmp_path)
    alice = post.maildir("alice")
    alice.deliver(b"Subject: one\n\n", unique="one")
    numbers = iter(range(100))

    def meanwhile(
        mailbox: Mailbox, sources: Sequence[SourceItem], stop: Stop
    ) -> Iterator[Download]:
        for item in sources:
            if item.identity != b"one":
                alice.expunge(item.identity.decode())
        alice.deliver(b"Subject: more\n\n", unique=f"more-{next(numbers)}")
        return take_ahead(mailbox, sources, stop)

    monkeypatch.setattr(recording, "take_ahead", meanwhile)
    with closing(post):
        source = NamedSource(post.spec, open_source(post.spec, post.backup.clock))
        scan(post.backup, [source], ScanOptions(), Stop())
        assert "one" in post.recorded()["alice"]["INBOX"]
    assert next(numbers) <= 10
