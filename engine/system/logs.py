"""The log of a process that nobody watches: an event and its fields, a line each.

    2024-05-01T10:00:00.000Z info scan-done accounts=3 created=10

in the form of logfmt, or as JSON. Beneath is `logging` of the standard library, so what libraries
tell comes the same way. Under systemd each line has its priority in front, as sd-daemon(3) has it.
Values may be names that strangers chose: whatever could end a line or move a cursor is escaped.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from engine.system.text import shown

LOG_LEVELS = ("debug", "info", "warning", "error")

_ROOT = "engine"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_BARE = re.compile(r"[!#-<>-\[\]-~]+")
"""A value that needs no quotes: no blank, no `"`, `=` or `\\`."""

logging.getLogger(_ROOT).addHandler(logging.NullHandler())  # unless `configure` says where to


class Log:
    """Where one part of the engine writes. Any thread may."""

    def __init__(self, part: str) -> None:
        """`part` names it: `daemon`, `watch`."""
        self._logger = logging.getLogger(f"{_ROOT}.{part}")

    def debug(self, event: str, **fields: object) -> None:
        """What helps whoever looks for a fault."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What happened, as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something in it failed, and the rest goes on."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """It failed."""
        self._write(logging.ERROR, event, fields)

    def defect(self, event: str, error: BaseException, **fields: object) -> None:
        """An exception that shouldn't be, with its traceback."""
        fields["error"] = f"{type(error).__name__}: {error}"
        self._logger.error(event, extra={"fields": fields}, exc_info=error)

    def _write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        self._logger.log(level, event, extra={"fields": fields})


def configure(stream: TextIO, level: str, form: str, *, journal: bool = False) -> None:
    """Sends all that is logged in this process to `stream`, from `level` on; what libraries log,
    from warnings on. `form` is one of LOG_FORMATS. May be called again, to change them."""
    formatter: _Formatter = _Json(journal) if form == "json" else _Plain(journal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_ROOT).setLevel(getattr(logging, level.upper()))


def to_standard_error(level: str, form: str) -> None:
    """From now on the log of this process goes to standard error, as `configure` does it: with
    priorities where that is the journal."""
    configure(sys.stderr, level, form, journal=is_journal(sys.stderr, os.environ))


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd's journal reads a stream: `$JOURNAL_STREAM` (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Formatter(logging.Formatter):
    """What both forms have in common."""

    def __init__(self, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        level = _level(record.levelno)
        moment = datetime.fromtimestamp(record.created, UTC)
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
        fields: dict[str, object] = dict(getattr(record, "fields", {}))
        event = record.getMessage()
        if not hasattr(record, "fields"):  # a library's
            event, fields = record.name, {"text": event}
        trace = ""
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        prefix = f"<{_PRIORITIES[level]}>" if self._journal else ""
        return "\n".join(prefix + line for line in self._lines(stamp, level, event, fields, trace))

    def _lines(
        self, stamp: str, level: str, event: str, fields: dict[str, object], trace: str
    ) -> list[str]:
        raise NotImplementedError


class _Plain(_Formatter):
    """Lines as in logfmt; those of a traceback follow, set in."""

    def _lines(
        self, stamp: str, level: str, event: str, fields: dict[str, object], trace: str
    ) -> list[str]:
        words = [stamp, level, _bare(event), *(f"{k}={_value(v)}" for k, v in fields.items())]
        lines = [f"    {_escaped(line)}" for line in trace.splitlines()]
        return [" ".join(words), *lines]


class _Json(_Formatter):
    """One object a line, in ASCII."""

    def _lines(
        self, stamp: str, level: str, event: str, fields: dict[str, object], trace: str
    ) -> list[str]:
        record = {"time": stamp, "level": level, "event": event, **fields}
        if trace:
            record["traceback"] = trace
        return [json.dumps(record, default=str)]


def _level(number: int) -> str:
    """The word for a level of `logging`."""
    names = (name for name in reversed(LOG_LEVELS) if number >= getattr(logging, name.upper()))
    return next(names, "debug")


def _value(value: object) -> str:
    """A value as logfmt has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if _BARE.fullmatch(text) else f'"{_escaped(text, quoted=True)}"'


def _bare(text: str) -> str:
    return text if _BARE.fullmatch(text) else _value(text)


def _escaped(text: str, *, quoted: bool = False) -> str:
    if quoted:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return shown(text)
