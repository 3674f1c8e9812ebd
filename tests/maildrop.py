"""A Maildir as a mail server's delivery agent and its users' clients write to it.

Maildir++: folders are siblings of `cur`, named `.Work.Apollo`, with modified UTF-7 in the names and
keywords in `dovecot-keywords`, as Dovecot has them. File names and times are the caller's choice,
so that what happens here can be repeated exactly. For tests and the demo: nothing is synced.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

INBOX = "INBOX"


class Maildir:
    """One account's mailbox. Folders are named by path, as users see them: `Work/Apollo`.

    Messages are named by the unique part of their file's name. A wrong name is a KeyError.
    """

    def __init__(self, root: Path) -> None:
        """Opens the Maildir at `root`, which is made if it isn't there."""
        self.root = root
        self._numbers = itertools.count(1)
        for name in ("cur", "new", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def path(self, folder: str = INBOX) -> Path:
        """The directory of a folder."""
        return self.root if folder == INBOX else self.root / f".{directory_name(folder)}"

    def folders(self) -> list[str]:
        """All folders, sorted, the inbox first."""
        names = [entry.name[1:] for entry in self.root.iterdir() if re.match(r"\.[^.]", entry.name)]
        return [INBOX, *sorted(map(folder_name, names))]

    def messages(self, folder: str = INBOX) -> dict[str, Path]:
        """The files of a folder's messages, by unique name."""
        return {
            path.name.partition(":")[0]: path
            for place in ("cur", "new")
            for path in sorted((self.path(folder) / place).iterdir())
        }

    def deliver(
        self,
        raw: bytes,
        folder: str = INBOX,
        *,
        unique: str | None = None,
        delivered: int = 1_700_000_000_000_000,
        flags: str | None = None,
        keywords: Sequence[str] = (),
    ) -> str:
        """Writes a message to `tmp` and moves it to `new`, or with `flags` to `cur`.

        `delivered` is in microseconds since the epoch. Returns the unique name, made up from
        `delivered` unless given.
        """
        if unique is None:
            seconds, rest = divmod(delivered, 1_000_000)
            unique = f"{seconds}.M{rest}P{next(self._numbers)}.mx.example.com"
        here = self.path(folder)
        temporary = here / "tmp" / unique
        temporary.write_bytes(raw)
        os.utime(temporary, ns=(delivered * 1000, delivered * 1000))
        if flags is None and not keywords:
            temporary.rename(here / "new" / unique)
        else:
            temporary.rename(here / "cur" / self._name(folder, unique, flags or "", keywords))
        return unique

    def flag(
        self, unique: str, flags: str, folder: str = INBOX, *, keywords: Sequence[str] = ()
    ) -> Path:
        """Gives a message these flags and keywords instead of what it had: a rename into `cur`."""
        name = self._name(folder, unique, flags, keywords)
        return self.messages(folder)[unique].rename(self.path(folder) / "cur" / name)

    def move(self, unique: str, folder: str, target: str, *, new_unique: str | None = None) -> Path:
        """Moves a message with its flags, by rename; keywords too, under the target's letters."""
        source = self.messages(folder)[unique]
        return source.rename(self._twin(source, folder, target, new_unique or unique))

    def copy(self, unique: str, folder: str, target: str, *, new_unique: str | None = None) -> Path:
        """Copies a message as Dovecot does: a hard link into `tmp`, moved to `cur`."""
        source = self.messages(folder)[unique]
        twin = self._twin(source, folder, target, new_unique or unique)
        temporary = self.path(target) / "tmp" / twin.name
        temporary.hardlink_to(source)
        return temporary.rename(twin)

    def expunge(self, unique: str, folder: str = INBOX) -> None:
        """Deletes a message."""
        self.messages(folder)[unique].unlink()

    def create_folder(self, folder: str) -> Path:
        """Makes a folder. Its parents need not be there: Maildir++ has no place for them."""
        path = self.path(folder)
        for name in ("cur", "new", "tmp"):
            (path / name).mkdir(parents=True)
        (path / "maildirfolder").touch()
        return path

    def rename_folder(self, folder: str, target: str) -> None:
        """Renames or moves a folder with all that is below it: one directory after the other."""
        for name in self.folders():
            if name == folder or name.startswith(f"{folder}/"):
                self.path(name).rename(self.path(target + name.removeprefix(folder)))

    def delete_folder(self, folder: str) -> None:
        """Deletes a folder with its messages, and what is below it, as Dovecot does."""
        trashed = self.root / "..DOVECOT-TRASHED"
        for name in self.folders():
            if name == folder or name.startswith(f"{folder}/"):
                self.path(name).rename(trashed)
                shutil.rmtree(trashed)

    def set_times(self, folder: str, time: int) -> None:
        """Sets the times of a folder's `cur` and `new` to `time`, in microseconds."""
        for name in ("cur", "new"):
            os.utime(self.path(folder) / name, ns=(time * 1000, time * 1000))

    def keywords(self, folder: str = INBOX) -> list[str]:
        """The keywords of a folder; the first is the letter `a`."""
        try:
            text = (self.path(folder) / "dovecot-keywords").read_text()
        except FileNotFoundError:
            return []
        return [line.partition(" ")[2] for line in text.splitlines()]

    def _name(self, folder: str, unique: str, flags: str, keywords: Sequence[str]) -> str:
        """The file name of a message with these flags; new keywords are written down first."""
        known = self.keywords(folder)
        known += [keyword for keyword in keywords if keyword not in known]
        if keywords:
            file = self.path(folder) / "dovecot-keywords"
            temporary = file.with_name("dovecot-keywords.lock")
            temporary.write_text("".join(f"{i} {word}\n" for i, word in enumerate(known)))
            temporary.rename(file)
        letters = "".join(chr(ord("a") + known.index(keyword)) for keyword in keywords)
        return f"{unique}:2,{''.join(sorted(set(flags)))}{''.join(sorted(set(letters)))}"

    def _twin(self, source: Path, folder: str, target: str, unique: str) -> Path:
        """Where a message of `folder` has its place in `target`, with the same flags."""
        letters = source.name.partition(":2,")[2]
        if source.parent.name == "new":
            return self.path(target) / "new" / unique
        words = [self.keywords(folder)[ord(c) - ord("a")] for c in letters if c.islower()]
        flags = "".join(letter for letter in letters if letter.isupper())
        return self.path(target) / "cur" / self._name(target, unique, flags, words)


def directory_name(folder: str) -> str:
    """`Entwürfe/2024` as `Entw&APw-rfe.2024`: modified UTF-7 (RFC 3501, section 5.1.3) and dots."""

    def encoded(run: re.Match[str]) -> str:
        if run[0] == "&":
            return "&-"
        return f"&{base64.b64encode(run[0].encode('utf-16-be'), b'+,').decode().rstrip('=')}-"

    return re.sub(r"&|[^ -~]+", encoded, folder).replace("/", ".")


def folder_name(directory: str) -> str:
    """The inverse of `directory_name`."""

    def decoded(run: re.Match[str]) -> str:
        text = run[1] + "=" * (-len(run[1]) % 4)
        return base64.b64decode(text, b"+,").decode("utf-16-be") if run[1] else "&"

    return re.sub(r"&([^-]*)-", decoded, directory.replace(".", "/"))
