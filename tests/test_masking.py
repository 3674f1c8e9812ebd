"""No form of a password that a server echoes is shown."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.imap.client.stream import Stream
from engine.domain.errors import EngineError, ItemUnreadable, ItemVanished, SourceUnavailable
from engine.domain.paths import INBOX
from engine.settings import secrets
from engine.system.masking import Mask
from engine.system.stop import Interrupt
from tests.imap_script import HANG_UP, Message, Script
from tests.test_imap_badly import ALICE, Opener, letter

SECRET = 'S3cr\\et "pä$s" %/+?\''


def encoded(*parts: str) -> str:
    return base64.b64encode("\0".join(parts).encode()).decode()


FORMS = {
    "itself": SECRET,
    "in capitals": SECRET.upper(),
    "quoted": SECRET.replace("\\", "\\\\").replace('"', '\\"'),
    "JSON": json.dumps(SECRET)[1:-1],
    "of Python": repr(SECRET)[1:-1],
    "bytes of Python": repr(SECRET.encode())[2:-1],
    "for URLs": quote(SECRET, safe=""),
    "for paths": quote(SECRET),
    "for forms": quote_plus(SECRET),
    "for forms in small letters": quote_plus(SECRET).lower(),
    "hex": SECRET.encode().hex(),
    "hex in capitals": SECRET.encode().hex().upper(),
    "base64": encoded(SECRET),
    "base64 for URLs": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "base64 without padding": encoded(SECRET).rstrip("="),
    **{
        f"PLAIN {number}": encoded(*words, SECRET)
        for number, words in enumerate(
            [("", "alice"), ("", ALICE), (ALICE, "backup"), ("al", "ice"), ("", "alice*backup")]
        )
    },
    "XOAUTH2": encoded(f"user=alice\1auth=Bearer {SECRET}\1\1"),
    "in the middle": encoded(f"alice {SECRET} bob"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_form_of_a_secret_is_hidden(form: str) -> None:
    assert Mask(SECRET)(f"no, {form}!") == "no, ***!"


@given(st.text(min_size=4), st.binary(max_size=9), st.binary(max_size=9))
def test_base64_of_anything_with_a_secret_is_hidden(
    secret: str, before: bytes, after: bytes
) -> None:
    try:
        raw = secret.encode()
    except UnicodeEncodeError:
        return
    text = base64.b64encode(before + raw + after).decode()
    assert Mask(secret)(f"<{text}>") in ("<***>", "***", "***>", "<***")


def test_what_holds_no_secret_is_as_it_was() -> None:
    said = "NO [AUTHENTICATIONFAILED] Invalid credentials (failure)"
    assert Mask(SECRET)(said) == Mask("")(said) == Mask("1234")(said) == said


@pytest.mark.parametrize("secret", ["x", "ab", "7?", "ä", "abc"])
def test_a_secret_of_few_letters_is_hidden_where_it_is_a_word(secret: str) -> None:
    mask = Mask(secret)
    for said in ("no, {}!", "password={}", "'{}'", "{}", "({}) [{}]"):
        assert mask(said.format(secret, secret)) == said.format("***", "***")
        assert mask(said.format(secret.upper(), secret.upper())) == said.format("***", "***")
    assert mask(f"it was {encoded(secret)}") == "it was ***"
    assert mask(f"or {secret.encode().hex()}") == "or ***"
    for said in ("[NONEXISTENT] the abbots of Abcoude fixed it", "77?s", "17?", "Bär"):
        assert mask(said) == said


# What servers echo

ECHOES = {
    "NO": b"%%T NO [AUTHENTICATIONFAILED] what is %s?\r\n",
    "BAD": b"%%T BAD what is %s?\r\n",
    "cut off": b"%%T NO " + b"x" * 290 + b" %s\r\n",
    "in brackets": b"%%T NO [%s] what?\r\n",
    "BYE": b"* BYE what is %s?\r\n" + HANG_UP,
    "a folder": b"* LIST (what is %s?\r\n%%T NO no\r\n",
    "nonsense": b"(what is %s?)\r\n%%T NO no\r\n",
    "nonsense, cut off": b"(" + b"x" * 50 + b" %s)\r\n%%T NO no\r\n",
}


@pytest.mark.parametrize("command", [b"LOGIN", b"AUTHENTICATE", b"LIST", b"EXAMINE", b"UID FETCH"])
@pytest.mark.parametrize("echo", ECHOES)
def test_what_a_server_echoes_is_not_shown(tmp_path: Path, command: bytes, echo: str) -> None:
    for form in ("hiddenword", encoded("hiddenword"), encoded("", ALICE, "hiddenword")):
        answer = ECHOES[echo] % form.encode()
        answers = {command: [answer] * 30}
        capability = b"IMAP4rev1 AUTH=PLAIN SASL-IR LOGINDISABLED"
        script = Script(messages=[Message(1, letter(1))], answers=answers)
        if command == b"AUTHENTICATE":
            script.capability = capability
        with ExitStack() as stack:
            opener = Opener(tmp_path, stack)
            (tmp_path / "echoed").write_text("hiddenword\n")
            mailbox = opener(script, password_file=tmp_path / "echoed", timeout=1)
            told = []
            for look in (mailbox.folders, partial(mailbox.listing, INBOX)):
                try:
                    told += [str(error) for error in look().errors]
                except EngineError as error:
                    told.append(str(error))
        text = " ".join(told)
        assert text
        for size in range(6, len(form) + 1):
            assert form[:size].casefold() not in text.casefold()


def test_what_is_listed_is_shown_without_the_password(tmp_path: Path) -> None:
    listed = b'* LIST (what is hiddenword?\r\n* LIST () "/" INBOX\r\n%T OK yes\r\n'
    (tmp_path / "given").write_text("hiddenword\n")
    with ExitStack() as stack:
        script = Script(answers={b"LIST": [listed]})
        mailbox = Opener(tmp_path, stack)(script, password_file=tmp_path / "given")
        (error,) = mailbox.folders().errors
    assert error.what.endswith("(what is ***?")


@pytest.mark.parametrize("secret", ["x", "nonexistent", "mailbox", "exist"])
def test_what_is_said_means_the_same_whatever_the_password_is(tmp_path: Path, secret: str) -> None:
    """And is shown as far as it isn't that."""
    answers = [b"%T NO [NONEXISTENT] no mailbox\r\n", b"%T NO Mailbox doesn't exist: x\r\n"]
    (tmp_path / "given").write_text(f"{secret}\n")
    for answer in answers:
        script = Script(messages=[Message(1, letter(1))], answers={b"EXAMINE": [answer]})
        with ExitStack() as stack:
            mailbox = Opener(tmp_path, stack)(script, password_file=tmp_path / "given")
            mailbox.folders()
            with pytest.raises(ItemVanished):
                mailbox.listing(INBOX)
    script = Script(answers={b"EXAMINE": [b"%T NO [XLIMIT] x no box, nonexistent\r\n"]})
    with ExitStack() as stack:
        mailbox = Opener(tmp_path, stack)(script, password_file=tmp_path / "given")
        mailbox.folders()
        with pytest.raises(ItemUnreadable, match=r"NO \[XLIMIT\] (x|\*\*\*) no box"):
            mailbox.listing(INBOX)


