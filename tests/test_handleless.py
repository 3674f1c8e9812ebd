"""Tests of `timefs.fuse.handleless`, the optional extension. `tests.test_mount` has it at work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import needs
from timefs.fuse import handleless

PROJECT = Path(__file__).resolve().parent.parent


def python(text: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_where_it_was_not_compiled_nothing_is_enabled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(handleless, "LIBRARY", tmp_path / "none.so")
    monkeypatch.setattr(handleless, "_flags", [])
    assert handleless.enable() is False
    assert handleless.in_effect() is False


def test_a_file_that_is_something_else_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.so").write_bytes(b"something else")
    monkeypatch.setattr(handleless, "LIBRARY", tmp_path / "other.so")
    monkeypatch.setattr(handleless, "_flags", [])
    assert handleless.enable() is False


def test_it_can_be_loaded_more_than_once_and_is_not_in_effect_without_requests() -> None:
    needs(str(handleless.LIBRARY))
    told = "from timefs.fuse import handleless as h; print(h.enable(), h.enable(), h.in_effect())"
    assert python(told) == "True True False\n"


def test_the_command_loads_it_before_pyfuse3() -> None:
    told = "import sys, timefs.cli, timefs.fuse.handleless; print('pyfuse3' in sys.modules)"
    assert python(told) == "False\n"


def test_what_unmounts_loads_nothing_that_a_mount_needs() -> None:
    heavy = {"pyfuse3", "trio", "lmdb", "zstandard", "blake3", "socket", "email"}
    assert python(f"import sys, timefs.cli; print({heavy} & set(sys.modules))") == "set()\n"
