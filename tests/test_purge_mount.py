"""A mount while a purge removes what it shows: never wrong bytes, and soon it is gone."""

from __future__ import annotations

import base64
import os
import random
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.purge import purge
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import until
from tests.mounting import mounted
from tests.pasts import DAY

VIEW = "2024-05-02T00:00"


def large() -> bytes:
    """A message of 700 KB with an attachment, which is stored as a piece."""
    head = b"Subject: large\nContent-Transfer-Encoding: base64\n\n"
    return head + base64.encodebytes(random.Random(1).randbytes(500_000)) + b"\n"


@pytest.fixture
def small(tmp_path: Path) -> SmallBackup:
    """100 letters and a large one, half of them deleted after a day, and a deleted folder."""
    small = SmallBackup(tmp_path / "backup")
    account = small.account("alice@example.com")
    inbox, old = small.folder(account, "INBOX"), small.folder(account, "Old")
    contents = [letter(number) for number in range(100)]
    items = small.messages(account, inbox, contents)
    (big,) = small.messages(account, inbox, [large()])
    (gone,) = small.messages(account, old, [letter(1000)])
    small.scan_end()
    small.clock.advance(2 * DAY)
    small.delete(account, *items[::2], big)
    small.delete(account, gone, old)
    small.clock.advance(40 * DAY)
    small.backup.settings = replace(small.backup.settings, retention_data_days=30)
    return small


def tree(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "account.json"
    }


@pytest.mark.parametrize("extension", [False, True])
def test_what_was_purged_is_gone_within_a_moment(
    small: SmallBackup, tmp_path: Path, extension: bool
) -> None:
    with mounted(small.path, tmp_path / "mnt", extension=extension) as mount:
        view = mount.point / VIEW / "alice@example.com"
        before = tree(view)
        assert len(before) == 102
        inbox, deleted = view / "INBOX", mount.point / "latest/alice@example.com/.deleted/INBOX"
        assert len(list(deleted.iterdir())) == 51
        (big,) = (name for name in before if before[name] == large())
        dead = [name for name in os.listdir(deleted)]
        living = {name for name in before if Path(name).name not in dead and name[:3] != "Old"}
        with (view / big).open("rb", buffering=0) as file:
            begun = file.read(200_000)
            outcome = purge(small.backup, Stop())
            assert outcome.removed.items == 53
            until(lambda: not (view / big).exists(), "the large message is gone")
            rest = b"".join(iter(lambda: file.read(100_000), b""))
        assert begun + rest == large()
        until(lambda: set(tree(view)) == living, "the rest is gone")
        assert tree(view) == {name: before[name] for name in living}
        for name in set(before) - living:
            with pytest.raises(FileNotFoundError):
                (view / name).stat()
            with pytest.raises(FileNotFoundError):
                (view / name).read_bytes()
        until(lambda: not deleted.exists(), "nothing is in .deleted")
        assert not (view / "Old").exists()
        assert len(os.listdir(inbox)) == 50
    small.close()


def test_one_who_walks_meanwhile_sees_no_error_and_no_wrong_byte(
    small: SmallBackup, tmp_path: Path
) -> None:
    with mounted(small.path, tmp_path / "mnt") as mount:
        latest = mount.point / "latest/alice@example.com"
        expected = tree(latest)
        past = tree(mount.point / VIEW / "alice@example.com")
        faults: list[object] = []
        done = threading.Event()
        walks = [0, 0]

        def walk_latest() -> None:
            while not done.is_set() or not walks[0]:
                try:
                    if tree(latest) != expected:
                        faults.append("latest is another")
                except OSError as error:
                    faults.append(error)
                walks[0] += 1

        def walk_past() -> None:
            while not done.is_set() or not walks[1]:
                for name, content in past.items():
                    try:
                        if (
                            mount.point / VIEW / "alice@example.com" / name
                        ).read_bytes() != content:
                            faults.append(name)
                    except FileNotFoundError:
                        pass
                    except OSError as error:
                        faults.append(error)
                walks[1] += 1

        threads = [threading.Thread(target=walk) for walk in (walk_latest, walk_past)]
        for thread in threads:
            thread.start()
        until(lambda: all(walks), "both walk")
        purge(small.backup, Stop())
        until(lambda: len(os.listdir(mount.point / VIEW / "alice@example.com/INBOX")) == 50, "gone")
        done.set()
        for thread in threads:
            thread.join()
        assert not faults
    small.close()


@pytest.mark.parametrize("at", ["latest", VIEW])
def test_a_mount_of_one_view_forgets_too(small: SmallBackup, tmp_path: Path, at: str) -> None:
    with mounted(small.path, tmp_path / "mnt", at=at) as mount:
        account = mount.point / "alice@example.com"
        deleted = account / ".deleted/INBOX"
        before = os.listdir(deleted if at == "latest" else account / "INBOX")
        purge(small.backup, Stop())
        if at == "latest":
            assert len(before) == 51
            until(lambda: not deleted.exists(), "it is gone")
        else:
            assert len(before) == 101
            names = set(before)
            until(lambda: sum((account / "INBOX" / n).exists() for n in names) == 50, "gone")
    small.close()
