"""A mail server with real Maildirs on disk, which also remembers by itself what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeVar
from zlib import crc32

from tests.maildrop import INBOX, Maildir

FLAG_NAMES = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}

FolderPath = tuple[str, ...]


_MARKS = count()
_Value = TypeVar("_Value")


class Message(NamedTuple):
    """A message as it is now."""

    raw: bytes
    delivered: int
    """Microseconds since the epoch."""
    flags: tuple[str, ...]
    """As IMAP names them, sorted."""


class Mailbox:
    """What is in an account."""

    def __init__(self, guid: str, directory: str) -> None:
        self.guid = guid
        self.directory = directory
        """Device and inode."""
        self.folders: dict[str, dict[str, Message]] = {INBOX: {}}
        """Messages by unique name, of the folders that have a directory."""
        self.marks: dict[str, int] = {INBOX: next(_MARKS)}
        """What such a folder keeps when it is renamed, as its directory does."""
        self.subscriptions: tuple[str, ...] | None = None


class AccountShown(NamedTuple):
    """What a view must show of an account."""

    folders: dict[FolderPath, dict[bytes, Message]]
    """Messages by identity, by the folder's path; parents that are only implied are there, too."""
    meta: dict[str, list[str]]


Shown = dict[str, AccountShown]
"""What a view must show, by account."""


def content(text: str) -> bytes:
    """The message that a word stands for."""
    head = f"From: {text}@example.org\nTo: alice@example.com\nSubject: About {text}\n\n"
    return head.encode() + f"{text}\n".encode() * (crc32(text.encode()) % 40)


