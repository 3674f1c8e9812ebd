"""A real Dovecot for tests: see `MailServer`. Run as root, it serves as `nobody`.

It is the system's, or else the one that scripts/setup has unpacked below `.venv/dovecot`: where
there is another mail server, Debian's package would take its place.

The master user may also log in as `ACCOUNT*backup`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.commands import PROJECT
from tests.mailserver import MailServer, free_port, identity
from tests.programs import needs

INSTALLED = Path("/usr/sbin/dovecot")
UNPACKED = PROJECT / ".venv" / "dovecot"

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


@cache
def program() -> Path:
    """The server to start. Later versions than 2.3 have another form of configuration."""
    if INSTALLED.exists():
        found = INSTALLED
    else:
        needs(str(UNPACKED))
        found = relocated(UNPACKED)
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if not version.stdout.startswith("2.3."):
        needs("Dovecot 2.3")
    return found


@cache
def relocated(unpacked: Path) -> Path:
    """The server of packages that were only unpacked, as long as this process lasts.

    The places of its parts are compiled in, so it is copied to one of a path that is as short, and
    told that one. There the user may look, too, that it becomes.
    """
    place = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    atexit.register(shutil.rmtree, place)
    place.chmod(0o755)
    libraries, settings = place / "l", place / "c"
    shutil.copytree(unpacked / "usr/lib/dovecot", libraries, symlinks=True)
    shutil.copy(unpacked / "usr/bin/doveconf", settings)
    shutil.copy(unpacked / "usr/sbin/dovecot", place / "dovecot")
    places = ((b"/usr/lib/dovecot", libraries, b"/"), (b"/usr/bin/doveconf", settings, b"\0"))
    for file in (settings, place / "dovecot", *libraries.rglob("*")):
        if file.is_symlink() or not file.is_file():
            continue
        data = file.read_bytes()
        for old, path, fill in places:
            new = os.fsencode(path)
            assert len(new) <= len(old), f"{path} is too long"
            data = data.replace(old, new.ljust(len(old), fill))
        file.write_bytes(data)
    return place / "dovecot"


class Dovecot(MailServer):
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
        server = program()
        self.mail = root / "mail"
        port = free_port()
        self.tls_port = free_port() if certificate else 0
        for directory in (self.mail, root / "public"):
            directory.mkdir(exist_ok=True)
        paths = ""
        for name, path in zip(("ssl_cert", "ssl_key"), certificate or (), strict=False):
            shutil.copy(path, root / name)
            paths += f"{name} = <{root}/{name}\n"
        user, group, become = identity(root)
        text = CONFIGURATION.format(
            root=root,
            user=user,
            group=group,
            port=port,
            tls_port=self.tls_port,
            separator=separator,
            capability=capability,
            ssl="yes" if certificate else "no",
            certificate=paths,
        )
        file = root / "dovecot.conf"
        file.write_text(text)
        super().__init__(root, port, [*become, str(server), "-F", "-c", str(file)], {})
        self.start()

    def maildir(self, account: str) -> Path:
        """Where an account's mail is. It is there once the account logged in."""
        return self.mail / account / "Maildir"


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
