"""The IMAP source with servers that refuse, hang up, send rubbish or know little.

Whatever they do, an account's mail must never seem deleted, and one bad message must not keep the
others from being read.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from engine.connectors.imap import mailbox as imap_mailbox
from engine.connectors.imap.mailbox import ImapMailbox
from engine.connectors.source import Mailbox, Source
from engine.connectors.sources import open_source
from engine.domain.errors import (
    EngineError,
    ItemUnreadable,
    ItemVanished,
    SourceEmpty,
    SourceUnavailable,
    UsageError,
)
from engine.domain.identity import guid
from engine.domain.paths import INBOX
from engine.scan.fetching import SMALL, take, take_ahead
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.imap_script import HANG_UP, SILENCE, Message, Script, serving

ALICE = "alice@example.com"


def letter(number: int, size: int = 0) -> bytes:
    head = f"Subject: {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\n"
    return head.encode() + b"x" * size


def three() -> list[Message]:
    return [Message(uid, letter(uid)) for uid in (1, 2, 3)]


class Opener:
    """Opens the mailbox of a script."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack

    def source(self, script: Script, **settings: object) -> Source:
        if not script.port:
            self._stack.enter_context(serving(script))
        password = self._path / "password"
        password.write_text("hidden\n")
        given = {"method": "each", "login": ALICE, "password_file": password} | settings
        query = "&".join(f"{key}={value}" for key, value in given.items())
        return open_source(f"imap:127.0.0.1:{script.port}?{query}", ManualClock(0))

    def __call__(self, script: Script, **settings: object) -> ImapMailbox:
        mailbox = self.source(script, **settings).mailbox(ALICE)
        assert isinstance(mailbox, ImapMailbox)
        return self._stack.enter_context(closing(mailbox))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(tmp_path, stack)


def uids(mailbox: Mailbox) -> list[str]:
    return sorted(item.locator for item in mailbox.listing(INBOX).items)


# Servers that know little


def test_a_server_that_knows_nothing_is_read_all_the_same(opened: Opener) -> None:
    script = Script(messages=three())
    mailbox = opened(script)
    assert [folder.path for folder in mailbox.folders().folders] == [INBOX]
    listing = mailbox.listing(INBOX)
    assert len({guid(item.identity) for item in listing.items}) == 3
    assert mailbox.cursor(INBOX) is None
    taken = list(take_ahead(mailbox, listing.items, Stop()))
    assert [message.content for message in taken] == [letter(1), letter(2), letter(3)]


def test_only_headers_that_arent_known_are_asked_for(opened: Opener) -> None:
    script = Script(messages=[Message(uid, letter(uid)) for uid in range(1, 600)], next=600)
    cursor = opened(script).listing(INBOX).cursor
    script.messages[0].flags = b"\\Seen"
    del script.messages[199]
    script.messages.append(Message(600, letter(600)))
    script.next = 601
    script.commands.clear()
    found = opened(script).changes(INBOX, cursor)
    assert found is not None
    asked = [command for command in script.commands if b"HEADER" in command]
    assert asked == [
        b"UID FETCH 1:199,201:255,512:600 (UID RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER])"
    ]
    assert {item.locator for item in found.items} >= {"UID 1", "UID 600"}
    assert found.gone
    assert found.gone(b"whatever/7.200")
    assert not found.gone(b"whatever/7.201")
    assert not found.gone(b"whatever/8.200"), "that is another life of the folder"


def test_a_password_with_anything_in_it_arrives(opened: Opener, tmp_path: Path) -> None:
    script = Script(messages=three())
    (tmp_path / "odd").write_text('pä"ss\\ {3}\n')
    mailbox = opened(script, password_file=tmp_path / "odd")
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"]
    login = next(command for command in script.commands if command.startswith(b"LOGIN"))
    assert login == b"LOGIN " + b'"alice@example.com" ' + 'pä"ss\\ {3}'.encode()


