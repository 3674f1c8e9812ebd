"""Tests of mailboxes whose files were damaged: restores compare with what is there, and `engine
restore --contents` puts messages back under their own names."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from engine.cli import main
from engine.connectors import ownership
from engine.connectors.maildir import delivery_named, dotlock
from engine.connectors.maildir.delivery_named import KEPT, NamedFolder
from engine.connectors.source import SourceItem
from engine.domain.kinds import Kind
from engine.domain.paths import INBOX, FolderPath
from engine.query.accounts import Account
from engine.restore import existing
from engine.restore.contents import plan_contents
from engine.restore.selection import Message, Selection
from engine.system.beneath import open_tree
from tests.deliveries import delivery
from tests.maildrop import Maildir
from tests.test_rewritten import overwrite

COUNT = 40
DATE = 1_600_000_000_000_000


class Site:
    """A server with one account, that was scanned once."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.alice = Maildir(root / "mail" / "alice")
        self.alice.create_folder("Work")
        self.letters = {
            self.alice.deliver(
                b"Subject: %d\n\n%d\n" % (n, n), folder, delivered=DATE, flags="S"
            ): (
                folder,
                b"Subject: %d\n\n%d\n" % (n, n),
            )
            for n in range(COUNT)
            for folder in ("INBOX" if n % 2 else "Work",)
        }
        self.backup = root / "backup"
        self.run("init", "--source", f"maildir:{root}/mail/{{user}}")
        self.scan()

    def run(self, *argv: str, status: int = 0) -> tuple[str, str]:
        self._capsys.readouterr()
        ended = main([argv[0], "-b", str(self.backup), *argv[1:]])
        out, err = self._capsys.readouterr()
        assert ended == status, (out, err)
        return out, err

    def scan(self) -> str:
        return self.run("scan")[0]

    def files(self) -> dict[str, Path]:
        return self.alice.messages() | self.alice.messages("Work")

    def kept(self) -> list[bytes]:
        """What is kept of what was replaced."""
        return [path.read_bytes() for path in (self.alice.root / KEPT).rglob("*") if path.is_file()]

    def is_whole(self) -> bool:
        """Whether exactly what was delivered is there, under the names of then."""
        return {
            name: (path.parent.parent == self.alice.path(folder), path.read_bytes())
            for name, path in self.files().items()
            for folder in (self.letters[name][0],)
        } == {name: (True, content) for name, (_, content) in self.letters.items()}


@pytest.fixture
def site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("TIMEFS_BACKUP", raising=False)
    return Site(tmp_path, capsys)


def damage(site: Site) -> None:
    for path in site.files().values():
        overwrite(path)


def test_a_restore_does_not_take_garbage_for_what_was_there(site: Site) -> None:
    damage(site)
    out, _ = site.run("restore", "alice", "--at", "latest", "--yes", "--no-scan", "--to-original")
    assert f"{COUNT} restored, 0 skipped, 0 failed" in out
    out, _ = site.run("restore", "alice", "--at", "latest", "--yes", "--no-scan", "--to-original")
    assert f"0 restored, {COUNT} skipped, 0 failed" in out


def test_contents_come_back_under_their_own_names(site: Site) -> None:
    damage(site)
    names = sorted(path.name for path in site.files().values())
    out, err = site.run("restore", "alice", "--contents")
    assert f"{COUNT} restored, 0 skipped, 0 failed; {COUNT} of them damaged" in out
    assert err == ""
    assert site.is_whole()
    assert sorted(path.name for path in site.files().values()) == names
    assert {path.stat().st_mtime_ns // 1000 for path in site.files().values()} == {DATE}
    assert len(site.kept()) == COUNT
    assert all(b"encrypted" in content for content in site.kept())
    assert os.listdir(site.alice.root / "tmp") == []
    out, _ = site.run("restore", "alice", "--contents")
    assert f"0 restored, {COUNT} skipped, 0 failed" in out
    assert "0 created, 0 changed, 0 deleted, 0 problems" in site.scan()


def test_what_was_recorded_of_the_damage_is_told_and_the_state_before_comes_back(
    site: Site,
) -> None:
    before = json.loads(site.run("status", "--json")[0])["last_scan"]
    damage(site)
    assert f"{COUNT} changed" in site.run("scan", "--deep")[0]
    out, err = site.run("restore", "alice", "--contents", status=1)
    assert f"0 restored, {COUNT} skipped" in out
    assert f"{COUNT} messages got another content since they came" in err
    out, err = site.run("restore", "alice", "--contents", "--at", before)
    assert f"{COUNT} restored" in out
    assert err == ""
    assert site.is_whole()
    assert f"{COUNT} changed" in site.run("scan", "--deep")[0]


def test_what_is_missing_comes_back_and_what_was_moved_stays(site: Site) -> None:
    inbox, work = site.alice.messages(), site.alice.messages("Work")
    locked, deleted, moved, hurt, *_ = inbox
    content = site.letters[locked][1]
    overwrite(inbox[locked])
    inbox[locked].rename(f"{inbox[locked]}.locked")
    inbox[deleted].unlink()
    for name in (moved, hurt):
        inbox[name].rename(site.alice.path("Work") / "cur" / inbox[name].name)
    overwrite(site.alice.messages("Work")[hurt])
    again, *_ = work
    work[again].rename(work[again].with_name("1.restored.before:2,"))
    out, _ = site.run("restore", "alice", "--contents")
    assert f"3 restored, {COUNT - 3} skipped, 0 failed; 1 of them damaged" in out
    assert inbox[locked].read_bytes() == content
    assert inbox[deleted].exists()
    assert not inbox[moved].exists()
    assert site.alice.messages("Work")[hurt].read_bytes() == site.letters[hurt][1]
    assert again not in site.files()


def test_a_dry_run_writes_nothing(site: Site) -> None:
    damage(site)
    before = {path: path.read_bytes() for path in site.files().values()}
    out, _ = site.run("restore", "alice", "--contents", "--dry-run")
    assert f"It would be: {COUNT} restored" in out
    assert {path: path.read_bytes() for path in site.files().values()} == before
    assert not (site.alice.root / KEPT).exists()


def test_where_names_cannot_come_back_copies_are_added_and_that_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing, "OwnNames", int)  # as over IMAP
    damage(site)
    out, err = site.run("restore", "alice", "--contents")
    assert f"{COUNT} restored, 0 skipped" in out
    assert "good copies were added beside them" in err
    assert len(site.files()) == 2 * COUNT