def test_what_a_command_complains_of_is_shown_without_the_password(tmp_path: Path) -> None:
    ways = secrets.Secret("", "", "sh -c 'echo hiddenword; echo no hiddenword >&2; exit 1'")
    with pytest.raises(SourceUnavailable, match=r"status 1: no \*\*\*$"):
        ways.read(ALICE, ALICE, Interrupt())
    with ExitStack() as stack:
        command = tmp_path / "accounts"
        command.write_text("#!/bin/sh\necho no hidden >&2\nexit 1\n")
        command.chmod(0o755)
        source = Opener(tmp_path, stack).source(Script(), accounts_command=command)
        with pytest.raises(SourceUnavailable, match=r"status 1: no \*\*\*$"):
            source.accounts()


# How one logs in


@pytest.mark.parametrize(
    "answer", [b"%T NO no\r\n", b"%T BAD what?\r\n", HANG_UP, b"%T NO no\r\n* BYE\r\n" + HANG_UP]
)
def test_login_is_tried_where_plain_fails_and_remembered(tmp_path: Path, answer: bytes) -> None:
    script = Script(capability=b"IMAP4rev1 AUTH=PLAIN", answers={b"AUTHENTICATE": [answer] * 9})
    with ExitStack() as stack:
        source = Opener(tmp_path, stack).source(script)
        for _ in range(2):
            with closing(source.mailbox(ALICE)) as mailbox:
                assert mailbox.folders().folders
    asked = [command.split()[0] for command in script.commands]
    assert (asked.count(b"AUTHENTICATE"), asked.count(b"LOGIN")) == (1, 2)


