"""A real Cyrus for tests: see `MailServer`. Run as root, it serves as `nobody`.

Debian's packages of mail servers exclude one another, so scripts/setup unpacks those of Cyrus below
`.venv/cyrus`, where they are only files. Accounts must be added before anybody opens them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.commands import PROJECT
from tests.mailserver import (
    MASTER,
    MASTER_PASSWORD,
    PASSWORD,
    MailServer,
    free_port,
    identity,
)
from tests.programs import needs

UNPACKED = PROJECT / ".venv" / "cyrus"

# The paths in `imapd.conf` are those that Cyrus would else look for outside.
IMAPD = """\
cyrus_user: {user}
cyrus_group: {group}
configdirectory: {root}/conf
defaultpartition: default
partition-default: {root}/spool
sievedir: {root}/sieve
idlesocket: {root}/conf/socket/idle
proxyservers: {master}
admins: postmaster
allowusermoves: yes
altnamespace: yes
unixhierarchysep: yes
virtdomains: off
servername: localhost
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {root}/sasldb2
sasl_mech_list: PLAIN LOGIN
autocreate_quota: 0
autocreate_post: yes
conversations: yes
# Else the eleventh message that is like ten others is refused.
conversations_max_guidinfolder: 10000
expunge_mode: delayed
skiplist_unsafe: yes
failedloginpause: 0
delete_mode: immediate
"""
SERVICES = """\
START {{
  recover cmd="{bin}/ctl_cyrusdb -C {root}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{bin}/imapd -C {root}/imapd.conf" listen="127.0.0.1:{port}" prefork=1
}}
DAEMON {{
  idled cmd="{bin}/idled -C {root}/imapd.conf"
}}
"""


class Cyrus(MailServer):
    """A running server."""

    def __init__(self, root: Path) -> None:
        needs(str(UNPACKED))
        # Where it was unpacked, the user that the server becomes may not be allowed to look.
        for name in ("lib", "sbin"):
            shutil.copytree(UNPACKED / "usr" / name, root / name, symlinks=True)
        directory = root / "lib/cyrus/bin"
        for name in ("conf/db", "conf/lock", "conf/proc", "conf/socket", "sieve", "spool"):
            (root / name).mkdir(parents=True)
        user, group, become = identity(root)
        port = free_port()
        values = {"root": root, "bin": directory, "user": user, "group": group, "port": port}
        (root / "imapd.conf").write_text(IMAPD.format(master=MASTER, **values))
        (root / "cyrus.conf").write_text(SERVICES.format(**values))
        command = [*become, str(directory / "master"), "-D", "-p", str(root / "pid")]
        command += ["-C", str(root / "imapd.conf"), "-M", str(root / "cyrus.conf")]
        (libraries,) = {path.parent for path in root.glob("lib/**/libcyrus.so.0")}
        super().__init__(root, port, command, {"LD_LIBRARY_PATH": str(libraries)})
        self._become = become
        self._set_password(MASTER, MASTER_PASSWORD)
        self.start()

    def add(self, account: str) -> None:
        """A new account; a name without a domain. It has an inbox once it was opened."""
        self._set_password(account, PASSWORD)
        with self.client(account):
            pass

    def rename(self, account: str, name: str) -> None:
        """The administrator renames an account."""
        for each in ("postmaster", name):
            self._set_password(each, PASSWORD)
        with self.client("postmaster") as client:
            answer = client.rename(f"user/{account}", f"user/{name}")
            assert answer[0] == "OK", answer

    def spec(self, accounts: Sequence[str] = (), **settings: object) -> str:
        return super().spec(accounts, method="authzid", **settings)

    def _set_password(self, name: str, password: str) -> None:
        command = [str(self.root / "sbin/saslpasswd2"), "-p", "-c", "-u", "localhost"]
        command += ["-f", str(self.root / "sasldb2"), name]
        subprocess.run([*self._become, *command], input=password, text=True, check=True, timeout=20)


@contextmanager
def cyrus() -> Iterator[Cyrus]:
    """A server for a block. Its directory is short, as names of sockets must be, and open to the
    user that the server becomes."""
    with tempfile.TemporaryDirectory(prefix="cy") as directory:
        os.chmod(directory, 0o755)
        server = Cyrus(Path(directory))
        try:
            yield server
        finally:
            server.stop()
