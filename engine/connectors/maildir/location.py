"""Where the mailboxes of a Maildir source are: a path with placeholders, and what it matches.

    /var/vmail/{domain}/{user}/Maildir              the account is USER@DOMAIN
    /var/vmail/{account}                            the account is the directory's name
    /home/{user}/Maildir                            likewise
    /home/alice/Maildir?account=alice@example.com   a single mailbox
    /var/vmail/*/{domain}/*/*/*/{user}-*/Maildir    what differs and is in no account's name

Where the last placeholder is a whole component, as `{user}` in the first, `john` may also be behind
levels such as `j/o/h`, and be called `john-2024.05.01.10.00.00`: see `maildir_hashes`.

A placeholder stands for one component of the path or a part of one, as in `{user}.maildir`; so does
`*`, and `?` stands for one character. Hidden directories and `lost+found` never match. With `*` or
`?` a path can't be made from an account's name: it must be looked for, and there may be several.
What is inside a mailbox is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from engine.connectors.maildir.hashes import DEPTH, fits, is_short, unstamped
from engine.connectors.source import SourceError
from engine.domain.errors import SourceEmpty, SourceUnavailable, UsageError
from engine.system.beneath import entries
from engine.system.text import reason, shown

_PLACEHOLDERS = ({"user", "domain"}, {"user"}, {"account"})
_PIECE = re.compile(r"\{(\w+)\}|([*?])")
_WILD = {"*": ".*", "?": "."}


class MailboxPlace(NamedTuple):
    """A path that matches, whether or not there is anything."""

    account: str
    """Empty where it is no account's: another directory is meant by the name that it would have."""
    parts: tuple[str, ...]
    """The components below the location's base."""


