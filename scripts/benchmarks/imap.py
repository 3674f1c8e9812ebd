"""IMAP: a first scan beside mbsync pulling the same mailbox into a Maildir, and a restore beside
mbsync pushing one, and imapsync copying one from account to account.

All of them talk to a Dovecot of their own on loopback, whose indexes are made by then. The limits
are what a script needs that does nothing with what it fetches, and appends whole groups at once.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from scripts.benchmarks.contenders import Timefs
from scripts.benchmarks.copies import FEW
from scripts.benchmarks.machine import Command, Failed, Run, run
from scripts.benchmarks.mailbox import ACCOUNT
from scripts.benchmarks.rows import PLAIN, Measure, Missing, Row, Values
from scripts.benchmarks.workshop import Workshop
from tests.dovecot import Dovecot, dovecot
from tests.mailserver import PASSWORD

MBSYNC = "mbsync"
HASTY = "mbsync-hasty"
"""mbsync, told not to sync each message to the disk."""
IMAPSYNC = "imapsync"
EMPTY = "empty@example.com"
"""An account to restore into."""

LEAST = 0.98
"""The part of the messages that mbsync must have for its time to count: it leaves some out that
aren't proper. imapsync leaves out what it takes for copies."""
_GROUP = 100
"""Messages that the script appends at once."""

_CONFIGURATION = """\
FSync {fsync}

IMAPAccount bench
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account bench

MaildirStore near
Path {mail}/
Inbox {mail}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create {side}
Sync {direction}
SyncState *
"""


def first_scan(workshop: Workshop, name: str) -> Values:
    """The whole mailbox over IMAP, into an empty repository."""
    with _serving(workshop) as server:
        made = workshop.scratch("imap")
        contender = workshop.contenders.get(name)
        if name == PLAIN:
            seconds, messages = _fetch(server, workshop.mailbox.folders)
        elif isinstance(contender, Timefs):
            run(contender.engine(made, "init", "--source", server.spec([ACCOUNT])))
            seconds = run(contender.engine(made, "scan")).seconds
            messages = _recorded(contender, made)
        else:
            for folder in (*workshop.mailbox.folders, "Sent"):
                _make_folder(made / "mail" / folder)
            seconds = _mbsync(server, made, ACCOUNT, hasty=name == HASTY, push=False).seconds
            messages = _files(made / "mail")
    _expect(workshop, name, messages)
    return {"imap-first-scan": seconds}


def restore(workshop: Workshop, name: str) -> Values:
    """The whole mailbox over IMAP, into an empty account."""
    if name == IMAPSYNC and not shutil.which(IMAPSYNC):
        raise Missing(IMAPSYNC)
    mailbox, contender = workshop.mailbox, workshop.contenders.get(name)
    repository = ""
    if isinstance(contender, Timefs):
        repository = workshop.prepared(name, FEW).repository
    with dovecot() if name != IMAPSYNC else _serving(workshop) as server:
        with server.client(EMPTY) as client:
            client.select()
        os.sync()
        if name == PLAIN:
            seconds = _append(server, workshop)
        elif isinstance(contender, Timefs):
            target = server.spec([EMPTY])
            where = ("--at", "latest", "--no-scan", "--account", EMPTY, "--target", target)
            seconds = run(contender.engine(Path(repository), "restore", ACCOUNT, *where)).seconds
        elif name == IMAPSYNC:
            seconds = _imapsync(server)
        else:
            made = workshop.scratch("imap")
            for folder in mailbox.folders:
                shutil.copytree(mailbox.directory(folder) / "cur", made / "mail" / folder / "cur")
            for folder in (*mailbox.folders, "Sent"):
                _make_folder(made / "mail" / folder)
            seconds = _mbsync(server, made, EMPTY, hasty=name == HASTY, push=True).seconds
        messages = _files(server.maildir(EMPTY))
    _expect(workshop, name, messages)
    return {"imap-restore": seconds}


