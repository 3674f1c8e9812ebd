"""Where restores write to. Which kinds there are is said in `engine.connectors.registry`."""

from __future__ import annotations

from msgspec.structs import replace

from engine.connectors.registry import KINDS
from engine.connectors.sources import configured, parse_source
from engine.connectors.target import Target
from engine.domain.errors import UsageError
from engine.settings.sources import NAME, SourceTable
from engine.settings.table import Settings
from engine.system.clock import Clock

_HOLDS_ANYWHERE = ("connections", "timeout")
"""What holds for any server of a kind, in the earlier form of the settings."""


def open_target(
    target: str | SourceTable, clock: Clock, settings: Settings | None = None
) -> Target:
    """The target that `KIND:LOCATION` or a source's name means, or a source; without settings, by
    those that are usual. Raises UsageError for an unknown kind, a location that the kind can't
    take, and settings that don't do for it."""
    settings = settings or Settings()
    if isinstance(target, str):
        target = _target(target, settings)
    return KINDS[target.kind].target(target, clock, settings)


def _target(text: str, settings: Settings) -> SourceTable:
    """What is meant, with what the settings have for it. The options of a source hold for its own
    server only: another one must not get its passwords."""
    given = configured(settings)
    if NAME.fullmatch(text):
        for source in given:
            if source.name == text:
                return source
        names = ", ".join(source.name for source in given)
        raise UsageError(f"{text!r} is nothing to restore to: neither KIND:LOCATION nor of {names}")
    target = parse_source(text)
    kind = KINDS[target.kind]
    place = kind.place(target.kind, target.location)
    alike = [source for source in given if KINDS[source.kind] is kind]
    same = [source for source in alike if kind.place(source.kind, source.location) == place]
    if len(same) > 1 and not target.given:
        names = ", ".join(source.name for source in same)
        raise UsageError(f"{text}: is the server of several sources: name one of {names} instead")
    if same:
        return target.over(same[0].given if len(same) == 1 else {}, kind)
    values = settings.earlier.get(kind.earlier, {})
    if alike:
        values = {key: value for key, value in values.items() if key in _HOLDS_ANYWHERE}
    return replace(target.over(values, kind), name=text)