# Refusals


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (b"%T NO [AUTHENTICATIONFAILED] no hidden here\r\n", "no *** here"),
        (b"%T NO [UNAVAILABLE] busy\r\n", "lower imap.connections"),
        (b"%T NO [LIMIT] too many\r\n", "lower imap.connections"),
        (b"%T BAD what\r\n", "BAD what"),
        (b"* BYE go away\r\n" + HANG_UP, "go away"),
        (HANG_UP, "dropped"),
        (b"rubbish\r\n", "isn't IMAP"),
    ],
)
def test_a_login_that_fails_says_why_and_not_the_password(
    opened: Opener, answer: bytes, hint: str
) -> None:
    script = Script(answers={b"LOGIN": [answer] * 9})
    with pytest.raises(SourceUnavailable) as caught:
        opened(script).folders()
    assert hint in str(caught.value)
    assert ALICE in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "greeting", [b"* BYE overloaded\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"", b"\xff" * 20]
)
def test_a_server_that_doesnt_greet(opened: Opener, greeting: bytes) -> None:
    with pytest.raises(SourceUnavailable, match=r"^imap:127.0.0.1:\d+: "):
        opened(Script(greeting=greeting), timeout=1).folders()


@pytest.mark.parametrize(
    "answer",
    [
        b"%T NO [UNAVAILABLE] later\r\n",
        b"%T OK nothing here\r\n",
        b'* LIST (\\Noselect) "/" INBOX\r\n%T OK\r\n',
        b"* LIST rubbish\r\n%T OK\r\n",
        b"* LIST (() x\r\n%T OK\r\n",
        b"* BYE shutting down\r\n" + HANG_UP,
    ],
)
def test_folders_that_arent_listed_arent_gone(opened: Opener, answer: bytes) -> None:
    script = Script(messages=three(), answers={b"LIST": [answer] * 9})
    with pytest.raises(SourceUnavailable):
        opened(script).folders()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"EXAMINE", b"%T NO [SERVERBUG] broken\r\n"),
        (b"EXAMINE", b"%T NO [INUSE] busy\r\n"),
        (b"UID FETCH", b"%T NO broken\r\n"),
        (b"UID FETCH", b"%T OK nothing\r\n"),
        (b"UID FETCH", b"* 1 FETCH (UID one FLAGS ())\r\n%T OK\r\n"),
        (b"UID FETCH", b"* 1 FETCH (UID 1 FLAGS ()\r\n%T OK\r\n"),
        (b"UID FETCH", b"\0\0\0\r\n" + HANG_UP),
        (b"UID SEARCH", b"* SEARCH 1 2 x\r\n* ESEARCH UID ALL 1:*\r\n%T OK\r\n"),
        (b"UID FETCH", b"* BYE enough\r\n" + HANG_UP),
        (b"UID FETCH", b"* 1 FETCH (UID 1" + HANG_UP),
    ],
)
def test_a_folder_that_cant_be_listed_isnt_empty(
    opened: Opener, command: bytes, answer: bytes
) -> None:
    script = Script(messages=three(), answers={command: [answer] * 99})
    if command == b"UID SEARCH":
        script.answers[b"UID FETCH"] = [b"%T OK nothing\r\n"] * 99
    mailbox = opened(script)
    with pytest.raises(ItemUnreadable, match="INBOX"):
        mailbox.listing(INBOX)
    script.answers.clear()
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"], "the next time it can"


def test_a_folder_that_is_gone_is_gone(opened: Opener) -> None:
    script = Script(answers={b"EXAMINE": [b"%T NO [NONEXISTENT] where?\r\n"]})
    with pytest.raises(ItemVanished):
        opened(script).listing(INBOX)


def test_a_dropped_connection_is_made_again(opened: Opener) -> None:
    script = Script(messages=three(), answers={b"UID FETCH": [HANG_UP], b"EXAMINE": [HANG_UP]})
    assert uids(opened(script)) == ["UID 1", "UID 2", "UID 3"]
    assert script.connections == 3


def test_a_server_that_falls_silent_is_given_up(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_mailbox, "ATTEMPTS", 1)
    script = Script(messages=three(), answers={b"EXAMINE": [SILENCE]})
    with pytest.raises(ItemUnreadable, match="no answer within 1 second"):
        opened(script, timeout=1).listing(INBOX)


def test_filters_that_cant_be_read_are_an_error_and_not_gone(opened: Opener) -> None:
    script = Script(messages=three())
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    mailbox = opened(script, sieve_port=port)
    found = mailbox.folders()
    assert found.complete
    assert [error.where for error in found.errors] == ["Sieve"]
    with pytest.raises(ItemUnreadable, match="sieve:"):
        mailbox.metadata()
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"]


# Contents


