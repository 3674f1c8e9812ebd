"""The backup engine: records every change of every item of a mail server, and reads it back.

`timefs` (the mount) is built on this package; this package never imports `timefs`.
"""

from pathlib import Path

__version__ = "0.1.0"

DEFAULT_PATH = Path("/var/lib/timefs")
"""The backup path, where none is given."""