@contextmanager
def _serving(workshop: Workshop) -> Iterator[Dovecot]:
    """A server of a copy of the mailbox."""
    with dovecot() as server:
        with server.client(ACCOUNT) as client:
            client.select()
        maildir = server.maildir(ACCOUNT)
        owner = maildir.stat()
        shutil.copytree(workshop.mailbox.path, maildir, dirs_exist_ok=True)
        if os.geteuid() == 0:
            for path in (maildir, *maildir.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
        with server.client(ACCOUNT) as client:
            for folder in workshop.mailbox.folders:
                client.select(f'"{folder}"')
        yield server


def _make_folder(path: Path) -> None:
    """A Maildir that is old: mbsync sleeps a second for each that has just been made."""
    for name in ("tmp", "new", "cur"):
        (path / name).mkdir(parents=True, exist_ok=True)
        os.utime(path / name, (0, 0))


def _mbsync(server: Dovecot, made: Path, account: str, *, hasty: bool, push: bool) -> Run:
    configuration = made / "mbsyncrc"
    configuration.write_text(
        _CONFIGURATION.format(
            fsync="no" if hasty else "yes",
            port=server.port,
            user=account,
            password=PASSWORD,
            mail=made / "mail",
            direction="Push" if push else "Pull",
            side="Far" if push else "Near",
        )
    )
    return run(Command(("mbsync", "-q", "-q", "-c", str(configuration), "all")))


def _imapsync(server: Dovecot) -> float:
    sides = []
    for number, account in ((1, ACCOUNT), (2, EMPTY)):
        sides += [f"--host{number}", "127.0.0.1", f"--port{number}", str(server.port)]
        sides += [f"--user{number}", account, f"--password{number}", PASSWORD, f"--notls{number}"]
    command = (IMAPSYNC, "--nolog", "--noreleasecheck", *sides)
    return run(Command(command, {}, server.root)).seconds


def _fetch(server: Dovecot, folders: list[str]) -> tuple[float, int]:
    """Fetches all messages and forgets them: seconds, and how many there were."""
    messages = 0
    begin = time.perf_counter()
    with server.client(ACCOUNT) as client:
        for folder in folders:
            _, count = client.select(f'"{folder}"', readonly=True)
            if count[0] not in (None, b"0"):
                _, found = client.fetch("1:*", "(BODY.PEEK[])")
                messages += sum(1 for part in found if isinstance(part, tuple))
    return time.perf_counter() - begin, messages


def _append(server: Dovecot, workshop: Workshop) -> float:
    """Appends all messages, many with one command (RFC 3502) and without waiting to be asked for
    each literal (RFC 7888)."""
    groups: list[tuple[str, list[bytes]]] = []
    for folder in workshop.mailbox.folders:
        files = iter(sorted((workshop.mailbox.directory(folder) / "cur").iterdir()))
        while group := list(islice(files, _GROUP)):
            groups.append((folder, [path.read_bytes() for path in group]))
    begin = time.perf_counter()
    with server.client(EMPTY) as client:
        for folder in workshop.mailbox.folders[1:]:
            client.create(f'"{folder}"')
        for number, (folder, messages) in enumerate(groups):
            literals = b"".join(b" {%d+}\r\n%b" % (len(raw), raw) for raw in messages)
            client.send(b'b%d APPEND "%b"%b\r\n' % (number, folder.encode(), literals))
            while not (line := client.readline()).startswith(b"b%d " % number):
                if not line:
                    raise Failed(f"{PLAIN}: APPEND: the server hung up")
            if b" OK" not in line:
                raise Failed(f"{PLAIN}: APPEND: {line.decode(errors='replace').strip()}")
    return time.perf_counter() - begin


def _recorded(timefs: Timefs, repository: Path) -> int:
    """How many messages a backup has."""
    found = run(timefs.engine(repository, "search", "--account", ACCOUNT, "--json"), output=True)
    return found.output.count(b'"kind": "message"')


def _files(directory: Path) -> int:
    return sum(
        len(files) for path, _, files in os.walk(directory) if path.endswith(("/cur", "/new"))
    )


def _expect(workshop: Workshop, name: str, messages: int) -> None:
    """Raises Failed where a program has fewer messages than the mailbox."""
    wanted = len(workshop.mailbox.sizes())
    least = LEAST if name in (MBSYNC, HASTY, IMAPSYNC) else 1
    if messages < wanted * least:
        raise Failed(f"{name}: has {messages} messages of {wanted}")


MEASURES = (
    Measure(
        (
            Row(
                "imap-first-scan",
                "first scan over IMAP, beside mbsync",
                "s",
                aim=0.83,
                against=(MBSYNC, HASTY),
                plain="FETCH of all, one folder after the other",
            ),
        ),
        first_scan,
    ),
    Measure(
        (
            Row(
                "imap-restore",
                "restore over IMAP, beside mbsync and imapsync",
                "s",
                aim=0.67,
                against=(MBSYNC, HASTY, IMAPSYNC),
                plain=f"APPEND of {_GROUP} messages at a time",
            ),
        ),
        restore,
    ),
)
