"""A real Dovecot for tests, on loopback, with a directory of its own and nothing left behind.

Every account opens with the password `secret`, and with `masterpw` for the user `backup` as
`ACCOUNT*backup` or with the account as authorization identity. Run as root, it serves as `nobody`.
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
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.programs import needs

PASSWORD = "secret"
MASTER, MASTER_PASSWORD = "backup", "masterpw"

CONFIGURATION = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
ssl = {ssl}
{certificate}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
auth_failure_delay = 0 secs
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  master = yes
  args = password=masterpw
}}
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={root}/mail/%u allow_all_users=yes
}}
mail_location = maildir:~/Maildir
mailbox_list_index = yes
mail_fsync = never
mail_max_userip_connections = 100
namespace inbox {{
  inbox = yes
  separator = {separator}
  mailbox Sent {{
    special_use = \\Sent
    auto = subscribe
  }}
}}
namespace public {{
  type = public
  prefix = Public{separator}
  separator = {separator}
  location = maildir:{root}/public
  subscriptions = no
}}
service anvil {{
  chroot =
  # Without a penalty for logins that fail, which would make the next ones wait for seconds.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
protocol imap {{
  imap_capability = {capability}
}}
"""


class Dovecot:
    """A running server. `port` speaks plain text or STARTTLS, `tls_port`, if there is a
    certificate, TLS."""

    def __init__(
        self,
        root: Path,
        *,
        separator: str = "/",
        capability: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`capability` is what the server says it can, instead of the truth; a `certificate` is its
        file and that of its key."""
        needs("/usr/sbin/dovecot")
        self.root = root
        self.mail = root / "mail"
        self.port = free_port()
        self.tls_port = free_port() if certificate else 0
        for directory in (self.mail, root / "public"):
            directory.mkdir(exist_ok=True)
        paths = ""
        for name, path in zip(("ssl_cert", "ssl_key"), certificate or (), strict=False):
            shutil.copy(path, root / name)
            paths += f"{name} = <{root}/{name}\n"
        user, group, self._become = _identity(root)
        text = CONFIGURATION.format(
            root=root,
            user=user,
            group=group,
            port=self.port,
            tls_port=self.tls_port,
            separator=separator,
            capability=capability,
            ssl="yes" if certificate else "no",
            certificate=paths,
        )
        (root / "dovecot.conf").write_text(text)
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [*self._become, "/usr/sbin/dovecot", "-F", "-c", str(self.root / "dovecot.conf")]
        with (self.root / "out").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        end = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 2) as greeted:
                    if greeted.recv(4) == b"* OK":
                        return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    said = [self.root / name for name in ("out", "log")]
                    texts = [path.read_text() for path in said if path.exists()]
                    raise RuntimeError(f"Dovecot doesn't start: {texts}") from None
            time.sleep(0.01)

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

    def maildir(self, account: str) -> Path:
        """Where an account's mail is. It is there once the account logged in."""
        return self.mail / account / "Maildir"

    @contextmanager
    def client(self, account: str) -> Iterator[imaplib.IMAP4]:
        """A client of the account's owner."""
        with imaplib.IMAP4("127.0.0.1", self.port, 20) as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.login(account, PASSWORD)
            yield client


@contextmanager
def dovecot(
    *,
    separator: str = "/",
    capability: str = "",
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Dovecot]:
    """A server for a block. Its directory is short, as names of sockets must be, and open to the
    user that the server becomes."""
    with tempfile.TemporaryDirectory(prefix="dc") as directory:
        os.chmod(directory, 0o755)
        server = Dovecot(
            Path(directory), separator=separator, capability=capability, certificate=certificate
        )
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def _identity(root: Path) -> tuple[str, str, list[str]]:
    """User and group to serve as, and what becomes them: mail servers refuse to be root."""
    if os.geteuid():
        user = pwd.getpwuid(os.geteuid())
        return user.pw_name, grp.getgrgid(user.pw_gid).gr_name, []
    needs("setpriv")
    user = pwd.getpwnam("nobody")
    for path in (root, *root.rglob("*")):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return user.pw_name, grp.getgrgid(user.pw_gid).gr_name, become
