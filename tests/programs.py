"""Programs that a test needs and that may not be there. What they do is for the tests to say."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*programs: str) -> None:
    """Skips the calling test if one of `programs` isn't on the PATH; with CI=true, fails it.

    A name with a slash is a file that must exist, such as `/dev/fuse`.
    """
    missing = [
        program
        for program in programs
        if not (os.path.exists(program) if "/" in program else shutil.which(program))
    ]
    if not missing:
        return
    message = f"not on this machine: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
