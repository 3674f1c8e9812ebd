"""The systemd unit of a backup path: `timefs.service`, beside this file, filled in."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from importlib.resources import files
from pathlib import Path

from engine import DEFAULT_PATH
from engine.domain.errors import UsageError
from engine.settings.table import Settings


def unit(backup: Path, settings: Settings, engine: Path) -> str:
    """The unit for a backup path with these settings. `engine` is the command to run. Raises
    UsageError for a path that a unit can't hold."""
    path = Path(os.path.abspath(backup))
    writable = [path]
    if settings.metrics_textfile:
        writable.append(Path(settings.metrics_textfile).parent)
    name = "timefs.service"
    if path != DEFAULT_PATH:
        name = f"timefs-{re.sub('[^a-zA-Z0-9]+', '-', str(path)).strip('-')}.service"
    text = (files("engine.daemon") / "timefs.service").read_text("utf-8")
    return text.format(
        backup=_escaped(path),
        plain=shlex.quote(str(path)),
        user=_owner(path),
        quoted=_quoted(path),
        argument=_quoted(path).replace("$", "$$"),
        engine=_quoted(engine).replace("$", "$$"),
        writable=" ".join(map(_quoted, writable)),
        name=name,
    )


def _owner(path: Path) -> str:
    """The name of a directory's owner; the number of one without a name."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _escaped(path: Path) -> str:
    """A path in running text: `%` begins a specifier (systemd.unit(5))."""
    text = str(path)
    if not text.isprintable():
        raise UsageError(f"{text!r}: a unit can't hold this path: choose a plain one")
    return text.replace("%", "%%")


def _quoted(path: Path) -> str:
    """A path as one word of a list (systemd.syntax(7))."""
    escaped = _escaped(path).replace("\\", "\\\\").replace('"', '\\"')
    return escaped if re.fullmatch(r"[\w/.@+,:%-]+", escaped) else f'"{escaped}"'
