"""Does what is done in the mail user's directories as that user, also where the process is root's.

Who may write in a directory can put links there, and rename what is in it, at any moment. As that
user nobody reaches through them what the user can't reach anyhow, so no step needs to be guarded.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_ASK = -1
"""An ID that nobody has: the call only returns what is set."""
_LIBC = ctypes.CDLL(None)


class MailUser(NamedTuple):
    """Who Dovecot reads mail as."""

    uid: int
    gid: int


@contextmanager
def acting_as(owner: MailUser) -> Iterator[None]:
    """Gives this thread the owner's rights to files, and to nothing else, for the block: see
    setfsuid(2). Who isn't root keeps what he has. No thread may be started in it. Raises
    PermissionError where it can't be done."""
    if os.geteuid() != 0:
        yield
        return
    try:
        _set(_LIBC.setfsgid, owner.gid)
        _set(_LIBC.setfsuid, owner.uid)  # last: it takes root's rights to files away
        yield
    finally:
        _set(_LIBC.setfsuid, os.geteuid())
        _set(_LIBC.setfsgid, os.getegid())


def _set(call: ctypes._NamedFuncPointer, wanted: int) -> None:
    call(ctypes.c_uint(wanted))
    if call(ctypes.c_uint(_ASK)) != wanted:
        raise PermissionError(f"can't act as {wanted}")