@pytest.mark.parametrize("answer", [b"%T NO no\r\n", HANG_UP])
def test_login_is_tried_once(tmp_path: Path, answer: bytes) -> None:
    answers = {b"AUTHENTICATE": [answer] * 9, b"LOGIN": [answer] * 9}
    script = Script(capability=b"IMAP4rev1 AUTH=PLAIN", answers=answers)
    with ExitStack() as stack, pytest.raises(SourceUnavailable, match="can't log in"):
        Opener(tmp_path, stack)(script).folders()
    asked = [command.split()[0] for command in script.commands]
    assert (asked.count(b"AUTHENTICATE"), asked.count(b"LOGIN")) == (1, 1)


def test_login_is_not_tried_where_it_is_disabled_or_would_not_help(tmp_path: Path) -> None:
    for capability, answer in (
        (b"IMAP4rev1 AUTH=PLAIN LOGINDISABLED", b"%T NO no\r\n"),
        (b"IMAP4rev1 AUTH=PLAIN LOGINDISABLED", HANG_UP),
        (b"IMAP4rev1 AUTH=PLAIN", b"%T NO [UNAVAILABLE] later\r\n"),
    ):
        script = Script(capability=capability, answers={b"AUTHENTICATE": [answer]})
        with ExitStack() as stack, pytest.raises(SourceUnavailable, match="can't log in"):
            Opener(tmp_path, stack)(script).folders()
        assert not any(command.startswith(b"LOGIN") for command in script.commands)


def test_servers_that_want_to_know_are_told_who_asks(tmp_path: Path) -> None:
    script = Script(capability=b"IMAP4rev1 ID", answers={b"ID": [b"%T NO never mind\r\n"]})
    with ExitStack() as stack:
        assert Opener(tmp_path, stack)(script).folders().folders
    verbs = [command.split()[0] for command in script.commands]
    assert verbs[:3] == [b"CAPABILITY", b"ID", b"LOGIN"]
    assert verbs.index(b"LIST") > verbs.index(b"ID", 3) > verbs.index(b"LOGIN")
    assert script.commands[1].startswith(b'ID ("name" "timefs" "version" "')


@pytest.mark.parametrize("pipelining", [False, True])
def test_a_server_that_takes_one_command_at_a_time_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelining: bool
) -> None:
    done: list[str] = []
    send, line = Stream.send, Stream.line

    def sent(self: Stream, data: bytes) -> None:
        done.append("send")
        send(self, data)

    def read(self: Stream, limit: int) -> bytes:
        done.append("read")
        return line(self, limit)

    monkeypatch.setattr(Stream, "send", sent)
    monkeypatch.setattr(Stream, "line", read)
    script = Script(capability=b"IMAP4rev1 ID NAMESPACE", messages=[Message(1, letter(1))])
    with ExitStack() as stack:
        mailbox = Opener(tmp_path, stack)(script, pipelining=str(pipelining).lower())
        assert len(mailbox.listing(INBOX).items) == 1
    assert any(pair == ("send", "send") for pair in pairwise(done)) == pipelining