class Server:
    """The tree `ROOT/mail/ACCOUNT`. Every method is a line of a story: verb and words."""

    def __init__(self, root: Path) -> None:
        self.mail = root / "mail"
        self.away = root / "away"
        self.mail.mkdir()
        self.away.mkdir()
        self.mailboxes: dict[str, Mailbox] = {}
        self.vanished: dict[str, Mailbox] = {}
        """Mailboxes that were taken away, and may be put back."""
        self._time = 1_600_000_000_000_000

    @property
    def location(self) -> str:
        """The source that shows this server."""
        return f"maildir:{self.mail}/{{account}}"

    def shown(self) -> Shown:
        """What a view of this moment must show."""
        return {account: shown(mailbox) for account, mailbox in self.mailboxes.items()}

    # Accounts

    def appear(self, account: str, guid: str = "") -> None:
        """A new account; `guid` is what Dovecot names its inbox by."""
        maildir = Maildir(self.mail / account)
        if guid:
            (maildir.root / "dovecot-uidlist").write_text(f"3 V1 N1 G{guid}\n")
        status = maildir.root.stat()
        self.mailboxes[account] = Mailbox(guid, f"{status.st_dev}:{status.st_ino}")
        self.touched(account, INBOX)

    def vanish(self, account: str) -> None:
        """An account is gone, and can return."""
        (self.mail / account).rename(self.away / account)
        self.vanished[account] = self.mailboxes.pop(account)

    def come_back(self, account: str) -> None:
        """An account that had vanished is there again, as it was."""
        (self.away / account).rename(self.mail / account)
        self.mailboxes[account] = self.vanished.pop(account)

    def rename_account(self, account: str, target: str) -> None:
        (self.mail / account).rename(self.mail / target)
        self.mailboxes[target] = self.mailboxes.pop(account)

    def subscribe(self, account: str, *folders: str) -> None:
        """The account's subscriptions are these."""
        path = self.mail / account / "subscriptions"
        path.write_text("V\t2\n\n" + "".join(f"{f.replace('/', chr(9))}\n" for f in folders))
        self.mailboxes[account].subscriptions = folders

    # Folders

    def folder(self, account: str, path: str) -> None:
        """A new folder."""
        self._maildir(account).create_folder(path)
        mailbox = self.mailboxes[account]
        mailbox.folders[path] = {}
        mailbox.marks[path] = next(_MARKS)
        self.touched(account, path)

    def found(self, account: str, path: str) -> None:
        """A folder is there that somebody else has made, if it isn't known."""
        mailbox = self.mailboxes[account]
        if path not in mailbox.folders:
            mailbox.folders[path] = {}
            mailbox.marks[path] = next(_MARKS)

    def rename(self, account: str, path: str, target: str) -> None:
        """A folder is renamed, or moved, with all that is below it."""
        self._maildir(account).rename_folder(path, target)
        _rename_keys(self.mailboxes[account].folders, path, target)
        _rename_keys(self.mailboxes[account].marks, path, target)

    def remove(self, account: str, path: str) -> None:
        """A folder is deleted, with all that is below it."""
        self._maildir(account).delete_folder(path)
        mailbox = self.mailboxes[account]
        for name in below(mailbox.folders, path):
            del mailbox.folders[name]
            del mailbox.marks[name]

    # Messages

    def deliver(
        self, account: str, unique: str, text: str, folder: str, flags: str = "", *keywords: str
    ) -> None:
        """A message arrives: in `new`, or with flags (`-` for none) in `cur`. Its date goes with
        its text: whoever delivers it again under the same name delivers the same."""
        delivered = 1_500_000_000_000_000 + crc32(text.encode()) * 1000
        letters = flags.replace("-", "") if flags else None
        self._maildir(account).deliver(
            content(text),
            folder,
            unique=unique,
            delivered=delivered,
            flags=letters,
            keywords=keywords,
        )
        message = Message(content(text), delivered, flag_names(letters or "", keywords))
        self.mailboxes[account].folders[folder][unique] = message
        self.touched(account, folder)

    def flag(self, account: str, unique: str, folder: str, flags: str, *keywords: str) -> None:
        """A message gets these flags (`-` for none) and keywords, and loses others."""
        letters = flags.replace("-", "")
        self._maildir(account).flag(unique, letters, folder, keywords=keywords)
        messages = self.mailboxes[account].folders[folder]
        messages[unique] = messages[unique]._replace(flags=flag_names(letters, keywords))
        self.touched(account, folder)

    def move(self, account: str, unique: str, folder: str, target: str) -> None:
        self._maildir(account).move(unique, folder, target)
        folders = self.mailboxes[account].folders
        folders[target][unique] = folders[folder].pop(unique)
        self.touched(account, folder, target)

    def copy(self, account: str, unique: str, folder: str, target: str, new: str = "") -> None:
        """A message is copied, under another unique name if `new` is given."""
        new = new or unique
        self._maildir(account).copy(unique, folder, target, new_unique=new)
        folders = self.mailboxes[account].folders
        folders[target][new] = folders[folder][unique]
        self.touched(account, folder, target)

    def delete(self, account: str, unique: str, folder: str) -> None:
        self._maildir(account).expunge(unique, folder)
        del self.mailboxes[account].folders[folder][unique]
        self.touched(account, folder)

    def _maildir(self, account: str) -> Maildir:
        return Maildir(self.mail / account)

    def touched(self, account: str, *folders: str) -> None:
        """Gives the folders' directories times that nobody has seen yet, long ago: so each change
        shows, although a scan may believe that the directory has stood still for long."""
        for folder in folders:
            self._time += 1_000_000
            self._maildir(account).set_times(folder, self._time)


def below(folders: Iterable[str], path: str) -> list[str]:
    """The folder and those below it, of those that have a directory."""
    return [name for name in folders if name == path or name.startswith(f"{path}/")]


def flag_names(letters: str, keywords: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({FLAG_NAMES[letter] for letter in letters} | set(keywords)))


def shown(mailbox: Mailbox) -> AccountShown:
    """What a view must show of a mailbox."""
    folders: dict[FolderPath, dict[bytes, Message]] = {}
    for name, messages in mailbox.folders.items():
        path = tuple(name.split("/"))
        folders[path] = {unique.encode(): message for unique, message in messages.items()}
    for path in list(folders):
        for parent in parents(path):
            folders.setdefault(parent, {})
    subscriptions = mailbox.subscriptions
    meta = {} if subscriptions is None else {"subscriptions": list(subscriptions)}
    return AccountShown(folders, meta)


def parents(path: FolderPath) -> Iterator[FolderPath]:
    """The folders that hold a folder."""
    return (path[:length] for length in range(1, len(path)))


def _rename_keys(values: dict[str, _Value], path: str, target: str) -> None:
    """What is known of a folder, and of all that is below it, is known by their new paths."""
    for name in below(values, path):
        values[target + name.removeprefix(path)] = values.pop(name)
