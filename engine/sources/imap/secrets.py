"""Where passwords, tokens and lists of accounts come from: files, variables, commands.

Never from settings. What is read here must not get into a message: whoever raises shows names only.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import NamedTuple

from engine.errors import SourceUnavailable
from engine.sources.source import reason, shown

_SECONDS = 60
"""How long a command may take."""

_SMALL = 1 << 16
_LARGE = 64 << 20


class Secret(NamedTuple):
    """Where a password is. One of the three isn't empty; `{account}` and `{login}` in a file's name
    or a command stand for the account and for the name to log in with."""

    file: str
    variable: str
    command: str

    def read(self, account: str, login: str) -> str:
        """The password, without the end of its line. Raises SourceUnavailable."""
        if self.variable:
            value = os.environ.get(self.variable)
            if not value:
                raise SourceUnavailable(
                    f"the environment variable {self.variable} is not set, and the password for "
                    f"{shown(login)} should be there"
                )
            return value
        if self.file:
            path = _filled(self.file, _component(account), _component(login))
            text = read_text(path, _SMALL)
            where = path
        else:
            text = run(self.command, account, login)
            where = self.command
        line = text.partition("\n")[0].rstrip("\r")
        if not line:
            raise SourceUnavailable(f"{shown(where)}: its first line should be a password")
        return line


def read_text(path: str, limit: int = _LARGE) -> str:
    """A file in UTF-8. Raises SourceUnavailable."""
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode()
    except OSError as error:
        raise SourceUnavailable(f"{shown(path)}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise SourceUnavailable(f"{shown(path)}: isn't UTF-8") from error


def run(command: str, account: str = "", login: str = "") -> str:
    """What a command prints. It is run without a shell. Raises SourceUnavailable."""
    name = "?"
    try:
        words = [_filled(word, account, login) for word in shlex.split(command)]
        name = words[0]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (ValueError, IndexError) as error:
        raise SourceUnavailable(f"{shown(command)}: is no command") from error
    except OSError as error:
        raise SourceUnavailable(f"{shown(name)}: {reason(error)}") from error
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailable(f"{shown(name)}: took more than {_SECONDS} seconds") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        what = f"ended with status {done.returncode}" + (f": {shown(said)}" if said else "")
        raise SourceUnavailable(f"{shown(name)}: {what}")
    try:
        return done.stdout.decode()
    except UnicodeDecodeError as error:
        raise SourceUnavailable(f"{shown(name)}: what it prints isn't UTF-8") from error


def _filled(text: str, account: str, login: str) -> str:
    # In one pass: an account may be named {login}.
    parts = text.split("{account}")
    return account.join(part.replace("{login}", login) for part in parts)


def _component(name: str) -> str:
    """A name as a part of a file's name. Raises SourceUnavailable where it would lead away."""
    if "/" in name or "\0" in name or name in (".", ".."):
        raise SourceUnavailable(f"{shown(name)}: can't be part of a file's name")
    return name
