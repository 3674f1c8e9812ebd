"""What commands print with --json is held against the schemas that `engine schema` publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from engine.api.schema import VERBS, schema

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_KNOWN = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "format"}
    | {"title", "description", "$schema", "$defs"}
)


def document(words: Sequence[object], text: str) -> Any:
    """What `engine` printed that was run with these words, which must be as its schema says."""
    value = json.loads(text)
    verb = next((str(word) for word in words if word in VERBS), None)
    if verb is not None:
        wrong = faults(value, of(verb))
        assert not wrong, (verb, wrong)
    return value


@cache
def of(verb: str) -> dict[str, Any]:
    """The schema of a verb's document, as users get it."""
    found: dict[str, Any] = json.loads(json.dumps(schema(verb)))
    return found


def faults(value: Any, rules: Mapping[str, Any]) -> str:
    """Where a value isn't as a schema says, and why; empty where it is."""
    return _faults(value, rules, rules.get("$defs", {}), "")


def _faults(value: Any, rules: Mapping[str, Any], parts: Mapping[str, Any], where: str) -> str:
    unknown = rules.keys() - _KNOWN
    assert not unknown, f"this validator doesn't know {unknown}"
    if "$ref" in rules:
        return _faults(value, parts[rules["$ref"].removeprefix("#/$defs/")], parts, where)
    if "anyOf" in rules:
        found = [_faults(value, each, parts, where) for each in rules["anyOf"]]
        return "" if "" in found else "; or ".join(found)
    if "type" in rules:
        kind = rules["type"]
        boolean = isinstance(value, bool) and kind != "boolean"
        if boolean or not isinstance(value, _TYPES[kind]):
            return f"{where or '/'}: {value!r:.60} is no {kind}"
    if rules.get("format") == "date-time":
        try:
            timed = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            timed = False
        if not timed:
            return f"{where}: {value!r} is no time"
    if isinstance(value, dict):
        return _object_faults(value, rules, parts, where)
    if isinstance(value, list):
        each = (
            _faults(one, rules.get("items", {}), parts, f"{where}/{n}")
            for n, one in enumerate(value)
        )
        return next(filter(None, each), "")
    return ""


def _object_faults(
    value: dict[str, Any], rules: Mapping[str, Any], parts: Mapping[str, Any], where: str
) -> str:
    missing = set(rules.get("required", ())) - value.keys()
    if missing:
        return f"{where or '/'}: lacks {sorted(missing)}"
    others = rules.get("additionalProperties", {})
    for name, one in value.items():
        inner = rules.get("properties", {}).get(name, others)
        if inner is False:
            return f"{where or '/'}: {name} isn't in the schema"
        if wrong := _faults(one, {} if inner is True else inner, parts, f"{where}/{name}"):
            return wrong
    return ""
