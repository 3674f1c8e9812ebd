"""Tests of mounts whose backup changes: a directory that lists something else has another mtime.

Programs that remember what they have read (notmuch, mutt, rsync, a kernel) go by that. So it must
hold for each directory of each view that can change, and for each change; and of a file either the
size or the mtime tells that its content is another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.domain.model import Kind
from engine.journal.writer import Draft
from tests.backups import MINUTE, SmallBackup, letter
from tests.commands import until
from tests.mounting import AT_ONCE, mounted

ALICE = "alice@example.com"
HIDDEN = (".deleted", ".maildir")
VIEWS = {False: ("latest", "2025"), True: ("latest", "1h-ago")}
"""Without and with the extension. The other one is an instant that the journal isn't past, or one
that moves: the clock of the backup is in 2024, that of the mount is not."""


class Seen(NamedTuple):
    """What stat(2) tells of a directory or file, and what is in it."""

    size: int
    mtime: int
    content: object
    """The names with their inodes, or the bytes."""


@pytest.fixture(params=[False, True], ids=["plain", "extension"])
def extension(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def see(path: Path, found: dict[str, Seen], name: str = "") -> dict[str, Seen]:
    """All that is at and below a path, with what isn't listed."""
    if path.is_dir():
        names = {entry.name: entry.inode() for entry in os.scandir(path)}
        hidden = [below for below in HIDDEN if name.count("/") < 2 and (path / below).exists()]
        for below in (*names, *hidden):
            see(path / below, found, f"{name}/{below}")
        content: object = names
    else:
        content = path.read_bytes()
    status = path.stat()
    found[name] = Seen(status.st_size, status.st_mtime_ns, content)
    return found


def steps(small: SmallBackup) -> Iterator[tuple[str, Callable[[], object]]]:
    """A history in which everything happens that a source can report."""
    at: dict[str, int] = {}

    def note(name: str, item: int) -> None:
        at[name] = item

    def arrive(number: int) -> None:
        note(str(number), small.message(at["alice"], at["INBOX"], letter(number)))

    def again(name: str, kind: Kind, folder: int) -> None:
        with small.backup.journal.commit(at["alice"]) as commit:
            small.clock.advance(MINUTE)
            commit.restore(at[name], Draft(kind, folder, name, name.encode()))

    yield "the first account", lambda: note("alice", small.account(ALICE))
    yield "a folder", lambda: note("INBOX", small.folder(at["alice"], "INBOX"))
    yield "another", lambda: note("Work", small.folder(at["alice"], "Work"))
    yield "one in it", lambda: note("Deep", small.folder(at["alice"], "Deep", at["Work"]))
    for number in range(4):
        yield "a message", partial(arrive, number)
    yield "one below", lambda: note("low", small.message(at["alice"], at["Deep"], letter(9)))
    change = small.change
    yield "a flag", lambda: change(at["alice"], at["0"], flags=("\\Seen",))
    yield "a keyword", lambda: change(at["alice"], at["0"], flags=("todo",))
    yield "another of that length", lambda: change(at["alice"], at["0"], flags=("done",))
    yield "a move", lambda: change(at["alice"], at["1"], folder=at["Work"])
    yield "a deletion", lambda: small.delete(at["alice"], at["0"])
    yield "one below", lambda: small.delete(at["alice"], at["low"])
    yield "a return elsewhere", lambda: again("0", Kind.MESSAGE, at["Work"])
    yield "a renamed folder below", lambda: change(at["alice"], at["Deep"], name="Depths")
    yield "a moved folder", lambda: change(at["alice"], at["Deep"], folder=at["alice"])
    yield "the inbox renamed", lambda: change(at["alice"], at["INBOX"], name="Old")
    yield "another inbox", lambda: change(at["alice"], at["Work"], name="INBOX")
    yield "changed metadata", lambda: change(at["alice"], at["alice"], meta={"quota": 5})
    yield "another account", lambda: note("bob", small.account("bob@example.com"))
    yield "the end of a scan", lambda: small.scan_end()
    yield "a deleted account", lambda: small.delete(at["alice"], at["alice"])
    yield "which returns", lambda: again("alice", Kind.ACCOUNT, 1)
    yield "and is renamed", lambda: change(at["alice"], at["alice"], name="al@example.com")
    yield "the end of a scan", lambda: small.scan_end()


def test_what_has_changed_has_another_mtime(
    small: SmallBackup, tmp_path: Path, extension: bool
) -> None:
    changed, views = 0, VIEWS[extension]
    with mounted(small.path, tmp_path / "point", prelude=AT_ONCE, extension=extension) as mount:

        def look() -> dict[str, Seen]:
            found: dict[str, Seen] = {}
            for view in views:
                see(mount.point / view, found, view)
            status = mount.point.stat()
            names = os.listdir(mount.point)
            return found | {"": Seen(0, status.st_mtime_ns, names)}

        before = look()
        for what, step in steps(small):
            step()
            after = look()
            for path in before.keys() & after.keys():
                if before[path].content != after[path].content:
                    assert before[path][:2] != after[path][:2], (what, path)
                    changed += 1
            shown = [
                sorted(path.partition("/")[2] for path in after if path.startswith(view))
                for view in views
            ]
            assert shown[0] == shown[1], what
            before = after
    assert changed > 100


def test_what_the_kernel_keeps_it_keeps_for_a_second_at_most(
    small: SmallBackup, tmp_path: Path, extension: bool
) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1), flags=("todo",))
    with mounted(small.path, tmp_path / "point", extension=extension) as mount:
        account_directory = mount.point / "latest" / ALICE
        keywords = mount.point / "latest" / ".maildir" / ALICE / "dovecot-keywords"
        with keywords.open() as opened:
            assert keywords.read_text() == "0 todo\n"
            (name,) = os.listdir(account_directory / "INBOX")
            small.change(account, message, flags=("done",))
            until(lambda: keywords.read_text() == "0 done\n", "the other keyword")
            assert opened.read() in ("0 todo\n", "0 done\n")
        small.delete(account, message)
        deleted = account_directory / ".deleted" / "INBOX" / name
        until(lambda: not (account_directory / "INBOX" / name).exists(), "the deletion")
        until(lambda: deleted.exists(), "the deleted message")
        assert deleted.read_bytes() == letter(1)
        small.scan_end()
        until(lambda: "2024-05-01T00:06:00" in os.listdir(mount.point), "the listed instant")
        assert (mount.point / "2024-05-01T00:06:00" / ALICE / ".deleted" / "INBOX" / name).exists()
