"""What `engine restore --json` prints."""

from engine.api.restoring import DOCUMENTS

__all__ = ["DOCUMENTS"]
