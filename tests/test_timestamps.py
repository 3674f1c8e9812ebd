"""Timestamps: every form, every refusal, clock changes, and the zone they are read in."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.errors import UsageError
from engine.domain.timestamps import (
    Instant,
    format_listed,
    format_time,
    is_time_name,
    listed_second,
    local_zone,
    parse,
)

BERLIN = ZoneInfo("Europe/Berlin")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
APIA = ZoneInfo("Pacific/Apia")
ZONE_NAMES = """
    UTC Europe/Berlin America/New_York Australia/Lord_Howe Asia/Kathmandu America/Sao_Paulo
    Africa/Casablanca America/Havana Africa/Monrovia Pacific/Apia Europe/Dublin
"""
ZONES = [ZoneInfo(name) for name in ZONE_NAMES.split()]
NOW = 1_714_557_614_000_001  # 2024-05-01T10:00:14.000001Z


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(year: int, month: int, day: int, *clock: int) -> int:
    fields = [*clock, 0, 0, 0, 0]
    hour, minute, second, microsecond = fields[:4]
    time = datetime(year, month, day, hour, minute, second, microsecond, UTC)
    return (time - EPOCH) // timedelta(microseconds=1)


def text_of(text: str, zone: tzinfo = BERLIN, now: int = NOW) -> str | None:
    """What `text` means, as text."""
    instant = parse(text, zone, now)
    return instant and format_time(instant.time, zone)


def changes(zone: ZoneInfo, first: int = 1840, last: int = 2040) -> list[int]:
    """The seconds of the zone's clock changes."""

    def offset(second: int) -> timedelta | None:
        return (EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()

    step = 14 * 86400
    found = []
    for low in range(micros(first, 1, 1) // 10**6, micros(last, 1, 1) // 10**6, step):
        high = low + step
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if offset(middle) == offset(high) else (middle, high)
        found.append(high)
    return found


CHANGES = {zone.key: changes(zone, 1880) for zone in ZONES}


@st.composite
def zoned_times(draw: st.DrawFn) -> tuple[ZoneInfo, int]:
    """A zone and an instant, often close to one of the zone's clock changes."""
    zone = draw(st.sampled_from(ZONES))
    close: bool = draw(st.booleans())
    if close and CHANGES[zone.key]:
        change = draw(st.sampled_from(CHANGES[zone.key])) * 10**6
        return zone, change + draw(st.integers(-9000 * 10**6, 9000 * 10**6))
    return zone, draw(st.integers(micros(4, 1, 1), micros(9998, 1, 1)))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2024", "2024-01-01T00:00:00.000000+01:00"),
        ("2024-05", "2024-05-01T00:00:00.000000+02:00"),
        ("202405", "2024-05-01T00:00:00.000000+02:00"),
        ("2024-05-01", "2024-05-01T00:00:00.000000+02:00"),
        ("20240501", "2024-05-01T00:00:00.000000+02:00"),
        ("2024-05-01T10", "2024-05-01T10:00:00.000000+02:00"),
        ("2024-05-01T10:07", "2024-05-01T10:07:00.000000+02:00"),
        ("2024-05-01T1007", "2024-05-01T10:07:00.000000+02:00"),
        ("20240501T10:07", "2024-05-01T10:07:00.000000+02:00"),
        ("20240501T1007", "2024-05-01T10:07:00.000000+02:00"),
        ("20240501T100714", "2024-05-01T10:07:14.000000+02:00"),
        ("2024-05-01T10:07:14.5", "2024-05-01T10:07:14.500000+02:00"),
        ("2024-05-01T10:07:14,000001", "2024-05-01T10:07:14.000001+02:00"),
        ("2024-05-01T10:07Z", "2024-05-01T12:07:00.000000+02:00"),
        ("2024-05-01t10:07z", "2024-05-01T12:07:00.000000+02:00"),
        ("20240501t1007", "2024-05-01T10:07:00.000000+02:00"),
        ("2024-05-01z", "2024-05-01T02:00:00.000000+02:00"),
        ("2024-05-01T10Z", "2024-05-01T12:00:00.000000+02:00"),
        ("2024-05-01Z", "2024-05-01T02:00:00.000000+02:00"),
        ("2024Z", "2024-01-01T01:00:00.000000+01:00"),
        ("2024-05-01T10:07-03:30", "2024-05-01T15:37:00.000000+02:00"),
        ("2024-05-01T10:07-0330", "2024-05-01T15:37:00.000000+02:00"),
        ("2024-05-01T10:07:14.25+05", "2024-05-01T07:07:14.250000+02:00"),
        ("2024-05-01T10+02", "2024-05-01T10:00:00.000000+02:00"),
        ("2024-02-29", "2024-02-29T00:00:00.000000+01:00"),
        ("1969-12-31T23:59:59.999999Z", "1970-01-01T00:59:59.999999+01:00"),
        ("0002", "0001-12-31T23:06:32.000000Z"),
        ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999+01:00"),
    ],
)
def test_forms(text: str, meaning: str) -> None:
    assert text_of(text) == meaning
    assert not parse(text, BERLIN, NOW).relative  # type: ignore[union-attr]


