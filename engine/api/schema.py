"""The documents of all verbs as JSON Schema, for `engine schema`."""

from __future__ import annotations

import ast
import inspect
import keyword
import textwrap
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec

from engine.api.document import ApiDocument, ErrorDocument

VERBS = (
    "init",
    "scan",
    "watch",
    "status",
    "sources",
    "accounts",
    "search",
    "show",
    "log",
    "undelete",
    "restore",
    "export",
    "import",
    "check",
    "backup-journal",
    "operations",
    "notifications",
    "purge",
    "hold",
    "erase",
    "past-imap",
    "config",
    "schema",
)
"""The verbs that print documents. Of `watch` each line is one."""

DOCUMENTS = (list[str], dict[str, Any])
"""What `engine schema --json` prints: the verbs, or a schema."""


def schema(verb: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what a verb of VERBS prints with --json."""
    types = [*_module(verb).DOCUMENTS, ErrorDocument]
    forms, parts = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    structs = {each.__name__: each for each in _structs(ApiDocument)}
    for name, part in parts.items():
        _describe(structs[name], part)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"engine {verb} --json",
        "anyOf": list(forms),
        "$defs": parts,
    }


def _module(verb: str) -> ModuleType:
    name = f"{verb}_" if keyword.iskeyword(verb) else verb.replace("-", "_")
    return import_module(f"engine.api.{name}")


def _structs(base: type[ApiDocument]) -> list[type[ApiDocument]]:
    """All documents whose modules are loaded."""
    found = list(base.__subclasses__())
    return found + [inner for each in found for inner in _structs(each)]


def _describe(struct: type[ApiDocument], part: dict[str, Any]) -> None:
    """Adds what the source says of a struct's fields, in the text behind each."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            told = " ".join(str(text.value.value).split())
            part["properties"][names[field.target.id]]["description"] = told
