"""Where tests put files that they make by the thousand."""

from __future__ import annotations

import os

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A directory where nothing waits for a disk; None, for `tempfile`, where there is none."""
