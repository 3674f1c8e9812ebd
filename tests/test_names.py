"""The names of the house: a public class has one meaning, and what is named in backticks is
there."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.test_layers import MODULES, ROOT

DOCUMENTS = sorted(
    [*ROOT.glob("engine/**/*.md"), *ROOT.glob("timefs/**/*.md"), ROOT / "CONTRIBUTING.md"]
)


def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


TREES = trees()


def test_a_public_class_has_a_name_of_its_own() -> None:
    found = defaultdict(list)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    assert not {name: where for name, where in found.items() if len(where) > 1}


@cache
def known() -> frozenset[str]:
    """Everything that has a name in the code: modules, classes, functions, fields, arguments."""
    names = set(dir(builtins))
    for module, tree in TREES.items():
        names |= set(module.split("."))
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return frozenset(names)


DOTTED = re.compile(r"`((?:engine|timefs|tests)(?:\.\w+)+)(?:\(\))?`")
PATH = re.compile(r"`((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|md|service|c))`")


def docstrings(tree: ast.Module) -> list[str]:
    """All texts of a module that stand by themselves, as docstrings do."""
    return [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def resolves(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if module in MODULES or (ROOT / Path(*parts[:length])).with_suffix(".py").exists():
            return all(part in known() or parts[0] == "tests" for part in parts[length:])
    return False


def test_dotted_names_in_docstrings_and_documents_resolve() -> None:
    texts = {module: docstrings(tree) for module, tree in TREES.items()}
    texts |= {path.name: [path.read_text(encoding="utf-8")] for path in DOCUMENTS}
    lost = {
        (where, name)
        for where, found in texts.items()
        for text in found
        for name in DOTTED.findall(text)
        if not resolves(name)
    }
    assert not lost


def test_files_that_documents_name_are_there() -> None:
    lost = set()
    for document in DOCUMENTS:
        for name in PATH.findall(document.read_text(encoding="utf-8")):
            tops = (ROOT, ROOT / "engine", ROOT / "timefs", document.parent)
            if not any((top / name).exists() for top in tops):
                lost.add((document.name, name))
    assert not lost


SINGLE = re.compile(r"`([A-Za-z_]\w*(?:\.[a-z_]\w*)?)(?:\(\))?`")


def test_classes_in_docstrings_resolve() -> None:
    """A word in backticks that is written like a class is one, of ours or of Python's."""
    foreign = {"Received", "Date", "None", "From", "To", "Cc"}
    lost = {
        (module, name)
        for module, tree in TREES.items()
        for text in docstrings(tree)
        for name in SINGLE.findall(text)
        if re.match(r"[A-Z][a-z]+[A-Z]", name)
        and name.split(".")[0] not in known()
        and name not in foreign
    }
    assert not lost
