"""A real IMAP server for tests, on loopback, with a directory of its own and nothing left behind.

Which server it is, and how it is set up, is for those to say that are derived from this. Every
account opens with the password `secret`, and with `masterpw` for the user `backup` with the account
as authorization identity.
"""

from __future__ import annotations

import grp
import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.programs import needs

PASSWORD = "secret"
MASTER, MASTER_PASSWORD = "backup", "masterpw"


class MailServer:
    """A server, of which `port` speaks IMAP in plain text once it is started."""

    def __init__(
        self, root: Path, port: int, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """`command` serves until it is killed; `environment` is what it has besides the tests'."""
        self.root = root
        self.port = port
        self._command = command
        self._environment = os.environ | environment

    def start(self) -> None:
        """Starts it, and waits until it answers. One that was killed may have left processes that
        are about to end: until they have, a new one says that it runs already."""
        self._spawn()
        end = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 2) as greeted:
                    if greeted.recv(4) == b"* OK":
                        return
            except OSError:
                pass
            late = time.monotonic() > end
            if self._process.poll() is not None and not late and self._said("already running"):
                (self.root / "out").unlink()
                self._spawn()
            elif self._process.poll() is not None or late:
                self.stop()
                said = [self.root / name for name in ("out", "log")]
                texts = [path.read_text() for path in said if path.exists()]
                raise RuntimeError(f"{self._command} doesn't serve: {texts}")
            time.sleep(0.01)

    def _said(self, text: str) -> bool:
        out = self.root / "out"
        return out.exists() and text in out.read_text()

    def _spawn(self) -> None:
        with (self.root / "out").open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment,
                start_new_session=True,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it with all its processes. Twice does no harm."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def spec(self, accounts: Sequence[str] = (), **settings: object) -> str:
        """A source of these accounts, by the master user. Without accounts, `settings` must say
        which."""
        file = self.root / "master-password"
        file.write_text(MASTER_PASSWORD + "\n")
        given: dict[str, object] = {"login": MASTER, "password_file": file}
        if accounts:
            given["accounts"] = ",".join(accounts)
        query = "&".join(f"{key}={value}" for key, value in (given | settings).items())
        return f"imap:127.0.0.1:{self.port}?{query}"

    @contextmanager
    def client(self, account: str) -> Iterator[imaplib.IMAP4]:
        """A client of the account's owner."""
        with imaplib.IMAP4("127.0.0.1", self.port, 20) as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.login(account, PASSWORD)
            yield client


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def identity(root: Path) -> tuple[str, str, list[str]]:
    """User and group to serve as, and what becomes them: mail servers refuse to be root. That user
    gets what is in the server's directory."""
    if os.geteuid():
        user = pwd.getpwuid(os.geteuid())
        return user.pw_name, grp.getgrgid(user.pw_gid).gr_name, []
    needs("setpriv")
    user = pwd.getpwnam("nobody")
    for path in (root, *root.rglob("*")):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return user.pw_name, grp.getgrgid(user.pw_gid).gr_name, become
