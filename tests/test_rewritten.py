"""Tests of contents that change under the same name: by ransomware, or by a server that decrypts.

Real scans of real Maildirs. Nothing here waits: only the order of the times of change counts, and
`old` says when a file system counts them too coarsely for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.backup import Backup, create
from engine.connectors.maildir import directories, mailbox
from engine.connectors.sources import open_source
from engine.domain.model import Action, Version
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.scan.loss import Turnover
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.scan.states import KnownFolder
from engine.scan.survey import Files
from engine.system.progress import Progress
from engine.system.stop import Stop
from tests.commands import until
from tests.following import Post
from tests.maildrop import Maildir

GARBAGE = b"\xd8\x91\x03 encrypted"


class Site:
    """A mail server with one account, and its backup."""

    def __init__(self, root: Path) -> None:
        self.alice = Maildir(root / "mail" / "alice")
        self.spec = f"maildir:{root}/mail/{{user}}"
        create(root / "backup", [self.spec])
        self.backup = Backup(root / "backup", write=True)

    def scan(self, **options: Any) -> Result:
        source = open_source(self.spec, self.backup.clock, self.backup.settings)
        named = [NamedSource(self.spec, source)]
        return scan(self.backup, named, ScanOptions(**options), Stop())

    def letters(self, count: int, folder: str = "INBOX") -> list[str]:
        return [
            self.alice.deliver(b"Subject: %d\n\n%d\n" % (n, n), folder, flags="S")
            for n in range(count)
        ]

    def contents(self) -> dict[str, tuple[bytes, int]]:
        """The living messages by unique name: what they contain, and their edition."""
        with self.backup.reader() as reader:
            found = {version.identity.decode(): version for version in _living(reader)}
        return {
            name: (self.backup.read_blob(version.digest), version.edition)
            for name, version in found.items()
        }

    def actions(self) -> list[int]:
        with self.backup.reader() as reader:
            last = reader.last_sequence()
            return [reader.transaction(number).action for number in range(1, last + 1)]


def _living(reader: Reader) -> Iterator[Version]:
    [account] = reader.accounts()
    for folder in reader.cursors(account.item):
        for entry in reader.entries(folder, MAX_SEQUENCE):
            if not entry.version.container:
                yield entry.version


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for module in (directories, mailbox):  # this file system counts finely
        monkeypatch.setattr(module, "SETTLING", 0)
    made = Site(tmp_path)
    yield made
    made.backup.close()


def overwrite(path: Path, content: bytes = GARBAGE) -> None:
    """In place, with the same length and times, as whoever hides it does."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content.ljust(before.st_size)[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_each_folder_has_its_turn(site: Site) -> None:
    for number in range(20):
        site.alice.create_folder(f"F{number}")
        site.letters(1, f"F{number}")
    site.scan()
    for number in range(20):
        [path] = site.alice.messages(f"F{number}").values()
        overwrite(path)
    changed = [site.scan().tally.changed for _ in range(7)]
    assert sum(changed) == 20
    assert max(changed) <= 4
    assert site.scan().tally.changed == 0
    assert all(edition == 1 for _, edition in site.contents().values())


@pytest.mark.parametrize("options", [{"deep": True}, {"written": True}], ids=str)
def test_all_folders_are_looked_at_where_that_is_asked_for(
    site: Site, options: dict[str, bool]
) -> None:
    letters = site.letters(5)
    site.scan()
    overwrite(site.alice.messages()[letters[3]])
    result = site.scan(**options)
    assert (result.tally.changed, result.tally.rewritten, result.tally.problems) == (1, 1, [])
    assert site.contents()[letters[3]][0].startswith(GARBAGE[:8])
    assert site.actions()[-1] == Action.CONTENT
    assert site.scan(**options).tally.changed == 0


def test_a_dry_run_foresees_what_a_deep_scan_would_find(site: Site) -> None:
    letters = site.letters(5)
    site.scan()
    for letter in letters[:2]:
        overwrite(site.alice.messages()[letter])
    before = site.contents()
    foreseen = site.scan(deep=True, dry_run=True).tally
    assert (foreseen.changed, foreseen.rewritten, foreseen.created) == (2, 2, 0)
    assert site.contents() == before
    assert site.scan(deep=True).tally.changed == 2
    assert site.scan(deep=True, dry_run=True).tally.changed == 0


def test_files_of_a_folder_that_changed_are_looked_at(site: Site) -> None:
    letters = site.letters(5)
    site.scan()
    overwrite(site.alice.messages()[letters[0]])
    site.alice.deliver(b"another")
    result = site.scan()
    assert (result.tally.created, result.tally.changed) == (1, 1)


def replaced(path: Path) -> None:
    new = path.with_name("new file")
    new.write_bytes(GARBAGE)
    new.rename(path)


def flagged(path: Path) -> None:
    overwrite(path)
    path.rename(f"{path}F")


def moved(path: Path) -> None:
    overwrite(path)
    path.rename(path.parents[2] / ".Other" / "cur" / path.name)