def rest(uid: int, announced: int, sent: int) -> bytes:
    return b"* 1 FETCH (UID %d BODY[] {%d}\r\n%s" % (uid, announced, b"y" * sent) + HANG_UP


def test_a_message_that_ends_the_connection_is_the_only_one_missing(opened: Opener) -> None:
    script = Script(messages=[Message(uid, letter(uid)) for uid in range(1, 81)])
    mailbox = opened(script)
    items = sorted(mailbox.listing(INBOX).items, key=lambda item: item.identity)
    # It comes first in every answer, so that nothing else of a batch does.
    bad = next(item for item in items if item.locator == "UID 1")
    assert items.index(bad) > 10
    uid = 1

    original = script.rows

    def rows(command: bytes) -> Iterator[bytes]:
        for row in original(command):
            if b"BODY[] " in row and b"UID %d " % uid in row:
                yield rest(uid, 500, 100)
                return
            yield row

    script.rows = rows  # type: ignore[method-assign]
    taken = {}
    for item in items:
        taken[item.locator] = take(mailbox, item, SMALL)
    failed = [message for message in taken.values() if message.error]
    assert [message.source for message in failed] == [bad]
    assert "in the middle of a message" in str(failed[0].error)
    good = [message for message in taken.values() if not message.error]
    assert all(m.content == letter(int(m.source.locator[4:])) for m in good)
    assert script.connections <= 5, "those around it are read one by one from then on"


def test_a_long_message_is_tried_again_from_its_beginning(opened: Opener) -> None:
    long = letter(1, 3 << 20)
    script = Script(messages=[Message(1, long)])
    mailbox = opened(script)
    (item,) = mailbox.listing(INBOX).items
    script.answers = {
        b"UID FETCH 1 (UID RFC822.SIZE BODY": [rest(1, len(long), 2 << 20), rest(1, len(long), 10)]
    }
    with mailbox.fetch(item) as fetched:
        assert fetched.file.read() == long
    script.answers = {b"UID FETCH 1 (UID RFC822.SIZE BODY": [rest(1, len(long), 2 << 20)] * 3}
    with mailbox.fetch(item) as fetched, pytest.raises(ItemUnreadable, match="UID 1: "):
        fetched.file.read()


@pytest.mark.parametrize(
    "answer",
    [
        b'* 1 FETCH (UID 1 RFC822.SIZE 50 BODY[] "")\r\n%T OK\r\n',
        b"* 1 FETCH (UID 1 RFC822.SIZE 50 BODY[] NIL)\r\n%T NO can't read it\r\n",
        b"%T NO [SERVERBUG] Internal error\r\n",
    ],
)
def test_a_message_that_the_server_cant_read_is_unreadable(opened: Opener, answer: bytes) -> None:
    script = Script(messages=[Message(1, letter(1)), Message(2, letter(2))])
    mailbox = opened(script)
    one, two = sorted(mailbox.listing(INBOX).items, key=lambda item: item.locator)
    body = answer.replace(b" RFC822.SIZE 50", b"")
    script.answers = {
        b"UID FETCH 1 (UID BODY": [body] * 9,
        b"UID FETCH 1:2 (UID BODY": [body] * 9,
        b"UID FETCH 1 (UID RFC822.SIZE BODY": [answer] * 9,
    }
    with pytest.raises(ItemUnreadable, match="UID 1"), mailbox.fetch(one) as fetched:
        fetched.file.read()
    with mailbox.fetch(two) as fetched:
        assert fetched.file.read() == letter(2)


def test_a_folder_opened_a_while_ago_is_opened_again_for_a_new_message(opened: Opener) -> None:
    script = Script(messages=three())
    mailbox = opened(script)
    items = mailbox.listing(INBOX).items
    script.commands.clear()
    script.answers = {b"UID FETCH 3 (UID RFC822.SIZE INTERNALDATE)": [b"%T OK not yet\r\n"]}
    item = next(item for item in items if item.locator == "UID 3")
    with mailbox.fetch(item) as fetched:
        assert fetched.file.read() == letter(3)
    assert [command for command in script.commands if b"EXAMINE" in command] == [b"EXAMINE INBOX"]