@pytest.mark.parametrize(
    "plant",
    [
        lambda path, elsewhere: path.symlink_to(elsewhere),
        lambda path, elsewhere: path.write_bytes(b""),
    ],
    ids=["link", "file"],
)
def test_what_is_planted_where_damaged_files_are_kept_leads_nowhere(
    site: Site, tmp_path: Path, plant: Callable[[Path, Path], object]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    plant(site.alice.root / KEPT, tmp_path / "elsewhere")
    damage(site)
    out, _ = site.run("restore", "alice", "--contents", status=1)
    assert f"0 restored, 0 skipped, {COUNT} failed" in out
    assert os.listdir(tmp_path / "elsewhere") == []
    assert len(site.files()) == COUNT
    assert os.listdir(site.alice.root / "tmp") == []


@pytest.mark.parametrize(
    "more", [["--into", "X"], ["--account", "bob"], ["--target", "maildir:/x"]]
)
def test_contents_go_nowhere_else(site: Site, more: list[str]) -> None:
    _, err = site.run("restore", "alice", "--contents", *more, status=2)
    assert "--contents puts messages back where they were" in err


def test_threads_make_the_directory_for_damaged_files_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Maildir(tmp_path / "box")
    names = [f"m{number}" for number in range(4)]
    for name in names:
        box.deliver(b"!", unique=name)
    there = {
        name.encode(): f"{path.parent.name}/{path.name}" for name, path in box.messages().items()
    }
    inside, met = threading.Semaphore(1), threading.Event()
    make = ownership.make_directory

    def making(directory: int, name: str, owner: ownership.FileOwner) -> bool:
        alone = inside.acquire(blocking=False)
        if not alone:
            met.set()
        met.wait(0.02)  # gives the others a chance to come, too
        made = make(directory, name, owner)
        if alone:
            inside.release()
        return made

    tree = open_tree(str(box.root), ())
    with (
        closing(tree),
        closing(
            NamedFolder("box", tree, (), (), dotlock.Patience(), there=there, run="now")
        ) as folder,
    ):
        monkeypatch.setattr(delivery_named, "make_directory", making)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: folder.deliver(delivery(b"x", identity=n.encode())), names))
    assert not met.is_set()
    assert len(list(box.root.glob(f"{KEPT}/now/m*"))) == 4


def test_on_a_file_system_without_links_files_are_moved_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    damage(site)
    site.run("restore", "alice", "--contents")
    assert site.is_whole()
    assert len(site.kept()) == COUNT


# The comparison


def message(item: int, folder: FolderPath, identity: bytes, digest: bytes) -> Message:
    return Message(item, folder, "x.eml", digest, 1, item, (), identity, Kind.MESSAGE, {})


def compared(
    wanted: Sequence[Message], there: dict[tuple[FolderPath, bytes], bytes]
) -> tuple[set[int], dict[FolderPath, set[int]], dict[FolderPath, dict[bytes, str]] | None]:
    """The items that are skipped, those that are delivered, and what is replaced."""
    selection = Selection(Account(2, "alice", "alice", 0, None), 0, messages=list(wanted))
    found = [SourceItem(folder, name, (), f"cur/{name.decode()}") for folder, name in there]
    made = plan_contents(selection, found, lambda i, _: there[i.folder, i.identity])
    delivered = {path: {m.item for m in messages} for path, messages in made.deliveries.items()}
    return {skipped.message.item for skipped in made.skipped}, delivered, made.replaced


WORK: FolderPath = ("Work",)


def test_a_copy_in_another_folder_is_not_taken_for_the_missing_one() -> None:
    wanted = [message(3, INBOX, b"a", b"1"), message(4, WORK, b"a", b"1")]
    assert compared(wanted, {(WORK, b"a"): b"1"}) == ({4}, {INBOX: {3}}, {})
    assert compared(wanted, {(INBOX, b"a"): b"1", (WORK, b"a"): b"0"}) == (
        {3},
        {WORK: {4}},
        {WORK: {b"a": "cur/a"}},
    )


def test_one_copy_under_another_name_stands_for_one_message() -> None:
    wanted = [message(3, INBOX, b"a", b"1"), message(4, INBOX, b"b", b"1")]
    assert compared(wanted, {(INBOX, b"new"): b"1"}) == ({3}, {INBOX: {4}}, {})
    assert compared(wanted, {(INBOX, b"a"): b"1"}) == ({3}, {INBOX: {4}}, {})