def folder_renamed(path: Path) -> None:
    overwrite(path)
    path.parent.parent.rename(path.parent.parent.with_name(".Renamed"))


@pytest.mark.parametrize("way", [replaced, flagged, moved, folder_renamed])
def test_each_way_to_change_a_content_is_noticed(site: Site, way: Callable[[Path], None]) -> None:
    site.alice.create_folder("Work")
    site.alice.create_folder("Other")
    letters = site.letters(3, "Work")
    site.scan()
    way(site.alice.messages("Work")[letters[1]])
    result = site.scan()
    assert (result.tally.created, result.tally.deleted, result.tally.rewritten) == (0, 0, 1)
    content, edition = site.contents()[letters[1]]
    assert content.startswith(GARBAGE[:8])
    assert edition == 1


def test_what_only_looks_written_to_records_nothing(site: Site) -> None:
    letters = site.letters(4)
    site.scan()
    paths = site.alice.messages()
    paths[letters[0]].chmod(0o640)
    os.link(paths[letters[1]], site.alice.root / "linked")
    content = paths[letters[2]].read_bytes()
    overwrite(paths[letters[2]], content)
    assert site.scan(written=True).tally.changed == 0
    site.alice.flag(letters[3], "SF")
    result = site.scan()
    assert (result.tally.changed, result.tally.rewritten) == (1, 0)
    assert all(edition == 0 for _, edition in site.contents().values())


def test_what_could_not_be_read_again_is_read_later(site: Site) -> None:
    letters = site.letters(2)
    site.scan()
    path = site.alice.messages()[letters[0]]
    overwrite(path)
    size = path.stat().st_size
    os.truncate(path, 1 << 40)
    [problem] = site.scan(written=True).tally.problems
    assert "largest_message" in problem.what
    os.truncate(path, size)
    result = site.scan()
    assert (result.tally.rewritten, result.tally.problems) == (1, [])


def test_a_journal_from_before_is_not_read_again_as_a_whole(site: Site) -> None:
    site.letters(3)
    site.scan()
    with site.backup.reader() as reader:
        [account] = reader.accounts()
        cursors = reader.cursors(account.item)
    with site.backup.journal.commit(account.item) as commit:
        for folder, cursor in cursors.items():
            commit.set_cursor(folder, replace(cursor, looked=0))
    read: list[int] = []
    source = open_source(site.spec, site.backup.clock, site.backup.settings)

    class Counting(Progress):
        def advance(self, unit: str, count: int = 1) -> None:
            if unit == "messages":
                read.append(count)

    scan(site.backup, [NamedSource(site.spec, source)], ScanOptions(), Stop(), Counting())
    assert not read
    with site.backup.reader() as reader:
        assert all(cursor.looked for cursor in reader.cursors(account.item).values())


def test_files_with_a_suffix_are_others(site: Site) -> None:
    site.letters(10)
    site.scan()
    for path in site.alice.messages().values():
        path.write_bytes(GARBAGE)
        path.rename(f"{path}.locked")
    result = site.scan()
    assert (result.tally.created, result.tally.deleted) == (10, 10)
    [turnover] = result.turnover
    assert turnover.sudden(33, 10)


def test_mass_changes_of_content_are_as_alarming_as_deletions(site: Site) -> None:
    site.letters(30)
    site.scan()
    for number, path in enumerate(site.alice.messages().values()):
        if number < 10:
            path.unlink()
        elif number < 20:
            overwrite(path)
    assert site.scan().turnover == [Turnover("alice", 30, 10, 10)]
    assert Turnover("alice", 30, 10, 10).sudden(66, 20)
    assert not Turnover("alice", 30, 10, 10).sudden(67, 20)
    assert not Turnover("alice", 30, 10, 10).sudden(66, 21)


def test_the_real_time_scan_hears_of_it(tmp_path: Path) -> None:
    post = Post(tmp_path)
    alice = post.maildir("alice")
    first, second = (alice.deliver(letter, flags="S") for letter in (b"one letter", b"another"))
    with post.followed():
        overwrite(alice.messages()[first], b"garbage")
        until(lambda: post.heard.rewritten() == 1, "the new content is recorded")
        alice.flag(second, "SF")
        post.caught_up()
    assert post.heard.rewritten() == 1
    post.close()


def test_which_folders_are_asked() -> None:
    folder = KnownFolder(9, ("Work",), 2, frozenset(), b"", looked=5)
    assert not Files().asked(folder, changed=True)
    assert Files(changed=True).asked(folder, changed=True)
    assert not Files(changed=True).asked(folder, changed=False)
    assert [Files(every=3, turn=turn).asked(folder, changed=False) for turn in range(4)] == [
        True,
        False,
        False,
        True,
    ]
    assert Files(hinted=[("Work",)]).asked(folder, changed=False)
    assert Files(hinted=[None]).asked(folder, changed=False)
    assert not Files(hinted=[("Other",)]).asked(folder, changed=False)
