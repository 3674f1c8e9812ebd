"""How long a first scan takes over IMAP, beside mbsync pulling the same mailbox into a Maildir.

Both read from a Dovecot of their own on loopback, whose indexes are made by then. What mbsync makes
is one copy of the mail, and what we make is a backup of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from engine.backup import Backup
from engine.scan.known import count_messages, known_folders
from scripts.benchmarks.contenders import Timefs
from scripts.benchmarks.machine import Command, Failed, run
from scripts.benchmarks.mailbox import ACCOUNT
from scripts.benchmarks.workshop import Workshop
from tests.dovecot import Dovecot, dovecot
from tests.mailserver import PASSWORD

MBSYNC = "mbsync"
HASTY = "mbsync-hasty"
"""mbsync, told not to sync each message to the disk."""

LEAST = 0.98
"""The part of the messages that mbsync must have for its time to count: it leaves some out that
aren't proper."""

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
Create Near
Sync Pull
SyncState *
"""


def first_scan(workshop: Workshop, name: str) -> dict[str, float]:
    """The whole mailbox over IMAP, into an empty repository."""
    with _serving(workshop) as server:
        made = workshop.scratch("imap")
        if name in (MBSYNC, HASTY):
            seconds, messages = _pull(workshop, server, made, hasty=name == HASTY)
        else:
            seconds, messages = _scan(server, made)
    wanted = len(workshop.mailbox.sizes())
    if messages < wanted * (1 if name == Timefs.name else LEAST):
        raise Failed(f"{name}: has {messages} messages of {wanted}")
    return {"imap-first-scan": seconds}


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


def _pull(workshop: Workshop, server: Dovecot, made: Path, *, hasty: bool) -> tuple[float, int]:
    for folder in (*workshop.mailbox.folders, "Sent"):
        for name in ("tmp", "new", "cur"):
            path = made / "mail" / folder / name
            path.mkdir(parents=True)
            os.utime(path, (0, 0))  # it sleeps a second for each that has just been made
    configuration = made / "mbsyncrc"
    configuration.write_text(
        _CONFIGURATION.format(
            fsync="no" if hasty else "yes",
            port=server.port,
            user=ACCOUNT,
            password=PASSWORD,
            mail=made / "mail",
        )
    )
    done = run(Command(("mbsync", "-q", "-q", "-c", str(configuration), "all")))
    places = (path for path in (made / "mail").rglob("*") if path.name in ("cur", "new"))
    return done.seconds, sum(len(os.listdir(place)) for place in places)


def _scan(server: Dovecot, made: Path) -> tuple[float, int]:
    engine = Timefs().program("engine")
    run(Command((engine, "init", "-b", str(made), "--source", server.spec([ACCOUNT]))))
    done = run(Command((engine, "scan", "-b", str(made))))
    with closing(Backup(made)) as backup, backup.reader() as reader:
        (account,) = reader.accounts()
        return done.seconds, count_messages(reader, known_folders(reader, account.item))