REFUSED = """
    latest now Today yesterday- 1h 1h-ago- -1h-ago 1.5h-ago 1s-ago 1y-ago 1H-ago h-ago 1h_ago
    2 20 202 20240 2024-5 2024-0501 2024-05-1 202405-01 2024-05-01T 2024-05-01T1 2024-05-01T10:
    2024-05-01T10:0 2024-05-01T10:0014 2024-05-01T1000:14 2024-05-01T10:00:14.
    2024-05-01T10:00:14.0000001 2024-05-01T10.5 2024-05-01T10:00Z+02 2024-05Z01
    2024-05-01T10:00ZZ 2024-05-01T10:00+2 2024-05-01T10:00+020 2024-05-01T10:00+24:00
    2024-05-01T10:00+02:60 2024-05-01T10:00+02: 2024-05-01+02:00 2024+02:00 0000 0000-01-01
    10000-01-01 +2024 -2024 2024-00 2024-13 2024-05-00 2024-05-32 2023-02-29 2024-05-01T24:00
    2024-05-01T25 2024-05-01T10:60 2016-12-31T23:59:60Z 2024-W18 2024-W18-3 2024-122
    2024-05-01..2025 9999-12-31T23:59:59-00:01 0001-01-01T00:00+00:01 999999999d-ago
    999999999w-ago 999999999h-ago 1000000000m-ago README.txt .. ٢٠٢٤ ２０２４ ２h-ago 2024−05
"""  # noqa: RUF001
WITH_BLANKS = ["", " 2024", "2024 ", "2024\n", "1h-ago\n", "2024-05-01 10:00", "today ", "2024\0"]


@pytest.mark.parametrize("text", [*REFUSED.split(), *WITH_BLANKS, "\udcff"])
def test_not_a_timestamp(text: str) -> None:
    assert parse(text, BERLIN, NOW) is None


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    parse(text, BERLIN, NOW)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("0m-ago", "2024-05-01T12:00:00.000000+02:00"),
        ("30m-ago", "2024-05-01T11:30:00.000000+02:00"),
        ("1h-ago", "2024-05-01T11:00:00.000000+02:00"),
        ("024h-ago", "2024-04-30T12:00:00.000000+02:00"),
        ("2d-ago", "2024-04-29T12:00:00.000000+02:00"),
        ("1w-ago", "2024-04-24T12:00:00.000000+02:00"),
        ("6w-ago", "2024-03-20T12:00:00.000000+01:00"),
        ("today", "2024-05-01T00:00:00.000000+02:00"),
        ("yesterday", "2024-04-30T00:00:00.000000+02:00"),
    ],
)
def test_relative_forms_move_with_the_clock(text: str, meaning: str) -> None:
    assert text_of(text) == meaning
    then, later = (parse(text, BERLIN, now) for now in (NOW, NOW + 86400 * 10**6))
    assert then
    assert then.relative
    assert later == Instant(then.time + 86400 * 10**6, True)


