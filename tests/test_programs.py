"""Tests of `tests.programs`: a missing program skips on a laptop and fails where it must be."""

from __future__ import annotations

import pytest

from tests.programs import needs


def test_what_is_there_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    needs()
    needs("sh", "/dev/null")


def test_what_is_missing_skips_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"machine: no-such-program, /dev/none$"):
        needs("sh", "no-such-program", "/dev/none")


def test_what_is_missing_fails_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        needs("no-such-program")
