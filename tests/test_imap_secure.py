"""The IMAP source and TLS: whom it trusts, and when it sends no password."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.connectors.imap import options as imap_options
from engine.connectors.sources import open_source
from engine.domain.errors import SourceUnavailable
from engine.domain.paths import INBOX
from engine.system.clock import ManualClock
from tests.dovecot import Dovecot, dovecot
from tests.imap_script import HANG_UP, Script, serving
from tests.programs import needs

ALICE = "alice@example.com"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority (`ca.pem`), and a certificate of its for this machine."""
    needs("openssl")
    path = tmp_path_factory.mktemp("keys")
    (path / "extensions").write_text("subjectAltName = DNS:localhost\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for command in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ours"],
        ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
        [
            *("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", "server.pem", "-extfile", "extensions"),
        ],
    ):
        subprocess.run(["openssl", *command], cwd=path, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def server(keys: Path) -> Iterator[Dovecot]:
    with dovecot(certificate=(keys / "server.pem", keys / "server.key")) as started:
        yield started


def spec(server: Dovecot, scheme: str, host: str, ca_file: Path | str) -> str:
    port = server.tls_port if scheme == "imaps" else server.port
    query = server.spec([ALICE], ca_file=ca_file).partition("?")[2]
    return f"{scheme}:{host}:{port}?{query}"


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    server: Dovecot, keys: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_options, "_is_loopback", lambda host: False)
    opened = open_source(spec(server, scheme, "localhost", keys / "ca.pem"), ManualClock(0))
    with closing(opened.mailbox(ALICE)) as mailbox:
        assert mailbox.folders().folders[0].path == INBOX
    opened = open_source(spec(server, scheme, "localhost", ""), ManualClock(0))
    with (
        closing(opened.mailbox(ALICE)) as mailbox,
        pytest.raises(SourceUnavailable, match=r"isn't trusted: .*imap\.ca_file"),
    ):
        mailbox.folders()


def test_a_certificate_for_another_name_is_not_trusted(server: Dovecot, keys: Path) -> None:
    opened = open_source(spec(server, "imaps", "127.0.0.1", keys / "ca.pem"), ManualClock(0))
    with (
        closing(opened.mailbox(ALICE)) as mailbox,
        pytest.raises(SourceUnavailable, match="isn't trusted"),
    ):
        mailbox.folders()


def test_no_password_goes_out_unencrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_options, "_is_loopback", lambda host: False)
    password = tmp_path / "password"
    password.write_text("hidden\n")
    given = f"method=each&login={ALICE}&password_file={password}"
    for answer, message in (
        (b"%T NO not here\r\n", "STARTTLS was refused"),
        (b"%T OK go\r\n* OK early bird\r\n", "somebody is on the line"),
        (b"%T OK go\r\n" + HANG_UP, "TLS failed"),
    ):
        with serving(Script(answers={b"STARTTLS": [answer]})) as script:
            opened = open_source(f"imap:127.0.0.1:{script.port}?{given}", ManualClock(0))
            with (
                closing(opened.mailbox(ALICE)) as mailbox,
                pytest.raises(SourceUnavailable, match=message),
            ):
                mailbox.folders()
            assert script.commands[0] == b"STARTTLS"
            assert not any(b"hidden" in command for command in script.commands)
    with serving(Script()) as script:
        more = f"imap:127.0.0.1:{script.port}?{given}&unencrypted=true"
        with closing(open_source(more, ManualClock(0)).mailbox(ALICE)) as mailbox:
            assert mailbox.folders().folders[0].path == INBOX