def test_what_is_read_after_the_mailbox_was_closed_leaves_no_connection(opened: Opener) -> None:
    script = Script(messages=[Message(1, letter(1, 1 << 20))])
    mailbox = opened(script)
    with mailbox.fetch(mailbox.listing(INBOX).items[0]) as fetched:
        mailbox.close()
        assert fetched.file.read() == letter(1, 1 << 20)
    assert script.connections == 2
    assert mailbox._pool._open == 0


def test_threads_share_one_connection_without_waiting_for_each_other_forever(
    opened: Opener,
) -> None:
    script = Script(messages=[Message(uid, letter(uid)) for uid in range(1, 40)])
    mailbox = opened(script, connections=1)
    items = mailbox.listing(INBOX).items

    def work(number: int) -> None:
        for item in items[number::4]:
            mailbox.listing(INBOX)
            mailbox.cursor(INBOX)
            mailbox.fetch(item).close()

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(work, number) for number in range(4)]
        for future in waiting:
            future.result(60)
    assert script.connections == 1


def test_sizes_that_are_wrong_do_no_harm(opened: Opener) -> None:
    script = Script(messages=three())
    mailbox = opened(script)
    items = mailbox.listing(INBOX).items
    size = b'* 1 FETCH (UID 1 RFC822.SIZE 5 INTERNALDATE "01-May-2024 12:00:00 +0200")\r\n%T OK\r\n'
    script.answers = {b"UID FETCH 1 (UID RFC822.SIZE INTERNALDATE)": [size]}
    item = next(item for item in items if item.locator == "UID 1")
    with mailbox.fetch(item) as fetched:
        assert (fetched.file.read(), fetched.size) == (letter(1), len(letter(1)))


def test_words_that_nobody_asked_for_are_passed_over(opened: Opener) -> None:
    script = Script(messages=three())
    mailbox = opened(script)
    extra = (
        b"* 3 RECENT\r\n* OK [ALERT] lunch\r\n* 2 FETCH (FLAGS (\\Seen))\r\n"
        b"* 9 FETCH (UID 9 MODSEQ (3))\r\n* X-NEW (a (b)) 7\r\n* NO so what\r\n+ go on\r\n"
    )
    rows = b"".join(script.rows(b"UID FETCH 1:9 FLAGS"))
    script.answers = {b"UID FETCH": [extra + rows + b"%T OK\r\n"]}
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"]


# Changes that don't add up


@pytest.mark.parametrize("capability", [b"IMAP4rev1 ENABLE CONDSTORE", b"IMAP4rev1 ENABLE QRESYNC"])
def test_numbers_that_dont_add_up_lead_to_a_listing(opened: Opener, capability: bytes) -> None:
    script = Script(capability=capability, messages=three())
    examined = b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] .\r\n* OK [UIDNEXT %d] .\r\n"
    examined += b"* OK [HIGHESTMODSEQ %d] .\r\n%%T OK\r\n"
    script.answers = {b"EXAMINE": [examined % (3, 7, 4, 50)]}
    mailbox = opened(script)
    cursor = mailbox.listing(INBOX).cursor
    nothing = [b"%T OK\r\n"]
    for counts, fetched in (
        ((4, 7, 5, 51), nothing),  # one more, and it isn't told which
        ((3, 8, 4, 51), nothing),  # another life
        ((3, 7, 3, 51), nothing),  # backwards
        ((3, 7, 4, 49), nothing),
    ):
        script.answers = {b"EXAMINE": [examined % counts], b"UID FETCH": list(fetched)}
        assert mailbox.changes(INBOX, cursor) is None
    script.answers = {b"EXAMINE": [examined % (2, 7, 4, 51)], b"UID FETCH": list(nothing)}
    del script.messages[1]
    found = mailbox.changes(INBOX, cursor)
    if b"QRESYNC" in capability:
        assert found is None, "one less, and it isn't told which"
    else:
        assert found is not None
        assert found.gone
        assert [uid for uid in (1, 2, 3) if found.gone(b"x/7.%d" % uid)] == [2]
    assert mailbox.changes(INBOX, b"of another source") is None


def test_what_is_said_of_the_folder_before_is_not_of_this_one(opened: Opener) -> None:
    script = Script(capability=b"IMAP4rev1 CONDSTORE", messages=three())
    counts = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 4] .\r\n* OK [NOMODSEQ] .\r\n"
    before = b"* 9 EXISTS\r\n* OK [HIGHESTMODSEQ 5] .\r\n* OK [CLOSED] .\r\n"
    script.answers = {b"EXAMINE INBOX (CONDSTORE)": [before + counts + b"%T OK\r\n"]}
    listing = opened(script).listing(INBOX)
    assert len(listing.items) == 3
    assert listing.cursor[0] == 2, "a folder that doesn't count its changes"


