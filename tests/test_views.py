"""Tests of `timefs.view.views`: what names mean, what lasts, and who has which slot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.system.mounts import LATEST
from tests.backups import MINUTE, START, SmallBackup
from timefs.view.inodes import SLOTS
from timefs.view.views import Moment, View, Views

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallBackup]:
    """A backup with one account, made at 00:01."""
    backup = SmallBackup(tmp_path / "backup")
    backup.account("alice@example.com")
    yield backup
    backup.close()


def views_of(small: SmallBackup) -> Views:
    return Views(UTC, small.clock)


def named(views: Views, name: str) -> View:
    view = views.parse(name)
    assert view is not None
    return view


def moment(small: SmallBackup, views: Views, view: View) -> Moment:
    with small.backup.reader() as reader:
        return views.moment(view, reader, 5, False)


@pytest.mark.parametrize(
    "name", ["", "now", "LATEST", "2024-13", "2024-05-01T08:00...2024-05-01T10:00", "README.txt"]
)
def test_other_names_mean_nothing(small: SmallBackup, name: str) -> None:
    assert views_of(small).parse(name) is None


def test_latest_follows_the_journal_and_never_lasts(small: SmallBackup) -> None:
    views = views_of(small)
    latest = named(views, LATEST)
    first = moment(small, views, latest)
    assert (first.sequence, first.time, first.lasting) == (1, START + MINUTE, False)
    small.account("bob@example.com")
    assert moment(small, views, latest).sequence == 2


def test_an_instant_lasts_once_the_journal_is_past_it(small: SmallBackup) -> None:
    views = views_of(small)
    view = named(views, "2024-05-01T00:01:30")
    small.clock.advance(MINUTE // 2)
    early = moment(small, views, view)
    assert (early.sequence, early.lasting) == (1, False)
    small.account("bob@example.com")
    late = moment(small, views, view)
    assert (late.sequence, late.lasting) == (1, True)


def test_an_instant_that_is_not_past_may_still_grow(small: SmallBackup) -> None:
    views = views_of(small)
    small.clock.advance(2 * MINUTE)
    view = named(views, "2024-05-01T00:02:30")
    assert moment(small, views, view).sequence == 1
    small.clock.advance(-3 * MINUTE // 2)
    small.account("bob@example.com")  # recorded at 00:02:30, as it is committed late
    again = moment(small, views, view)
    assert (again.sequence, again.lasting) == (2, True)


def test_the_end_of_a_scan_makes_an_instant_last(small: SmallBackup) -> None:
    views = views_of(small)
    end = small.scan_end()
    view = named(views, "2024-05-01T00:02")
    assert end == START + 2 * MINUTE
    assert moment(small, views, view).lasting


def test_a_relative_name_moves_with_the_clock(small: SmallBackup) -> None:
    views = views_of(small)
    view = named(views, "5m-ago")
    assert moment(small, views, view).sequence == 0
    small.clock.advance(5 * MINUTE)
    small.scan_end()
    now = moment(small, views, view)
    assert (now.sequence, now.time, now.lasting) == (1, START + 2 * MINUTE, False)


def test_the_future_is_there_when_it_has_come(small: SmallBackup) -> None:
    views = views_of(small)
    view = named(views, "2024-05-01T00:03")
    with small.backup.reader() as reader:
        assert not views.has_come(view, reader)
        small.clock.advance(2 * MINUTE)
        assert views.has_come(view, reader)


def test_what_the_journal_has_recorded_is_not_the_future(small: SmallBackup) -> None:
    views = views_of(small)
    view = named(views, "2024-05-01T00:01")
    small.clock.advance(-MINUTE)
    with small.backup.reader() as reader:
        assert views.has_come(view, reader)


def test_a_time_without_zone_is_in_the_mount_s_zone(small: SmallBackup) -> None:
    views = Views(BERLIN, small.clock)
    assert moment(small, views, named(views, "2024-05-01T02:01")).sequence == 1
    assert moment(small, views, named(views, "2024-05-01T02:00:59")).sequence == 0


def test_ends_of_scans_are_listed_when_their_second_has_come(small: SmallBackup) -> None:
    views = Views(BERLIN, small.clock)
    small.clock.advance(1)
    small.scan_end()

    def listed() -> list[str]:
        with small.backup.reader() as reader:
            return views.listed(reader)

    assert listed() == [LATEST]
    small.clock.advance(1_000_000)
    assert listed() == ["2024-05-01T02:02:01", LATEST]
    small.scan_end()
    small.clock.advance(1_000_000)
    assert listed() == ["2024-05-01T02:02:01", "2024-05-01T02:03:02", LATEST]


# Slots


def test_a_name_keeps_its_slot_until_the_kernel_has_forgotten_all_of_it(
    small: SmallBackup,
) -> None:
    views = views_of(small)
    slot = views.assign(named(views, "2024-05"))
    assert views.assign(named(views, "2024-05")) == slot
    other = views.assign(named(views, "2024-05-01"))
    assert other != slot
    for _ in range(3):
        views.hold(slot)
    views.release(slot, 2)
    assert views.view(slot).name == "2024-05"
    views.release(slot, 1)
    with pytest.raises(KeyError):
        views.view(slot)
    assert views.known("2024-05") is None
    assert views.known("2024-05-01") is views.view(other)


def test_a_slot_of_which_the_kernel_was_not_told_is_given_back(small: SmallBackup) -> None:
    views = views_of(small)
    slot = views.assign(named(views, "2024-05"))
    views.release(slot, 0)
    assert views.assign(named(views, "2024-06")) == slot


def test_when_all_slots_are_taken_there_is_an_error(small: SmallBackup) -> None:
    views = views_of(small)
    for number in range(1, SLOTS):
        assert 0 < views.assign(View(str(number), 0)) < SLOTS
    with pytest.raises(OSError, match="too many"):
        views.assign(View("one more", 0))
    views.release(7, 0)
    assert views.assign(View("one more", 0)) == 7


def test_the_kernel_is_asked_to_forget_the_names_it_used_least_lately(small: SmallBackup) -> None:
    views = views_of(small)
    for number in range(10):
        views.assign(View(str(number), 0))
    views.assign(View("0", 0))
    assert views.surplus(limit=10) == []
    assert views.surplus(limit=7) == ["1", "2"]
    assert views.surplus(limit=7) == ["3", "4"]
    assert views.surplus(limit=9) == ["5"]


def test_names_that_stay_are_not_asked_for_again_and_again(small: SmallBackup) -> None:
    views = views_of(small)
    asked = 0
    for number in range(1000):
        views.assign(View(str(number), 0))
        asked += len(views.surplus(limit=10))
    assert asked <= 2 * 1000
