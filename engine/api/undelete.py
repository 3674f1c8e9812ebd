"""What `engine undelete --json` prints."""

from engine.api.restoring import DOCUMENTS

__all__ = ["DOCUMENTS"]