def test_the_day_is_that_of_the_zone() -> None:
    now = micros(2024, 4, 30, 23, 0)
    assert text_of("today", BERLIN, now) == "2024-05-01T00:00:00.000000+02:00"
    assert text_of("today", SAO_PAULO, now) == "2024-04-30T00:00:00.000000-03:00"


@pytest.mark.parametrize(
    ("zone", "text", "meaning"),
    [
        # repeated: the earlier, unless an offset tells
        (BERLIN, "2024-10-27T02:30", "2024-10-27T02:30:00.000000+02:00"),
        (BERLIN, "2024-10-27T02:30+01:00", "2024-10-27T02:30:00.000000+01:00"),
        (ZoneInfo("America/Havana"), "2024-11-03", "2024-11-03T00:00:00.000000-04:00"),
        # skipped as a whole: not there
        (BERLIN, "2024-03-31T02", None),
        (BERLIN, "2024-03-31T02:00", None),
        (BERLIN, "2024-03-31T02:59:59.999999", None),
        (BERLIN, "2024-03-31T03", "2024-03-31T03:00:00.000000+02:00"),
        (SAO_PAULO, "2018-11-04T00", None),
        (SAO_PAULO, "2018-11-04T00:00", None),
        (LORD_HOWE, "2024-10-06T02:00", None),
        (LORD_HOWE, "2024-10-06T02:29", None),
        (APIA, "2011-12-30", None),
        (APIA, "2011-12-30T12", None),
        # only the beginning skipped: the first moment that there is
        (SAO_PAULO, "2018-11-04", "2018-11-04T01:00:00.000000-02:00"),
        (LORD_HOWE, "2024-10-06T02", "2024-10-06T02:30:00.000000+11:00"),
        (APIA, "2011-12-31", "2011-12-31T00:00:00.000000+14:00"),
    ],
)
def test_clock_changes(zone: ZoneInfo, text: str, meaning: str | None) -> None:
    assert text_of(text, zone) == meaning


def test_days_ago_across_clock_changes() -> None:
    noon_after = micros(2024, 3, 31, 10, 0)
    assert text_of("1d-ago", BERLIN, noon_after) == "2024-03-30T12:00:00.000000+01:00"
    assert text_of("24h-ago", BERLIN, noon_after) == "2024-03-30T11:00:00.000000+01:00"
    into_gap = micros(2024, 4, 1, 0, 30)
    assert text_of("1d-ago", BERLIN, into_gap) == "2024-03-31T03:00:00.000000+02:00"
    assert text_of("yesterday", SAO_PAULO, micros(2018, 11, 5, 12)) == (
        "2018-11-04T01:00:00.000000-02:00"
    )
    assert text_of("yesterday", APIA, micros(2011, 12, 31, 0)) == "2011-12-31T00:00:00.000000+14:00"


def test_listed_names() -> None:
    assert format_listed(NOW, UTC) == "2024-05-01T10:00:14"
    assert format_listed(NOW, BERLIN) == "2024-05-01T12:00:14"
    twice = micros(2024, 10, 27, 0, 30), micros(2024, 10, 27, 1, 30)
    assert [format_listed(time, BERLIN) for time in twice] == [
        "2024-10-27T02:30:00+02:00",
        "2024-10-27T02:30:00+01:00",
    ]
    # ISO 8601 has no offsets with seconds: New York left its solar time in 1883
    twice = micros(1883, 11, 18, 16, 59), micros(1883, 11, 18, 17, 1)
    assert [format_listed(time, ZoneInfo("America/New_York")) for time in twice] == [
        "1883-11-18T16:59:00Z",
        "1883-11-18T12:01:00-05:00",
    ]


@pytest.mark.parametrize(
    ("time", "second"),
    [(0, 0), (1, 10**6), (999_999, 10**6), (10**6, 10**6), (-1, 0), (-(10**6), -(10**6))],
)
def test_listed_second_is_the_first_at_or_after(time: int, second: int) -> None:
    assert listed_second(time) == second


