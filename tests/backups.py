"""Small backups made straight through the engine, without any mail server."""

from __future__ import annotations

from pathlib import Path

from engine.backup import Backup, create
from engine.blobs import encode_location
from engine.domain.messages import parse_headers
from engine.domain.model import ROOT, Kind
from engine.domain.naming import message_stem
from engine.journal.records import FolderCursor, ScanRecord, StoreState
from engine.journal.writer import Content, Draft
from engine.system.clock import ManualClock

START = 1_714_521_600_000_000
"""2024-05-01T00:00:00Z, where the clocks of small backups begin."""
MINUTE = 60_000_000


class SmallBackup:
    """A backup whose history a test writes line by line. Every step is one commit, a minute after
    the one before."""

    def __init__(self, path: Path, *, start: int = START) -> None:
        self.clock = ManualClock(start)
        create(path, [f"maildir:{path.parent}/mail/{{account}}"], self.clock)
        self.path = path
        self.backup = Backup(path, write=True, clock=self.clock)

    def account(self, name: str) -> int:
        """A new account."""
        self.clock.advance(MINUTE)
        with self.backup.journal.commit() as commit:
            item = commit.create(Draft(Kind.ACCOUNT, ROOT, name, name.encode()))
            commit.set_store_state(StoreState(location="maildir:/nowhere", guid=name))
        return item

    def busy(self) -> None:
        """A history of which the journal has more than a hundred pages."""
        alice = self.account("alice@example.com")
        inbox, work = self.folder(alice, "INBOX"), self.folder(alice, "Work")
        for turn in range(10):
            items = self.messages(alice, inbox, [letter(turn * 40 + n) for n in range(40)])
            self.change(alice, items[0], flags=("\\Seen",))
            self.delete(alice, items[1])
            self.change(alice, items[2], folder=work)
            self.scan_end()

    def folder(self, account: int, name: str, parent: int | None = None) -> int:
        """A new folder in the account, or below `parent`."""
        self.clock.advance(MINUTE)
        with self.backup.journal.commit(account) as commit:
            item = commit.appear(Draft(Kind.FOLDER, parent or account, name, name.encode()))
            commit.set_cursor(item, FolderCursor(("dir:1:2",), b"where"))
        return item

    def message(
        self,
        account: int,
        folder: int,
        content: bytes,
        *,
        identity: bytes = b"",
        flags: tuple[str, ...] = (),
    ) -> int:
        """A new message (or one that returns, where identity and content say so)."""
        return self.messages(account, folder, [content], identities=[identity], flags=flags)[0]

    def messages(
        self,
        account: int,
        folder: int,
        contents: list[bytes],
        *,
        identities: list[bytes] | None = None,
        flags: tuple[str, ...] = (),
    ) -> list[int]:
        """Messages recorded in one commit."""
        self.clock.advance(MINUTE)
        items = []
        with self.backup.blob_writer() as writer:
            drafts = []
            for number, content in enumerate(contents):
                headers = parse_headers(content)
                date = self.clock.now() - MINUTE + number
                digest = writer.add(content)
                identity = identities[number] if identities else b""
                drafts.append(
                    Draft(
                        kind=Kind.MESSAGE,
                        folder=folder,
                        name=message_stem(date, headers.sender, headers.subject),
                        identity=identity or digest[:8].hex().encode(),
                        content=Content(digest, len(content), date, headers),
                        flags=flags,
                    )
                )
            flushed = writer.flush()
            with self.backup.journal.commit(account) as commit:
                blobs = ((digest, encode_location(place)) for digest, place in flushed.blobs)
                commit.index(blobs, flushed.lengths, flushed.needed)
                items = [commit.appear(draft) for draft in drafts]
        return items

    def change(self, account: int, item: int, **changes: object) -> None:
        """A change of one item, as `Commit.change` takes it."""
        self.clock.advance(MINUTE)
        with self.backup.journal.commit(account) as commit:
            commit.change(item, **changes)  # type: ignore[arg-type]

    def delete(self, account: int, *items: int) -> None:
        """Deletes items, in one commit."""
        self.clock.advance(MINUTE)
        with self.backup.journal.commit(account) as commit:
            for item in items:
                commit.delete(item)
                commit.drop_cursor(item)

    def scan_end(self) -> int:
        """Marks the end of a smart scan, and returns it."""
        self.clock.advance(MINUTE)
        record = ScanRecord(self.clock.now(), 0, True, 1, 0, 0, 0, 0)
        return self.backup.journal.finish_scan(record, []).end

    def close(self) -> None:
        self.backup.close()


def letter(number: int, *, sender: str = "Bob <bob@example.com>", size: int = 200) -> bytes:
    """A small message; every number another one."""
    head = f"From: {sender}\nTo: alice@example.com\nSubject: Letter {number}\n"
    head += f"Message-ID: <{number}@example.com>\nDate: Wed, 1 May 2024 10:00:00 +0000\n\n"
    text = f"Letter {number}. " * (size // 10)
    return (head + text + "\n").encode()
