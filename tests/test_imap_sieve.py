"""Mail filters by ManageSieve, from a server that answers as it is told to."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from engine.connectors.imap.client.sieve import Scripts, read_scripts
from engine.connectors.imap.options import ImapOptions, options
from engine.connectors.sources import parse_source
from engine.domain.errors import ItemUnreadable

ALICE = "alice@example.com"
SCRIPT = 'require "fileinto";\r\n# OK\r\nfileinto "Liste\u0303";\r\n'


@contextmanager
def serving(answers: Sequence[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives the first answer by itself, and one for each command, and then hangs up:
    its port and what it was told."""
    told: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            with suppress(OSError):
                accepted, _ = listening.accept()
                with accepted, accepted.makefile("rb") as lines:
                    accepted.sendall(answers[0])
                    for answer in answers[1:]:
                        line = lines.readline().rstrip(b"\r\n")
                        if line.endswith(b"+}"):
                            line += b" " + lines.readline().rstrip(b"\r\n")
                        told.append(line)
                        accepted.sendall(answer)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield listening.getsockname()[1], told
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


GREETING = b'"IMPLEMENTATION" "test"\r\n"SIEVE" "fileinto"\r\n"SASL" "PLAIN"\r\nOK "ready"\r\n'


def literal(text: bytes) -> bytes:
    return b"{%d}\r\n%s\r\nOK\r\n" % (len(text), text)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("hidden\n")
    return path


def given(port: int, password: Path) -> ImapOptions:
    query = f"method=authzid&login=backup&accounts={ALICE}&password_file={password}"
    location = f"127.0.0.1:1?{query}&sieve_port={port}&timeout=5"
    return options(parse_source(f"imap:{location}"), 1 << 30)


def test_scripts_are_read_with_the_one_that_filters(password: Path) -> None:
    answers = [
        GREETING,
        b'OK "in"\r\n',
        b'"holi\\"day"\r\n"main" ACTIVE\r\n{5}\r\nthird\r\nOK (WARNINGS) "listed"\r\n',
        literal(b""),
        literal(SCRIPT.encode()),
        b'"keep;"\r\nOK\r\n',
        b"",
    ]
    with serving(answers) as (port, told):
        found = read_scripts(given(port, password), ALICE, ALICE)
    assert found == Scripts({'holi"day': "", "main": SCRIPT, "third": "keep;"}, "main")
    assert found.metadata() == {"sieve": {"active": "main", "scripts": found.texts}}
    login = base64.b64encode(f"{ALICE}\0backup\0hidden".encode()).decode()
    assert told == [
        f'AUTHENTICATE "PLAIN" "{login}"'.encode(),
        b"LISTSCRIPTS",
        b'GETSCRIPT {8+} holi"day',
        b"GETSCRIPT {4+} main",
        b"GETSCRIPT {5+} third",
        b"LOGOUT",
    ]
    assert Scripts({}, "").metadata() == {}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b'BYE "not now"\r\n'], "not now"),
        ([b'"SIEVE" "fileinto"\r\n'], "dropped"),
        ([GREETING, b'NO "hidden is wrong"\r\n'], r"\*\*\* is wrong"),
        ([GREETING, b'NO "b64 %s"\r\n' % base64.b64encode(b"x\0y\0hidden")], r"b64 \*\*\*"),
        ([GREETING, b"OK\r\n", b"\x00(\r\n"], "isn't ManageSieve"),
        ([GREETING, b"OK\r\n", b'"a"\r\n' * 2001], "more than 2000 lines"),
        ([GREETING, b"OK\r\n", b"a " * 200 + b"\r\n"], "isn't ManageSieve"),
        ([GREETING, b"OK\r\n", b'"' + b"x" * (5 << 20)], "without end"),
        ([GREETING, b"OK\r\n", b"{%s}\r\n" % (b"9" * 5000)], "isn't ManageSieve"),
        ([GREETING, b"OK\r\n", (b"{4000000}\r\n" + b"x" * 4_000_000 + b"\r\n") * 5], "than 16 MiB"),
        ([GREETING, b"OK\r\n", b'"a"\r\nOK\r\n', b"{99999999}\r\n"], "longer than 4 MiB"),
        ([GREETING, b"OK\r\n", b'"a"\r\nOK\r\n', b"{99}\r\nshort"], "dropped"),
        ([GREETING, b"OK\r\n", b'"a"\r\nOK\r\n', b"OK\r\n"], "gives no script"),
    ],
)
def test_scripts_that_cant_be_read(password: Path, answers: list[bytes], message: str) -> None:
    with serving(answers) as (port, _), pytest.raises(ItemUnreadable, match=message) as caught:
        read_scripts(given(port, password), ALICE, ALICE)
    assert f"sieve:127.0.0.1:{port}, {ALICE}: " in str(caught.value)
    assert "hidden" not in str(caught.value)
