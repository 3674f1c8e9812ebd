"""The coherency check: every record and every blob, against the rules of FORMAT.md.

`check` only reads. `repair` rebuilds what is derived (folder timelines, names, the blob index) from
what it is derived from; it never deletes a version or a blob.
"""

from engine.check.check import Scope, check
from engine.check.report import CheckFinding, CheckReport

__all__ = ["CheckFinding", "CheckReport", "Scope", "check"]