class MaildirLocation:
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
        if re.search(r"\*\*|\*\{|\}\*", path):
            raise UsageError(
                f"maildir:{text}: '*' stands for one directory's name or a part of it: put "
                "something between it and a placeholder or another '*'"
            )
        if names and (len(set(names)) < len(names) or set(names) not in _PLACEHOLDERS):
            raise UsageError(
                f"maildir:{text}: the placeholders are {{account}}, or {{user}} with or without "
                "{domain}, each once; '*' stands for what is in no account's name"
            )
        if bool(names) == bool(account):
            raise UsageError(
                f"maildir:{text}: name the accounts, either with placeholders such as "
                "/var/vmail/{domain}/{user}/Maildir, or a single one with ?account=NAME at the end"
            )
        self._account = account
        self._domains = "domain" in names
        self._patterns = [_pattern(part) for part in self._parts]
        fixed = [n for n, pattern in enumerate(self._patterns) if pattern]
        self._fixed = fixed[0] if fixed else len(self._parts)
        last = fixed[-1] if fixed else -1
        self._tail = tuple(self._parts[last + 1 :])
        """What is inside an account's own directory."""
        whole = bool(fixed) and self._parts[last] in ("{user}", "{account}")
        self._hashed = last - self._fixed if whole else None
        """Which component below the base may be behind levels, and have a time at its end."""
        self.wild = any(re.search(r"[*?]", part) for part in self._parts)
        """Whether the path of an account must be looked for."""

    @property
    def base(self) -> str:
        """The path before the first component that has a placeholder, a `*` or a `?`."""
        return "/" + "/".join(self._parts[: self._fixed])

    def path(self, parts: Sequence[str]) -> str:
        """The path of what is at these components below the base."""
        return os.path.join(self.base, *parts)

    @property
    def hashed(self) -> bool:
        """Whether a mailbox may be elsewhere than in the account's path, behind levels."""
        return self._hashed is not None

    def parts_of(self, account: str) -> list[str] | None:
        """The components below `base` of an account's path, where it is behind no levels; None if
        no path gives this account, or if the location is `wild`."""
        values = self._values(account)
        if self.wild or values is None:
            return None
        parts = [_PIECE.sub(lambda match: values[match[1]], part) for part in self._parts]
        parts = parts[self._fixed :]
        return parts if self.account_at(parts) == account else None

    @property
    def depth(self) -> int:
        """How many components below `base` lead to a mailbox that is behind no levels."""
        return len(self._parts) - self._fixed

    def leads(self, names: Sequence[str]) -> bool:
        """Whether these components below `base` can lead to a mailbox, or are one's."""
        return any(self._matches(names, levels) for levels in self._possible(names))

    def leads_on(self, names: Sequence[str]) -> bool:
        """Whether mailboxes may be beneath these components, which lead to one or are one's."""
        if not self.has_levels(names):
            return len(names) < self.depth
        return any(
            len(names) - levels < self.depth and self._matches(names, levels)
            for levels in self._possible(names)
        )

    def has_levels(self, names: Sequence[str]) -> bool:
        """Whether some of these components may be levels."""
        index = self._hashed
        return index is not None and len(names) > index and is_short(names[index])

    def _possible(self, names: Sequence[str]) -> range:
        """How many of these components may be levels."""
        if self._hashed is None or not self.has_levels(names):
            return range(1)
        short = takewhile(is_short, names[self._hashed : self._hashed + DEPTH])
        return range(len(list(short)) + 1)

    def _matches(self, names: Sequence[str], levels: int) -> bool:
        """Whether these components can lead to a mailbox if so many of them are levels."""
        plain, hashes = self._parted(names, levels)
        if len(plain) > self.depth or not all(map(_matchable, hashes)):
            return False
        if not all(
            name == part if pattern is None else _matchable(name) and pattern.fullmatch(name)
            for name, part, pattern in zip(
                plain, self._parts[self._fixed :], self._patterns[self._fixed :], strict=False
            )
        ):
            return False
        own = plain[self._hashed :][:1] if hashes else ()
        return all(fits(hashes, unstamped(name)) for name in own)

    def _parted(self, names: Sequence[str], levels: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The components without the levels, and these."""
        if not levels:
            return tuple(names), ()
        assert self._hashed is not None
        end = self._hashed + levels
        return (*names[: self._hashed], *names[end:]), tuple(names[self._hashed : end])

    def next_name(self, names: Sequence[str]) -> str | None:
        """The one name that can follow these components; None where several can."""
        following = set()
        for levels in self._possible(names):
            index = self._fixed + len(self._parted(names, levels)[0])
            if index < len(self._parts) and self._matches(names, levels):
                following.add(None if self._patterns[index] else self._parts[index])
        return following.pop() if len(following) == 1 else None

    def home(self, names: Sequence[str]) -> tuple[str, ...]:
        """Of the components of a mailbox those that end with the last placeholder, `*` or `?`: the
        directory that is the account's own."""
        return tuple(names[: max(len(names) - len(self._tail), 0)]) if self.depth else ()

    def account_at(self, names: Sequence[str]) -> str | None:
        """The account whose mailbox is at these components below `base`; None if none is."""
        levels = len(names) - self.depth
        if levels and not (levels in self._possible(names) and self._matches(names, levels)):
            return None
        found: dict[str, str] = {}
        plain, _ = self._parted(names, levels)
        for index, name in enumerate(plain):
            values = self._values_in(index, name)
            if values is None:
                return None
            found |= values
        if self._account:
            return self._account
        account = found.get("account", found.get("user", ""))
        account = f"{account}@{found['domain']}" if self._domains else account
        return account if self._values(account) == found else None

    def _values_in(self, index: int, name: str) -> Mapping[str, str] | None:
        """What the placeholders of a component below the base stand for in a name; None where that
        doesn't match."""
        pattern = self._patterns[self._fixed + index]
        if pattern is None:
            return {} if name == self._parts[self._fixed + index] else None
        match = pattern.fullmatch(unstamped(name) if index == self._hashed else name)
        return match.groupdict() if match and _matchable(name) else None

    def may_be_level(self, names: Sequence[str], account: str | None = None) -> bool:
        """Whether the directory of an account's own, in these components of a mailbox, may also be
        a level behind which others are, or is this account."""
        if self._hashed is None:
            return False
        hashes = names[self._hashed : len(names) - len(self._tail)]
        if not 0 < len(hashes) <= DEPTH or not all(map(is_short, hashes)):
            return False
        wanted = self._values(account) if account is not None else None
        return not wanted or fits(hashes, wanted.get("account", wanted.get("user", "")))

    def mailbox_in(self, names: Sequence[str]) -> tuple[str, ...]:
        """The components of the mailbox of which these are the account's own directory."""
        return (*names, *self._tail)

    def behind(self, level: Sequence[str], account: str | None) -> Iterator[MailboxPlace]:
        """The directories behind a level, which is given by the components of what would be its
        mailbox, as places; with `account` only those of this one, and levels to it. Of no account
        are those whose names don't begin with the levels' characters. Raises OSError."""
        home = self.home(level)
        for name, is_directory in _listed(self.path(home)):
            parts = self.mailbox_in((*home, name))
            if is_directory and _matchable(name):
                found = self.account_at(parts) or ""
                if account in (found, None) or self.may_be_level(parts, account):
                    yield MailboxPlace(found, parts)

    def _values(self, account: str) -> Mapping[str, str] | None:
        """What the placeholders stand for in an account's path; None if it can't have one."""
        if self._account:
            return {} if account == self._account else None
        if self._domains:
            user, at, domain = account.rpartition("@")
            return {"user": user, "domain": domain} if at else None
        return {"account" if "{account}" in self.text else "user": account}

    def places(
        self,
        errors: list[SourceError],
        *,
        account: str | None = None,
        files: list[tuple[str, ...]] | None = None,
    ) -> Iterator[MailboxPlace]:
        """All paths behind no levels that match directories which exist now, the part after the
        last placeholder left unchecked; with `account` those of this one, and levels to it. What
        can't be read on the way is added to `errors`, and what is a file where a mailbox is
        expected to `files`. Raises SourceUnavailable if the base can't be read, and SourceEmpty if
        it doesn't exist."""
        wanted = {} if account is None else self._values(account)
        if wanted is None:
            return
        try:
            os.close(os.open(self.base, os.O_PATH | os.O_DIRECTORY))
            for parts in self._expand((), wanted, errors, files):
                found = self.account_at(parts) or ""
                if account in (found, None) or self.may_be_level(parts, account):
                    yield MailboxPlace(found, parts)
        except OSError as error:
            kind = SourceEmpty if isinstance(error, FileNotFoundError) else SourceUnavailable
            raise kind(
                f"{shown(self.base)}: {reason(error)}; check that the mail volume is mounted and "
                f"that the source's location is right: maildir:{self.text}"
            ) from error

    def _expand(
        self,
        names: tuple[str, ...],
        wanted: Mapping[str, str],
        errors: list[SourceError],
        files: list[tuple[str, ...]] | None,
    ) -> Iterator[tuple[str, ...]]:
        patterns = self._patterns[self._fixed :]
        following = (n for n in range(len(names), self.depth) if patterns[n])
        variable = next(following, self.depth)
        above = (*names, *self._parts[self._fixed + len(names) : self._fixed + variable])
        if variable == self.depth:
            yield above
            return
        try:
            found = _listed(self.path(above))
        except (FileNotFoundError, NotADirectoryError):
            if not names:
                raise
            return
        except OSError as error:
            if not names:
                raise
            errors.append(SourceError(shown(self.path(above)), reason(error)))
            return
        for name, is_directory in found:
            values = self._values_in(variable, name)
            if values is None:
                continue
            if not all(wanted.get(key, value) == value for key, value in values.items()) and not (
                variable == self._hashed and is_short(name)
            ):
                continue
            if is_directory:
                yield from self._expand((*above, name), wanted, errors, files)
            elif files is not None and variable == self.depth - 1:
                files.append((*above, name))

    def covers(self, path: str) -> bool:
        """Whether a path without symbolic links is one where accounts or their mail are looked
        for: a mailbox, inside one, or a directory (no level) whose subdirectories the placeholders
        match."""
        base = [part for part in os.path.realpath(self.base).split("/") if part]
        given = [part for part in path.split("/") if part]
        if given[: len(base)] != base:
            return False
        given = given[len(base) :]
        return any(self._covers(*self._parted(given, levels)) for levels in self._possible(given))

    def _covers(self, given: Sequence[str], hashes: Sequence[str]) -> bool:
        rest = self._parts[self._fixed :]
        for part, name in zip(rest, given, strict=False):
            pattern = _pattern(part)
            if not (pattern.fullmatch(name) if pattern else part == name):
                return False
        own = given[self._hashed :][:1] if hashes else ()
        if not all(fits(hashes, unstamped(name)) for name in own):
            return False
        above = not hashes and any(map(_pattern, rest[len(given) :]))
        return above or len(given) >= len(rest)


def _pattern(part: str) -> re.Pattern[str] | None:
    """What a component with placeholders, `*` or `?` matches; None for one without."""
    if not _PIECE.search(part):
        return None
    text, end = "", 0
    for piece in _PIECE.finditer(part):
        text += re.escape(part[end : piece.start()])
        text += f"(?P<{piece[1]}>.+)" if piece[1] else _WILD[piece[2]]
        end = piece.end()
    return re.compile(text + re.escape(part[end:]), re.DOTALL)


def _matchable(name: str) -> bool:
    """Whether a placeholder may match a directory of this name: not a path, hidden or special."""
    return not (name.startswith(".") or "/" in name or "\0" in name or name == "lost+found")


def _listed(path: str) -> list[tuple[str, bool]]:
    """The names in a directory, sorted, and whether each is a directory or a link to one."""
    with entries(path) as found:
        return sorted((entry.name, _is_directory(entry)) for entry in found)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Also true of a link whose target can't be looked at: opening it then says why."""
    try:
        return entry.is_dir()
    except OSError:
        return True
