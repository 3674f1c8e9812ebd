"""What `engine watch --json` prints: one of these in each line."""

from engine.api.log import LogEntry, document

__all__ = ["DOCUMENTS", "document"]

DOCUMENTS = (LogEntry,)
