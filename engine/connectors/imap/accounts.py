"""Which accounts an IMAP source has, and the name that each one logs in with.

The protocol has no list of accounts, so the administrator gives one: in the settings, in a file, or
by a command, as `doveadm user '*'`. A line is an account, or an account and the name to log in
with, where that is another one; `#` begins a comment.
"""

from __future__ import annotations

from engine.connectors.imap.options import ImapOptions
from engine.domain.errors import SourceEmpty, SourceUnavailable
from engine.settings import secrets
from engine.system.text import shown


def logins(options: ImapOptions) -> dict[str, str]:
    """The name to log in with for each account, in order of the accounts. Blocks while a command
    runs. Raises SourceUnavailable, and SourceEmpty where there is no account."""
    if options.accounts:
        where, lines = "accounts", list(options.accounts)
    elif options.accounts_file:
        where = options.accounts_file
        lines = secrets.read_text(where, options.interrupt).splitlines()
    else:
        where = options.accounts_command

        def hidden(printed: str) -> str:
            return options.secret.for_all(options.interrupt)

        lines = secrets.run(where, options.interrupt, hide=hidden).splitlines()
    found: dict[str, str] = {}
    for line in lines:
        words = line.partition("#")[0].split()
        if not words:
            continue
        account, login = words[0], words[-1]
        if len(words) > 2 or not line.replace("\t", " ").isprintable():
            raise SourceUnavailable(
                f"{shown(where)}: {shown(line[:80])!r} is not an account, or an account and a login"
            )
        if found.setdefault(account, login) != login:
            raise SourceUnavailable(f"{shown(where)}: {shown(account)} has two logins")
    if not found:
        raise SourceEmpty(f"{options.spec}: {shown(where)} names no account")
    return dict(sorted(found.items()))
