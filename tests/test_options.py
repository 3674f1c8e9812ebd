"""Tests of `timefs.fuse.options`: what may follow `-o`."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.errors import UsageError
from timefs.fuse.options import MountOptions, escape, parse_options


def test_options_come_from_all_texts_and_the_last_one_counts() -> None:
    assert parse_options(
        ["at=2024-05,uid=5,umask=022", "tz=Europe/Berlin,at=latest"]
    ) == MountOptions(at="latest", tz="Europe/Berlin", uid=5, umask=0o022)


def test_users_and_groups_may_be_named() -> None:
    assert parse_options(["uid=root,gid=root"]) == MountOptions(uid=0, gid=0)


def test_what_stands_in_fstab_is_accepted() -> None:
    generic = "rw,defaults,noauto,user,_netdev,nofail,dev,suid,noatime,x-systemd.automount"
    assert parse_options([generic, "", "comment=mail"]) == MountOptions()


def test_flags_are_flags() -> None:
    assert parse_options(["allow_other,nonempty"]) == MountOptions(allow_other=True, nonempty=True)
    assert parse_options(["no_extension"]) == MountOptions(no_extension=True)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("attr=5", "attr=5"),
        ("allow_other=yes", "allow_other=yes"),
        ("at", "-o at=..."),
        ("at=", "-o at=..."),
        ("uid=nobody-of-this-name", "no such user"),
        ("gid=nobody-of-this-name", "no such group"),
        ("umask=99", "umask=99"),
        ("umask=1777", "umask=1777"),
        ("allow_other,allow_root", "only one"),
        ("RO", "-o RO"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=re.escape(named)):
        parse_options([text])


def undone(text: str) -> bytes:
    """What libfuse's option parser makes of an escaped value."""
    return re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), text.encode("ascii"))


@given(st.binary())
def test_any_path_passes_libfuse(raw: bytes) -> None:
    path = raw.decode("utf-8", "surrogateescape")
    assert undone(escape(path)) == raw
    assert "," not in escape(path)


def test_an_ordinary_path_is_not_escaped() -> None:
    assert escape("/var/lib/timefs-2_a@b") == "/var/lib/timefs-2_a@b"
