"""What documents are made of, and the one of an error."""

from __future__ import annotations

from typing import Annotated

import msgspec

from engine.domain.errors import EngineError, explained

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""With microseconds and the offset of the zone of what is shown."""


class ApiDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document, or a part of one. All fields are always there."""


class Wrong(ApiDocument, frozen=True, kw_only=True):
    """Something that is wrong, and ended nothing."""

    what: str


class ErrorLine(ApiDocument, frozen=True, kw_only=True):
    """Why a command ended without its document."""

    what: str
    """As on standard error."""
    status: int
    """The exit status."""


class ErrorDocument(ApiDocument, frozen=True, kw_only=True):
    """Stands in place of the document of any verb that came to no end."""

    error: ErrorLine


def failed(error: BaseException) -> ErrorDocument:
    """The document for an error that ends a command."""
    status = error.status if isinstance(error, EngineError) else 1
    return ErrorDocument(error=ErrorLine(what=explained(error), status=status))
