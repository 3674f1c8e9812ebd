"""`engine past-imap`: everybody's own past in their mail program."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

from engine.api.past_imap import PastImap
from engine.cli import output
from engine.cli.arguments import backup_path, opened
from engine.cli.calling import stoppable
from engine.cli.parser import CommandParser, own_command, unit_option
from engine.domain.errors import EngineError, UsageError
from engine.past_imap import dovecot, service
from engine.system import logs

DESCRIPTION = """\
Lets people look at their own past in their mail program, and bring messages back by dragging them.
It is Dovecot that shows it, 2.3 or 2.4, out of a mount of the backup. There are two ways, which may
be used together:

A folder Backup in the live Dovecot, in every mailbox: 'Backup/1 hour ago', 'Backup/yesterday',
'Backup/last week', 'Backup/a month ago', and 'Backup/deleted' with all that was deleted and is
still kept. Nothing can be written into it.

A server of the past, at past_imap.listen, for any other moment: people sign in as NAME@TIME with
their usual password, as in alice@example.com@20240501T1000 or alice@example.com@yesterday. The live
server (past_imap.live) is asked whether the password is right, and failures are slowed. A name is
that of the account that bears it now, at all times: before it was there, its mailbox is empty,
whoever had the name then. TIME has any form that the mount knows, without colons.

Who bears a name is known from the last scan. Until there has been one after a name was given to
somebody else, the server of the past refuses the name; the folder Backup can't, and shows what the
former bearer had: scan at once, before anybody signs in.

Without options, writes the configuration of both into past_imap.directory, lets Dovecot check it,
and says what to include where. --run serves the past in the foreground, for a look, or for good in
a unit of systemd, which --systemd-unit prints."""

EXAMPLES = """\
    engine past-imap
    engine past-imap --run
    engine past-imap --systemd-unit > /etc/systemd/system/timefs-past-imap.service

What must be there first:

    timefs mount -o allow_other,uid=vmail,gid=vmail /mnt/backup-at
    engine config set past_imap.directory /var/lib/timefs-past-imap
    engine config set past_imap.live imaps:mail.example.com"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--run", action="store_true", help="serve the past, until stopped")
    parser.add_argument(
        "--dovecot",
        choices=dovecot.VERSIONS,
        help="write for this version; default: the one that is installed",
    )
    parser.add_argument(
        "--separator",
        metavar="CHARACTER",
        help="what parts names of folders in the live Dovecot; default: what it says, else /",
    )
    unit_option(parser)


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    if args.separator is not None and args.separator not in ("/", "."):
        raise UsageError("--separator: Dovecot parts names of folders by / or .")
    with opened(path) as backup:
        made = service.arrangement(backup.settings)
        if args.systemd_unit:
            output.text_as_it_is(_unit(path, made))
            return 0
        version = args.dovecot or service.installed_version()
        separator = args.separator or _live_separator()
        try:
            written = service.write(made, version, separator)
        except OSError as error:
            raise EngineError(f"{error.filename}: {error.strerror}") from None
        wrong = service.check(written[0]) if version == _installed() else None
        if wrong:
            raise EngineError(f"{written[0]}: Dovecot doesn't take it: {wrong}")
        if args.run:
            logs.to_standard_error(backup.settings.log_level, backup.settings.log_format)
            with stoppable("stopped") as stop:
                return service.serve(backup, made, stop, lambda: _say(made))
    if args.json:
        output.document(
            PastImap(
                dovecot=version,
                checked=wrong is not None,
                separator=separator,
                server_file=str(written[0]),
                folders_file=str(written[1]),
                listen=f"{made.serving.address}:{made.serving.port}",
            )
        )
        return 0
    output.line(f"Written for Dovecot {version}{'' if wrong is None else ', which takes it'}:")
    output.line(f"    {written[0]}    the server of the past: 'engine past-imap --run'")
    output.line(f"    {written[1]}    the folder Backup: in the live server's configuration,")
    output.line(f"        !include {written[1]}")
    output.line("    and then: doveadm reload")
    if not os.path.isdir(made.site.mount / "latest"):
        user = made.site.user
        output.complain(
            f"warning: the backup isn't mounted at {made.site.mount}: timefs mount -b "
            f"{shlex.quote(str(path))} -o allow_other,uid={user},gid={made.site.group} "
            f"{made.site.mount}"
        )
    return 0


def _say(made: service.PastServer) -> None:
    """That it serves."""
    output.line(f"serving at {made.serving.address}:{made.serving.port}: sign in as NAME@TIME")
    output.flush()


def _installed() -> str:
    try:
        return service.installed_version()
    except EngineError:
        return ""


def _live_separator() -> str:
    """The separator of the Dovecot that is set up on this machine; `/` where none is."""
    try:
        done = subprocess.run(
            [service.program("doveconf"), "-h", "namespace/inbox/separator"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except EngineError:
        return "/"
    said = done.stdout.strip()
    return said if said in ("/", ".") else "/"


def _unit(path: Path, made: service.PastServer) -> str:
    text = (files("engine.past_imap") / "timefs-past-imap.service").read_text("utf-8")
    for word in (str(path), str(made.site.mount), str(made.site.directory)):
        if any(c.isspace() or c in "%\"'\\" for c in word):
            raise UsageError(f"{word}: a unit can't hold this path: choose a plain one")
    return text.format(
        engine=own_command(),
        backup=os.path.abspath(path),
        mount=made.site.mount,
        directory=made.site.directory,
        user=made.site.user,
        group=made.site.group,
    )