def test_times_for_humans() -> None:
    assert format_time(NOW, BERLIN) == "2024-05-01T12:00:14.000001+02:00"
    assert format_time(NOW, UTC) == "2024-05-01T10:00:14.000001Z"
    assert (
        format_time(micros(2024, 1, 1), ZoneInfo("Europe/London")) == "2024-01-01T00:00:00.000000Z"
    )
    assert format_time(0, ZoneInfo("Africa/Monrovia")) == "1970-01-01T00:00:00.000000Z"


def test_times_out_of_range_are_shown_as_the_nearest() -> None:
    west, east = ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")
    for zone in (UTC, west, east):
        for time in (-(10**20), micros(1, 1, 1)):
            assert parse(format_time(time, zone), zone, 0) == Instant(micros(1, 1, 1), False)
        for time in (10**20, micros(9999, 12, 31, 23, 59, 59, 999_999)):
            shown = parse(format_time(time, zone), zone, 0)
            assert shown == Instant(micros(9999, 12, 31, 23, 59, 59, 999_999), False)
            assert parse(format_listed(time, zone), zone, 0) == Instant(
                micros(9999, 12, 31, 23, 59, 59), False
            )


@given(zoned_times())
def test_what_is_listed_parses_to_the_same_second(zoned: tuple[ZoneInfo, int]) -> None:
    zone, time = zoned
    second = listed_second(time)
    assert parse(format_listed(second, zone), zone, NOW) == Instant(second, False)
    assert format_listed(second + 999_999, zone) == format_listed(second, zone)


@given(zoned_times(), st.sampled_from(ZONES))
def test_what_is_shown_parses_to_the_same_microsecond_anywhere(
    zoned: tuple[ZoneInfo, int], elsewhere: ZoneInfo
) -> None:
    zone, time = zoned
    assert parse(format_time(time, zone), elsewhere, NOW) == Instant(time, False)


@given(zoned_times(), st.booleans(), st.booleans())
def test_a_short_form_is_the_first_moment_of_its_period(
    zoned: tuple[ZoneInfo, int], basic_date: bool, basic_time: bool
) -> None:
    """Judged by clocks alone: they show the form then, and didn't a microsecond before."""
    zone, time = zoned

    def shown(at: int) -> str:
        local = (EPOCH + timedelta(microseconds=at)).astimezone(zone)
        return local.replace(tzinfo=None).isoformat(timespec="microseconds")

    full = shown(time)
    for length in (4, 7, 10, 13, 16, 19, *range(21, 27)):
        cut = full[:length]
        date, separator, clock = cut.partition("T")
        if basic_date:
            date = date.replace("-", "")
        if basic_time:
            clock = clock.replace(":", "")
        instant = parse(date + separator + clock, zone, NOW)
        assert instant is not None
        assert instant.time <= time
        assert shown(instant.time).startswith(cut)
        assert not shown(instant.time - 1).startswith(cut)


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_around_every_clock_change(zone: ZoneInfo) -> None:
    around = (-7200, -3600, -1800, -1, 0, 1, 1799, 1800, 3599, 3600, 86400)
    for change, seconds in itertools.product(CHANGES[zone.key], around):
        time = (change + seconds) * 10**6
        assert parse(format_listed(time, zone), zone, NOW) == Instant(time, False)


@given(zoned_times(), st.sampled_from("mhdw"), st.integers(0, 99))
def test_ago_is_a_whole_minute_of_the_past(
    zoned: tuple[ZoneInfo, int], unit: str, count: int
) -> None:
    zone, now = zoned
    instant = parse(f"{count}{unit}-ago", zone, now)
    assert instant is not None
    assert instant.time <= now or unit in "dw"
    age = now - instant.time
    exact = count * {"m": 1, "h": 60, "d": 1440, "w": 10080}[unit] * 60 * 10**6
    slack = 60 * 10**6 if unit in "mh" else 25 * 3600 * 10**6
    assert abs(age - exact) < slack


