"""How much room there is, and when that changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.system import space
from engine.system.space import DiskSpace, SpaceLevel
from tests.commands import engine

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("0", 0),
        ("10%", 100),
        ("0.5%", 5),
        ("1KiB", 1024),
        ("1.5MiB", 3 << 19),
        ("20GiB", 20 * GIB),
        ("2TiB", 2048 * GIB),
    ],
)
def test_limits(text: str, least: float) -> None:
    assert space.limit(text, 1000) == least


@pytest.mark.parametrize(
    ("free", "before", "level"),
    [
        (500, SpaceLevel.ENOUGH, SpaceLevel.ENOUGH),
        (100, SpaceLevel.ENOUGH, SpaceLevel.ENOUGH),
        (99, SpaceLevel.ENOUGH, SpaceLevel.SCARCE),
        (20, SpaceLevel.ENOUGH, SpaceLevel.SCARCE),
        (19, SpaceLevel.ENOUGH, SpaceLevel.FULL),
        (0, SpaceLevel.SCARCE, SpaceLevel.FULL),
        (21, SpaceLevel.FULL, SpaceLevel.FULL),  # a little more isn't enough to go on
        (23, SpaceLevel.FULL, SpaceLevel.SCARCE),
        (105, SpaceLevel.SCARCE, SpaceLevel.SCARCE),
        (111, SpaceLevel.SCARCE, SpaceLevel.ENOUGH),
        (111, SpaceLevel.FULL, SpaceLevel.ENOUGH),
    ],
)
def test_levels(free: int, before: SpaceLevel, level: SpaceLevel) -> None:
    assert space.level(DiskSpace(free, 1000), "10%", "2%", before) == level


def test_no_limits() -> None:
    assert space.level(DiskSpace(0, 1000), "0", "0") == SpaceLevel.ENOUGH


def test_a_real_file_system(tmp_path: Path) -> None:
    room = space.measure(tmp_path)
    assert 0 <= room.free <= room.total
    assert room.total > 0


def test_a_scan_is_not_begun_on_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    (tmp_path / "mail" / "alice" / "new").mkdir(parents=True)
    (tmp_path / "mail" / "alice" / "cur").mkdir()
    backup = tmp_path / "backup"
    engine("init", "-b", backup, "--source", f"maildir:{tmp_path}/mail/{{account}}")
    engine("config", "-b", backup, "set", "space.stop", "9000TiB")
    refused = engine("scan", "-b", backup, status=1)
    assert "less than 9000TiB of its disk is free" in refused.err
    assert len(refused.err.splitlines()) == 1
    engine("scan", "-b", backup, "--dry-run")
    engine("config", "-b", backup, "set", "space.stop", "0")
    engine("scan", "-b", backup)