# What is given


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("imap:", "is not a source"),
        ("imap:host:99999", "is not a source"),
        ("imaps:host/path", "is not a source"),
        ("imaps:host?login", "KEY=VALUE"),
        ("imaps:host?colour=red", "no setting colour"),
        ("imaps:host?connections=0", "connections can't be 0"),
        ("imaps:host?password_file=/x", "login is missing"),
        ("imaps:host?login=a", "where is the password"),
        (
            "imaps:host",
            r"login is missing.*where is the password\?.*password_file.*which accounts\?",
        ),
        ("imaps:host?login=a&password_file=/x&password_variable=X", "give one of"),
        ("imaps:host?login=a&password_file=/x", "which accounts"),
        ("imaps:host?method=each&password_file=/x", "which accounts"),
        ("imaps:host?login=a&password_file=/x&accounts=a&accounts_file=/y", "give one of"),
        ("imaps:host?method=xoauth2&login=a", "token_command"),
        ("imaps:host?login=a&password_file=/x&accounts=a&ca_file=/nowhere", "ca_file"),
    ],
)
def test_what_cant_be_is_refused_at_once(location: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(location, ManualClock(0))


def test_accounts_come_from_settings_files_and_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMEFS_TEST_PASSWORD", "x")
    base = "imaps:host?login=backup&password_variable=TIMEFS_TEST_PASSWORD&accounts"
    file = tmp_path / "accounts"
    file.write_text("# ours\nbob@example.com\tbob\n\nalice@example.com # head\n")
    both = ("alice@example.com", "bob@example.com")
    for how in ("=bob@example.com,alice@example.com", f"_file={file}", f"_command=cat {file}"):
        assert open_source(base + how, ManualClock(0)).accounts().names == both
    file.write_text("# nobody\n")
    with pytest.raises(SourceEmpty, match="names no account"):
        open_source(f"{base}_file={file}", ManualClock(0)).accounts()
    for how, message in (
        (f"_file={tmp_path}/nowhere", "No such file"),
        ("_command=/nowhere/cat", "No such file"),
        ("_command=false", "ended with status 1"),
        ("_command='", "is no command"),
    ):
        with pytest.raises(SourceUnavailable, match=message) as caught:
            open_source(base + how, ManualClock(0)).accounts()
        assert not isinstance(caught.value, SourceEmpty)
    for text, message in (("a b c\n", "is not an account"), ("a b\na c\n", "two logins")):
        file.write_text(text)
        with pytest.raises(SourceUnavailable, match=message):
            open_source(f"{base}_file={file}", ManualClock(0)).accounts()
    with pytest.raises(SourceUnavailable, match="no account"):
        open_source(f"{base}=a", ManualClock(0)).mailbox("b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"password_file": "/nowhere/password"}, "No such file"),
        ({"password_file": "", "password_variable": "TIMEFS_NOT_SET"}, "is not set"),
        ({"password_file": "", "password_command": "false"}, "ended with status 1"),
        ({"password_file": "/dev/null"}, "should be a password"),
        ({"password_file": "/x/{account}", "login": "../bob"}, "can't be part of a file's name"),
    ],
)
def test_a_password_that_cant_be_had(
    opened: Opener, settings: dict[str, str], message: str
) -> None:
    source = opened.source(Script(), **settings)
    name = settings.get("login", ALICE)
    with closing(source.mailbox(name)) as mailbox, pytest.raises(EngineError, match=message):
        mailbox.folders()


def test_a_token_is_sent_as_xoauth2(opened: Opener) -> None:
    script = Script(capability=b"IMAP4rev1 SASL-IR AUTH=XOAUTH2", messages=three())
    mailbox = opened(
        script, method="xoauth2", password_file="", token_command="echo token-of-{account}"
    )
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"]
    sent = next(c for c in script.commands if c.startswith(b"AUTHENTICATE XOAUTH2 "))
    expected = f"user={ALICE}\1auth=Bearer token-of-{ALICE}\1\1"
    assert base64.b64decode(sent.split()[2]).decode() == expected
