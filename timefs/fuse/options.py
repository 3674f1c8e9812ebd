"""The options of a mount, as `-o` takes them. Pure, but for asking who is who.

mount(8) passes on what stands in fstab, so generic options are accepted; most mean nothing here.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from engine.domain.errors import UsageError

_IGNORED = frozenset(
    [
        *("ro", "rw", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "default_permissions"),
        *("defaults", "auto", "noauto", "nofail", "_netdev", "owner", "group"),
        *("user", "nouser", "users", "nousers", "atime", "noatime", "diratime", "nodiratime"),
        *("relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime"),
        *("sync", "async", "dirsync", "silent", "loud", "mand", "nomand", "iversion", "noiversion"),
    ]
)
"""What has no meaning here, or is so in any case: the mount is always `ro`, `nodev`, `nosuid` and
`default_permissions`."""

_IGNORED_PREFIXES = ("x-", "X-", "comment=", "user=", "uhelper=", "helper=")


class MountOptions(NamedTuple):
    """What `-o` may say. None: nothing was said."""

    at: str | None = None
    tz: str | None = None
    log: str | None = None
    uid: int | None = None
    gid: int | None = None
    umask: int | None = None
    allow_other: bool = False
    allow_root: bool = False
    nonempty: bool = False
    no_extension: bool = False


def parse_options(texts: Iterable[str]) -> MountOptions:
    """The options of one or more `-o`; a later one outdoes an earlier one.

    Raises UsageError for one that isn't known, or has a wrong value.
    """
    values: dict[str, Any] = {}
    for option in ",".join(texts).split(","):
        if not option or option in _IGNORED or option.startswith(_IGNORED_PREFIXES):
            continue
        name, equals, value = option.partition("=")
        if name in _FLAGS and not equals:
            values[name] = True
        elif name in _VALUES and value:
            values[name] = _VALUES[name](value)
        elif name in _VALUES:
            raise UsageError(f"-o {name}: needs a value: -o {name}=...")
        else:
            raise UsageError(f"-o {option}: is no option of timefs: see 'timefs mount --help'")
    options = MountOptions(**values)
    if options.allow_other and options.allow_root:
        raise UsageError("-o allow_other,allow_root: give only one of them")
    return options


def _user(value: str) -> int:
    try:
        return int(value) if value.isdecimal() else pwd.getpwnam(value).pw_uid
    except KeyError:
        raise UsageError(f"-o uid={value}: there is no such user") from None


def _group(value: str) -> int:
    try:
        return int(value) if value.isdecimal() else grp.getgrnam(value).gr_gid
    except KeyError:
        raise UsageError(f"-o gid={value}: there is no such group") from None


def _umask(value: str) -> int:
    if not re.fullmatch("[0-7]{1,4}", value) or int(value, 8) > 0o777:
        raise UsageError(f"-o umask={value}: is no umask: use a form like 022")
    return int(value, 8)


_FLAGS = ("allow_other", "allow_root", "nonempty", "no_extension")
_VALUES: dict[str, Callable[[str], object]] = {
    "at": str,
    "tz": str,
    "log": str,
    "uid": _user,
    "gid": _group,
    "umask": _umask,
}


def escape(value: str) -> str:
    """A value for libfuse's option parser, in ASCII: it undoes backslashes with octal digits."""
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte not in b"\\," else f"\\{byte:03o}"
        for byte in value.encode("utf-8", "surrogateescape")
    )