@pytest.mark.parametrize("name", ["2024-05-01T10:00", "20240501T10", "2024-03-31T02:30+01:00"])
def test_mount_points_that_name_a_time(name: str) -> None:
    assert is_time_name(name)


@pytest.mark.parametrize(
    "name", ["2024-05-01", "2024", "today", "1h-ago", "T", "backup-at", "Test", "2024-05-01T25", ""]
)
def test_mount_points_that_do_not(name: str) -> None:
    assert not is_time_name(name)


WINTER, SUMMER = micros(2024, 1, 15, 12), micros(2024, 7, 15, 12)


@pytest.mark.parametrize(
    ("name", "winter", "summer"),
    [
        ("Europe/Berlin", "13:00:00", "14:00:00"),
        (":Europe/Berlin", "13:00:00", "14:00:00"),
        ("UTC", "12:00:00", "12:00:00"),
        ("UTC0", "12:00:00", "12:00:00"),
        ("<+0330>-3:30", "15:30:00", "15:30:00"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "13:00:00", "14:00:00"),
        ("EST5EDT", "07:00:00", "08:00:00"),
    ],
)
def test_zones_by_name_and_by_rules(name: str, winter: str, summer: str) -> None:
    for zone in (local_zone(name, {"TZ": "Asia/Tokyo"}), local_zone(None, {"TZ": name})):
        assert format_listed(WINTER, zone)[11:] == winter
        assert format_listed(SUMMER, zone)[11:] == summer


UNKNOWN_ZONES = [
    "Europe/Berln",
    "Europe",
    "../etc/passwd",
    "/etc/passwd",
    "/",
    "/nowhere",
    "UTC0\n",
]


@pytest.mark.parametrize(
    "name", [*UNKNOWN_ZONES, "X" * 5000, "a\0b", "/a\0b", "\udcff", "MST7MDT4"]
)
def test_unknown_zones_are_refused_in_one_line(name: str) -> None:
    for option, environ in ((name, {}), (None, {"TZ": name})):
        with pytest.raises(UsageError) as refused:
            local_zone(option, environ)
        assert "\n" not in str(refused.value)
        assert refused.value.status == 2


def test_an_empty_variable_is_utc_and_an_empty_option_is_wrong() -> None:
    assert local_zone(None, {"TZ": ""}) is UTC
    assert local_zone(None, {"TZ": ":"}) is UTC
    with pytest.raises(UsageError):
        local_zone("", {})


def zone_file() -> bytes:
    """A zone file of an hour east, with rules only."""
    header = b"TZif2" + bytes(15) + bytes(4 * 4) + b"\0\0\0\1\0\0\0\1"
    return header + bytes(7) + header + bytes(7) + b"\n<+01>-1\n"


def test_the_zone_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_bytes(zone_file())
    assert format_listed(WINTER, local_zone(None, {"TZ": f":{path}"}))[11:] == "13:00:00"
    path.write_bytes(b"no zone")
    with pytest.raises(UsageError):
        local_zone(str(path), {})


def test_the_zone_of_the_system(tmp_path: Path) -> None:
    assert local_zone(None, {}, tmp_path) is UTC
    (tmp_path / "timezone").write_text("Asia/Kathmandu\n")
    assert str(local_zone(None, {}, tmp_path)) == "Asia/Kathmandu"
    (tmp_path / "localtime").symlink_to("/nowhere/zoneinfo/Europe/Berlin")
    assert str(local_zone(None, {}, tmp_path)) == "Europe/Berlin"
    (tmp_path / "localtime").unlink()
    (tmp_path / "localtime").write_bytes(zone_file())
    assert format_listed(SUMMER, local_zone(None, {}, tmp_path))[11:] == "13:00:00"
    (tmp_path / "localtime").write_bytes(b"")
    with pytest.raises(UsageError):
        local_zone(None, {}, tmp_path)
