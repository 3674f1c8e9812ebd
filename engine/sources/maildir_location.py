"""Where the mailboxes of a Maildir source are: a path with placeholders, and what it matches.

    /var/vmail/{domain}/{user}/Maildir              the account is USER@DOMAIN
    /var/vmail/{account}                            the account is the directory's name
    /home/{user}/Maildir                            likewise
    /home/alice/Maildir?account=alice@example.com   a single mailbox

A placeholder stands for one component of the path or a part of one, as in `{user}.maildir`. Hidden
directories and `lost+found` never match. What is inside a mailbox is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.errors import SourceEmpty, SourceUnavailable, UsageError
from engine.sources.beneath import entries
from engine.sources.source import SourceError, reason, shown

_PLACEHOLDERS = ({"user", "domain"}, {"user"}, {"account"})


class Place(NamedTuple):
    """A path that matches, whether or not there is anything."""

    account: str
    path: str


class Location:
    """A parsed location. Pure, except for `places`."""

    def __init__(self, text: str) -> None:
        """Raises UsageError if `text` isn't a location."""
        self.text = text
        path, _, account = text.partition("?account=")
        names = re.findall(r"\{([^{}]*)\}", path)
        if not path.startswith("/"):
            raise UsageError(f"maildir:{text}: the location must be an absolute path")
        self._parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in self._parts:
            raise UsageError(f"maildir:{text}: the location must not go up with '..'")
        if "}{" in path or re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", path)):
            raise UsageError(f"maildir:{text}: put something between two placeholders, no braces")
        if names and (len(set(names)) < len(names) or set(names) not in _PLACEHOLDERS):
            raise UsageError(
                f"maildir:{text}: the placeholders are {{account}}, or {{user}} with or without "
                "{domain}, each once"
            )
        if bool(names) == bool(account):
            raise UsageError(
                f"maildir:{text}: name the accounts, either with placeholders such as "
                "/var/vmail/{domain}/{user}/Maildir, or a single one with ?account=NAME at the end"
            )
        self._account = account
        self._patterns = [_pattern(part) for part in self._parts]
        fixed = [n for n, pattern in enumerate(self._patterns) if pattern]
        self._fixed = fixed[0] if fixed else len(self._parts)

    @property
    def base(self) -> str:
        """The path before the first component that has a placeholder."""
        return "/" + "/".join(self._parts[: self._fixed])

    def parts_of(self, account: str) -> list[str] | None:
        """The components below `base` of an account's path; None if no path gives this account."""
        if self._account:
            return [] if account == self._account else None
        values = {"account": account, "user": account}
        if "{domain}" in self.text:
            values["user"], _, values["domain"] = account.rpartition("@")
        found: dict[str, str] = {}
        parts = []
        for part, pattern in zip(self._parts, self._patterns, strict=True):
            part = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], part)
            match = pattern.fullmatch(part) if pattern else None
            if pattern and (match is None or not _matchable(part)):
                return None
            found |= match.groupdict() if match else {}
            parts.append(part)
        same = all(values[name] == value for name, value in found.items())
        return parts[self._fixed :] if same else None

    @property
    def depth(self) -> int:
        """How many components below `base` lead to a mailbox."""
        return len(self._parts) - self._fixed

    def leads(self, names: Sequence[str]) -> bool:
        """Whether these components below `base`, at most `depth` of them, can lead to a mailbox."""
        return len(names) <= self.depth and all(
            name == part if pattern is None else _matchable(name) and pattern.fullmatch(name)
            for name, part, pattern in zip(
                names, self._parts[self._fixed :], self._patterns[self._fixed :], strict=False
            )
        )

    def next_name(self, names: Sequence[str]) -> str | None:
        """The one name that can follow these components; None where a placeholder does."""
        index = self._fixed + len(names)
        return None if self._patterns[index] else self._parts[index]

    def account_at(self, names: Sequence[str]) -> str | None:
        """The account whose mailbox is at these components below `base`; None if none is."""
        if not self.leads(names) or len(names) != self.depth:
            return None
        if self._account:
            return self._account
        values: dict[str, str] = {}
        for name, pattern in zip(names, self._patterns[self._fixed :], strict=True):
            match = pattern.fullmatch(name) if pattern else None
            values |= match.groupdict() if match else {}
        account = values.get("account", values.get("user", ""))
        account = f"{account}@{values['domain']}" if "domain" in values else account
        return account if self.parts_of(account) == list(names) else None

    def places(self, errors: list[SourceError]) -> Iterator[Place]:
        """All paths that match directories which exist now, the part after the last placeholder
        left unchecked. What can't be read on the way is added to `errors`. Raises SourceUnavailable
        if the base can't be read, and SourceEmpty if it doesn't exist."""
        try:
            os.close(os.open(self.base, os.O_PATH | os.O_DIRECTORY))
            if self._account:
                yield Place(self._account, self.base)
            else:
                yield from self._expand(self.base, self._fixed, {}, errors)
        except OSError as error:
            kind = SourceEmpty if isinstance(error, FileNotFoundError) else SourceUnavailable
            raise kind(
                f"{shown(self.base)}: {reason(error)}; check that the mail volume is mounted and "
                f"that the source's location is right: maildir:{self.text}"
            ) from error

    def _expand(
        self, path: str, index: int, values: dict[str, str], errors: list[SourceError]
    ) -> Iterator[Place]:
        following = (n for n in range(index, len(self._parts)) if self._patterns[n])
        variable = next(following, len(self._parts))
        path = os.path.join(path, *self._parts[index:variable])
        if variable == len(self._parts):
            account = values.get("account", values.get("user", ""))
            yield Place(f"{account}@{values['domain']}" if "domain" in values else account, path)
            return
        pattern = self._patterns[variable]
        assert pattern is not None
        try:
            names = _directories(path)
        except (FileNotFoundError, NotADirectoryError):
            if index == self._fixed:
                raise
            return
        except OSError as error:
            if index == self._fixed:
                raise
            errors.append(SourceError(shown(path), reason(error)))
            return
        for name in names:
            match = pattern.fullmatch(name)
            if match and _matchable(name):
                below = os.path.join(path, name)
                yield from self._expand(below, variable + 1, values | match.groupdict(), errors)

    def covers(self, path: str) -> bool:
        """Whether a path without symbolic links is one where accounts or their mail are looked
        for: a mailbox, inside one, or a directory whose subdirectories the placeholders match."""
        base = [part for part in os.path.realpath(self.base).split("/") if part]
        given = [part for part in path.split("/") if part]
        if given[: len(base)] != base:
            return False
        given, rest = given[len(base) :], self._parts[self._fixed :]
        for part, name in zip(rest, given, strict=False):
            pattern = _pattern(part)
            if not (pattern.fullmatch(name) if pattern else part == name):
                return False
        return len(given) >= len(rest) or any("{" in part for part in rest[len(given) :])


def _pattern(part: str) -> re.Pattern[str] | None:
    """What a component with placeholders matches; None for one without."""
    if "{" not in part:
        return None
    pieces = re.split(r"\{(\w+)\}", part)
    return re.compile(
        "".join(
            f"(?P<{piece}>.+)" if index % 2 else re.escape(piece)
            for index, piece in enumerate(pieces)
        ),
        re.DOTALL,
    )


def _matchable(name: str) -> bool:
    """Whether a placeholder may match a directory of this name: not a path, hidden or special."""
    return not (name.startswith(".") or "/" in name or "\0" in name or name == "lost+found")


def _directories(path: str) -> list[str]:
    """The names of a directory's subdirectories, symbolic links to directories included, sorted."""
    with entries(path) as found:
        return sorted(entry.name for entry in found if _is_directory(entry))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Also true of a link whose target can't be looked at: opening it then says why."""
    try:
        return entry.is_dir()
    except OSError:
        return True
