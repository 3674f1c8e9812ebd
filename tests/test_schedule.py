"""When daily and weekly jobs are due, over changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.daemon.schedule import GRACE, Timetable, When, next_due

BERLIN = ZoneInfo("Europe/Berlin")
SECOND = 1_000_000
HOUR = 3600 * SECOND


def at(text: str, zone: ZoneInfo | None = None) -> int:
    """An instant; without an offset in the text it is local."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone or UTC)
    return round(moment.timestamp()) * SECOND


@pytest.mark.parametrize(
    ("when", "after", "due"),
    [
        (When("04:00"), "2024-05-01T03:59:59", "2024-05-01T04:00"),
        (When("04:00"), "2024-05-01T04:00", "2024-05-02T04:00"),
        (When("00:00"), "2024-12-31T12:00", "2025-01-01T00:00"),
        (When("04:00", 5), "2024-05-01T00:00", "2024-05-04T04:00"),  # a Wednesday
        (When("04:00", 5), "2024-05-04T03:00", "2024-05-04T04:00"),
        (When("04:00", 5), "2024-05-04T04:00", "2024-05-11T04:00"),
    ],
)
def test_the_next_time_of_day(when: When, after: str, due: str) -> None:
    assert next_due(when, at(after, BERLIN), BERLIN) == at(due, BERLIN)


def test_a_time_that_the_clocks_skip_is_due_as_much_later() -> None:
    due = next_due(When("02:30"), at("2024-03-30T12:00", BERLIN), BERLIN)
    assert due == at("2024-03-31T03:30", BERLIN)
    assert next_due(When("02:30"), due, BERLIN) == at("2024-04-01T02:30", BERLIN)


def test_a_time_that_the_clocks_show_twice_is_due_once_the_first_time() -> None:
    due = next_due(When("02:30"), at("2024-10-26T12:00", BERLIN), BERLIN)
    assert due == at("2024-10-27T02:30+02:00")
    assert next_due(When("02:30"), due, BERLIN) == at("2024-10-28T02:30+01:00")


def exists(day: date, text: str, zone: ZoneInfo) -> bool:
    """Whether clocks show this time on this day."""
    local = datetime.combine(day, time.fromisoformat(text))
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


@given(
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)),
    st.times(),
    st.none() | st.integers(0, 6),
)
def test_every_day_or_week_has_one_due_time(
    name: str, start: datetime, clock: time, weekday: int | None
) -> None:
    zone, text = ZoneInfo(name), clock.strftime("%H:%M")
    after = at(start.isoformat(timespec="seconds"))
    previous = None
    for _ in range(10):
        due = next_due(When(text, weekday), after, zone)
        assert due > after
        local = datetime.fromtimestamp(due / SECOND, zone)
        shown = local.strftime("%H:%M")
        skipped = shown != text and not exists(local.date(), text, zone)
        assert skipped or shown == text
        assert weekday is None or local.weekday() == weekday
        if previous:
            assert (local.date() - previous).days == (1 if weekday is None else 7)
        previous, after = local.date(), due


class Table:
    """A timetable of a daily and a weekly job, looked at when a test says so."""

    def __init__(self, now: str) -> None:
        jobs = {"scan": When("04:00"), "purge": When("04:00", 5)}
        self.table = Timetable(jobs, at(now), ZoneInfo("UTC"))

    def look(self, now: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(self.table.due(at(now)))  # type: ignore[return-value]


def test_a_job_is_due_once() -> None:
    table = Table("2024-05-01T00:00")
    assert table.look("2024-05-01T03:59:59") == ((), ())
    assert table.look("2024-05-01T04:00:00") == (("scan",), ())
    assert table.look("2024-05-01T04:00:01") == ((), ())
    assert table.table.next("scan") == at("2024-05-02T04:00")
    assert table.table.next("check") is None


def test_two_jobs_of_one_time() -> None:
    assert Table("2024-05-04T00:00").look("2024-05-04T04:00:02") == (("scan", "purge"), ())


def test_what_was_missed_is_told_and_not_made_up_for() -> None:
    table = Table("2024-05-01T00:00")
    assert table.look("2024-05-01T09:00") == ((), ("scan",))
    assert table.look("2024-05-01T09:01") == ((), ())
    assert table.look("2024-05-02T04:00") == (("scan",), ())


def test_what_was_missed_before_the_start_is_nobodys_concern() -> None:
    assert Table("2024-05-01T04:00:01").look("2024-05-01T04:00:02") == ((), ())


def test_a_little_late_is_not_missed() -> None:
    table = Table("2024-05-01T00:00")
    last = at("2024-05-01T04:00") + GRACE
    assert table.table.due(last).jobs == ("scan",)
    table = Table("2024-05-01T00:00")
    assert table.table.due(last + 1).missed == ("scan",)


def test_a_clock_that_was_wrong_by_years_and_is_set_right() -> None:
    table = Table("2044-05-01T00:00")
    assert table.look("2024-05-01T00:00") == ((), ())
    assert table.look("2024-05-01T04:00") == (("scan",), ())


def test_a_clock_that_is_put_back_a_little_lets_nothing_be_done_twice() -> None:
    table = Table("2024-05-01T00:00")
    assert table.look("2024-05-01T04:00:10") == (("scan",), ())
    assert table.look("2024-05-01T03:59:50") == ((), ())
    assert table.look("2024-05-01T04:00:10") == ((), ())
