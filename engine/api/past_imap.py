"""What `engine past-imap --json` prints."""

from __future__ import annotations

from engine.api.document import ApiDocument


class PastImap(ApiDocument, frozen=True, kw_only=True):
    """The configuration that was written."""

    dovecot: str
    """The version that it is for."""
    checked: bool
    """Whether that Dovecot takes it."""
    separator: str
    server_file: str
    """The configuration of the server of the past."""
    folders_file: str
    """That of the folder Backup, for the live server."""
    listen: str


DOCUMENTS = (PastImap,)
