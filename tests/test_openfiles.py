"""Tests of `timefs.fuse.openfiles`: which files the kernel was given."""

from __future__ import annotations

from timefs.fuse.openfiles import PushedFiles


def test_pushed_files_are_remembered_until_they_are_forgotten() -> None:
    pushed = PushedFiles()
    pushed.add(5)
    assert 5 in pushed
    assert 6 not in pushed
    pushed.discard(5)
    pushed.discard(6)
    assert 5 not in pushed


def test_all_can_be_forgotten() -> None:
    pushed = PushedFiles(limit=10)
    for inode in range(15):
        pushed.add(inode)
    pushed.clear()
    assert not any(inode in pushed for inode in range(15))


def test_at_least_the_last_ones_are_remembered_and_not_all() -> None:
    pushed = PushedFiles(limit=10)
    for inode in range(100):
        pushed.add(inode)
        assert all(last in pushed for last in range(max(0, inode - 9), inode + 1))
        assert sum(known in pushed for known in range(inode + 1)) <= 20


def test_an_old_one_can_be_forgotten_too() -> None:
    pushed = PushedFiles(limit=10)
    for inode in range(15):
        pushed.add(inode)
    assert 3 in pushed
    pushed.discard(3)
    assert 3 not in pushed
