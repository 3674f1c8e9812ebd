"""Tests of `engine.system.mounts`: what the kernel lists, and whose inode numbers mean which
item."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.domain.errors import UsageError
from engine.domain.model import MAX_ITEM, ROOT
from engine.system import mounts
from engine.system.mounts import MountedItem, MountEntry, item_at, item_of_inode, mount_of
from timefs.view.inodes import SLOTS, Place, Tag, constant_inode, local_inode

LINES = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:39 / /mnt/a\040b\134 ro,nosuid - fuse.timefs /srv/back\011up ro,user_id=0
41 22 0:40 / /mnt/ssh rw - fuse.sshfs host: rw
42 22 0:41 / /mnt/\377 ro shared:7 master:1 - fuse.timefs /var/lib/timefs ro
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    """A table of mounts with what is written to it."""
    path = tmp_path / "mountinfo"
    path.write_text(LINES.lstrip())
    return path


def test_mounts_of_backups_are_told_from_others(mountinfo: Path) -> None:
    assert mounts.mounts(mountinfo) == [
        MountEntry(os.makedev(0, 39), "/mnt/a b\\", "/srv/back\tup"),
        MountEntry(os.makedev(0, 41), os.fsdecode(b"/mnt/\xff"), "/var/lib/timefs"),
    ]


def mounted(mountinfo: Path, point: Path, backup: Path) -> None:
    """Claims that `backup` is mounted at `point`."""
    status = os.stat(point)
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    with mountinfo.open("a") as file:
        file.write(f"50 22 {device} / {point} ro - fuse.timefs {backup} ro\n")


def test_a_mount_of_all_views_is_found_by_its_backup(mountinfo: Path, tmp_path: Path) -> None:
    point, single, backup = tmp_path / "mnt", tmp_path / "monday", tmp_path / "backup"
    for directory in (point / "latest", single / "alice@example.com", backup):
        directory.mkdir(parents=True)
    mounted(mountinfo, single, backup)
    assert mount_of(backup, mountinfo) is None
    mounted(mountinfo, point, backup)
    (tmp_path / "link").symlink_to(backup)
    assert mount_of(backup, mountinfo) == str(point)
    assert mount_of(tmp_path / "link", mountinfo) == str(point)
    assert mount_of(tmp_path, mountinfo) is None


def test_a_path_is_an_item_only_under_a_mount(
    mountinfo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert item_at(str(file), mountinfo) is None
    assert item_at("no such\0file", mountinfo) is None
    mounted(mountinfo, tmp_path, Path("/srv/backup"))
    inode = os.stat(file).st_ino
    assert item_at(str(file), mountinfo) == MountedItem("/srv/backup", inode & MAX_ITEM)
    monkeypatch.setattr(mounts, "item_of_inode", lambda inode: ROOT)
    with pytest.raises(UsageError, match="is no item"):
        item_at(str(file), mountinfo)


@pytest.mark.parametrize("item", [ROOT, 2, MAX_ITEM])
def test_inode_numbers_hold_the_item_where_the_mount_puts_it(item: int) -> None:
    for slot in (0, 1, SLOTS - 1):
        for place in Place:
            assert item_of_inode(local_inode(slot, place, item)) == item
    for tag in Tag:
        for edition in (0, 2**24 - 1):
            assert item_of_inode(constant_inode(tag, item, edition)) == item
