"""Where passwords, tokens and lists of accounts come from: files, variables, commands.

Never from settings. What is read here must not get into a message: whoever raises shows names only.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from engine.domain.errors import SourceUnavailable
from engine.system.masking import Mask
from engine.system.stop import Interrupt
from engine.system.text import reason, shown

_SECONDS = 60.0
"""How long a command may take, or what isn't a plain file."""

_SMALL = 1 << 16
_LARGE = 64 << 20
_CHUNK = 1 << 16


class Secret(NamedTuple):
    """Where a password is. One of the three isn't empty; `{account}` and `{login}` in a file's name
    or a command stand for the account and for the name to log in with."""

    file: str
    variable: str
    command: str

    def read(self, account: str, login: str, interrupt: Interrupt) -> str:
        """The password, without the end of its line. Raises SourceUnavailable, Interrupted."""
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
            text = read_text(path, interrupt, _SMALL)
            where = path
        else:
            text = run(self.command, interrupt, account, login, hide=_first_line)
            where = self.command
        line = _first_line(text)
        if not line:
            raise SourceUnavailable(f"{shown(where)}: its first line should be a password")
        return line

    def for_all(self, interrupt: Interrupt) -> str:
        """The password, if it is the same for all accounts; else, or where it can't be read,
        nothing."""
        if "{account}" in self.file + self.command or "{login}" in self.file + self.command:
            return ""
        try:
            return self.read("", "", interrupt)
        except SourceUnavailable:
            return ""


def read_text(path: str, interrupt: Interrupt, limit: int = _LARGE) -> str:
    """A file in UTF-8. Raises SourceUnavailable, Interrupted."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            (data,) = _read({descriptor: limit}, interrupt).values()
        finally:
            os.close(descriptor)
        return data.decode()
    except OSError as error:
        raise SourceUnavailable(f"{shown(path)}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise SourceUnavailable(f"{shown(path)}: isn't UTF-8") from error


def run(
    command: str,
    interrupt: Interrupt,
    account: str = "",
    login: str = "",
    *,
    hide: Callable[[str], str] = lambda printed: "",
) -> str:
    """What a command prints. It is run without a shell. Raises SourceUnavailable, Interrupted; with
    what the command complains of, but not with the secret that `hide` finds in what it prints."""
    name = "?"
    try:
        words = [_filled(word, account, login) for word in shlex.split(command)]
        name = words[0]
        status, out, err = _run(words, interrupt)
    except (ValueError, IndexError) as error:
        raise SourceUnavailable(f"{shown(command)}: is no command") from error
    except OSError as error:
        raise SourceUnavailable(f"{shown(name)}: {reason(error)}") from error
    if status:
        said = Mask(hide(out.decode("utf-8", "replace")))(err.decode("utf-8", "replace"))
        said = said.strip().partition("\n")[0][:200]
        what = f"ended with status {status}" + (f": {shown(said)}" if said else "")
        raise SourceUnavailable(f"{shown(name)}: {what}")
    try:
        return out.decode()
    except UnicodeDecodeError as error:
        raise SourceUnavailable(f"{shown(name)}: what it prints isn't UTF-8") from error


def _run(words: list[str], interrupt: Interrupt) -> tuple[int, bytes, bytes]:
    """Runs a program until it ends, not for longer than it may. What it has started in turn isn't
    waited for."""
    import subprocess  # who has no such command needs none of it

    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stderr
    ended = os.pidfd_open(process.pid)
    try:
        pipes = [process.stdout.fileno(), process.stderr.fileno()]
        for pipe in pipes:
            os.set_blocking(pipe, False)
        out, err = _read(dict.fromkeys(pipes, _LARGE), interrupt, ended).values()
        return process.wait(_SECONDS), out, err
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        os.close(ended)
        process.stdout.close()
        process.stderr.close()


def _read(limits: dict[int, int], interrupt: Interrupt, ended: int = -1) -> dict[int, bytes]:
    """Reads descriptors, which don't block, to their ends, or until `ended` can be read from.
    Raises OSError where one has more bytes than its limit, or it takes too long; Interrupted."""
    found = {descriptor: bytearray() for descriptor in limits}
    poll = select.poll()
    for waiting in (*limits, interrupt.fileno(), *([ended] if ended >= 0 else [])):
        poll.register(waiting, select.POLLIN)
    left = set(limits)
    deadline = time.monotonic() + _SECONDS
    while left:
        ready = {each for each, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
        interrupt.check()
        if not ready:
            raise OSError(f"took more than {_SECONDS:g} seconds")
        for descriptor in left & ready:
            data = os.read(descriptor, _CHUNK)
            if not data:
                left.discard(descriptor)
                poll.unregister(descriptor)
            found[descriptor] += data
            if len(found[descriptor]) > limits[descriptor]:
                raise OSError(f"has more than {limits[descriptor]:,} bytes")
        if ready == {ended}:
            break
    return {descriptor: bytes(data) for descriptor, data in found.items()}


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip("\r")


def _filled(text: str, account: str, login: str) -> str:
    # In one pass: an account may be named {login}.
    parts = text.split("{account}")
    return account.join(part.replace("{login}", login) for part in parts)


def _component(name: str) -> str:
    """A name as a part of a file's name. Raises SourceUnavailable where it would lead away."""
    if "/" in name or "\0" in name or name in (".", ".."):
        raise SourceUnavailable(f"{shown(name)}: can't be part of a file's name")
    return name
