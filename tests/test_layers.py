"""The floors of the house: a module imports only what stands below it (engine/ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = (
    ("engine", "engine.domain"),
    ("engine.system",),
    ("engine.settings",),
    ("engine.journal", "engine.blobs", "engine.connectors"),
    ("engine.backup",),
    ("engine.query", "engine.operations", "engine.notifications"),
    ("engine.scan", "engine.check", "engine.past_imap", "engine.query.status", "engine.purge"),
    ("engine.restore", "engine.scan.follow", "engine.exchange"),
    ("engine.services",),
    ("engine.api",),
    ("engine.daemon",),
    ("engine.cli", "timefs"),
)
"""From the ground up. A package stands for all its modules, unless one is named lower down."""

PURE = (
    "engine.domain.model",
    "engine.domain.paths",
    "engine.domain.identity",
    "engine.system.text",
    "engine.system.pauses",
    "engine.domain.errors",
    "engine.system.clock",
    "engine.system.progress",
    "engine.system.batched",
    "engine.domain.naming",
    "engine.domain.mutf7",
    "engine.domain.kinds",
    "engine.domain.description",
    "engine.domain.content_lines",
    "engine.domain.ical",
    "engine.domain.vcard",
    "engine.domain.messages",
    "engine.domain.stored_form",
    "engine.domain.timestamps",
    "engine.journal.keys",
    "engine.journal.records",
    "engine.journal.derive",
    "engine.journal.headers",
    "engine.blobs.pack",
    "engine.blobs.codec",
    "engine.blobs.lines",
    "engine.blobs.splitting",
    "engine.blobs.recipe",
    "engine.blobs.recovery",
    "engine.blobs.draft",
    "engine.connectors.maildir.names",
    "engine.connectors.imap.client.wire",
    "engine.connectors.imap.names",
    "engine.connectors.imap.identity",
    "engine.connectors.imap.cursor",
    "engine.connectors.imap.folders",
    "engine.connectors.imap.client.overview",
    "engine.scan.follow.agenda",
    "engine.connectors.maildir.delivery_names",
    "engine.connectors.imap.crlf",
    "engine.connectors.imap.target_names",
    "engine.connectors.imap.target_flags",
    "engine.connectors.imap.target_refusals",
    "engine.connectors.mail",
    "engine.connectors.unpacking",
    "engine.restore.plan",
    "engine.connectors.maildir.trees",
    "engine.exchange.export.form",
    "engine.check.choice",
    "engine.journal.repair.flipped",
    "engine.scan.states",
    "engine.scan.matching",
    "engine.scan.pairing",
    "engine.scan.plan",
    "engine.scan.recognition",
    "engine.scan.refusals",
    "engine.scan.roster",
    "engine.operations.record",
    "engine.operations.meter",
    "engine.notifications.event",
    "engine.notifications.message",
    "engine.daemon.schedule",
    "engine.past_imap.logins",
    "timefs.view.inodes",
)
CONNECTORS = "engine.connectors"
CONTRACTS = {
    f"{CONNECTORS}.{name}"
    for name in ("source", "target", "events", "connector", "registry", "sources", "targets")
}
"""What of the connectors is for everybody: what a kind has to do, and what opens each kind."""
SHARED = {f"{CONNECTORS}.{name}" for name in ("mail", "unpacking", "lazy", "ownership")}
"""What several kinds need."""
WITHIN_A_KIND = {
    ("engine.exchange.export.plan", "maildir.names"): "an export has Maildirs of its own",
    ("engine.exchange.export.plan", "maildir.trees"): "the same",
    ("engine.exchange.export.records", "maildir.trees"): "the same",
    ("timefs.view.maildir_tree", "maildir.names"): "the mount shows Maildirs",
    ("timefs.view.maildir_tree", "maildir.trees"): "the same",
    ("timefs.view.own", "maildir.names"): "the same",
    ("timefs.view.own", "maildir.trees"): "the same",
}
"""Who else looks into a kind of connector, where, and why. Between kinds there is nothing."""

IMPURE = {"lmdb", "pyfuse3", "trio", "socket", "os", "subprocess"}
"""What a pure module does without. `os` is judged by its use: see `allowed_in_pure`."""


def modules() -> dict[str, Path]:
    found = {}
    for package in ("engine", "timefs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floor(module: str) -> int:
    """The floor of a module: that of the longest name in FLOORS that holds it."""
    best, number = "", None
    for index, names in enumerate(FLOORS):
        for name in names:
            holds = module == name or (name != "engine" and module.startswith(name + "."))
            if holds and len(name) > len(best):
                best, number = name, index
    if number is None:
        raise AssertionError(f"{module} has no floor: add it to FLOORS")
    return number


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_from_its_floor_and_below(module: str) -> None:
    own = {name for name in imports(MODULES[module]) if name in MODULES}
    above = {name for name in own if floor(name) > floor(module)}
    assert not above, f"{module} imports from above: {sorted(above)}"


@pytest.mark.parametrize("module", [name for name in PURE])
def test_pure_modules_do_no_io(module: str) -> None:
    used = {name.split(".")[0] for name in imports(MODULES[module])}
    assert not used & (IMPURE - {"os"}), f"{module} is to be pure"
    text = MODULES[module].read_text(encoding="utf-8")
    calls = {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert calls <= {"fsencode", "fsdecode", "environ", "path", "PathLike", "fspath", "strerror"}, (
        calls
    )


def test_the_engine_never_imports_the_mount() -> None:
    for module, path in MODULES.items():
        if module.startswith("engine"):
            assert not any(name.split(".")[0] == "timefs" for name in imports(path)), module


CLI = {"output", "arguments", "parser", "calling", "progress"}
"""What all verbs may use of `engine.cli`."""
VERBS_THAT_SHARE = {
    ("restore", "restoring"),
    ("undelete", "restoring"),
    ("import_", "restoring"),
    ("import_", "export"),
    ("watch", "log"),
}
"""Verbs, and what else they use."""


def test_verbs_import_one_another_only_where_that_is_listed() -> None:
    found = set()
    for module, path in MODULES.items():
        if module.startswith("engine.cli."):
            for name in imports(path):
                parts = name.split(".")
                if (
                    parts[:2] == ["engine", "cli"]
                    and len(parts) > 2
                    and ".".join(parts[:3]) in MODULES
                ):
                    found.add((module.split(".")[2], parts[2]))
    assert {(verb, other) for verb, other in found if other not in CLI} == VERBS_THAT_SHARE


def test_services_know_no_command_line() -> None:
    for module, path in MODULES.items():
        if module.startswith("engine.services"):
            names = imports(path)
            assert not any(name.startswith("engine.cli") for name in names), module
            assert not names & {"argparse", "sys", "signal"}, module


def kind_of(module: str) -> str:
    """The kind of connector that a module belongs to; empty for all others."""
    parts = module.removeprefix(f"{CONNECTORS}.").split(".")
    inside = module.startswith(f"{CONNECTORS}.") and f"{CONNECTORS}.{parts[0]}" in PACKAGES
    return parts[0] if inside else ""


PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def test_a_kind_of_connector_is_its_own_business() -> None:
    """Kinds don't import one another, and nobody else what is inside one, unless it is listed."""
    found = {
        (module, name.removeprefix(f"{CONNECTORS}."))
        for module, path in MODULES.items()
        for name in imports(path) & MODULES.keys() - PACKAGES
        if kind_of(name) not in ("", kind_of(module))
    }
    assert found == WITHIN_A_KIND.keys()


def test_what_stands_beside_the_kinds_is_for_several() -> None:
    beside = {name for name in MODULES if name.startswith(f"{CONNECTORS}.") and not kind_of(name)}
    assert beside == CONTRACTS | SHARED


JOURNALS_OWN = {"txn", "tables"}
"""Attributes that only the journal uses: transactions, and handles of tables."""
ENVIRONMENTS_OWN = {"read", "write", "tables", "has", "missing", "scratch", "drop"}
"""What of an `Environment` only the journal uses: others hand it on as it is."""
ROWS = {
    "engine.journal.records": {
        *("seal", "unseal", "is_intact", "pack", "unpack", "pack_event", "unpack_event"),
        *("pack_item", "unpack_item", "pack_keyframe", "unpack_keyframe", "keyframe_keys"),
        *("unpack_version", "unpack_outline", "unpack_account", "pack_span"),
    },
    "engine.journal.environment": {"Tables", "Table", "Txn"},
}
"""Names that only the journal imports: what rows are made of."""


def uses_rows(path: Path) -> set[str]:
    """What a module uses that belongs to the journal alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = getattr(owner, "attr", getattr(owner, "id", ""))
            if node.attr in JOURNALS_OWN:
                found.add(node.attr)
            elif name.strip("_") == "environment" and node.attr in ENVIRONMENTS_OWN:
                found.add(f"environment.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            found |= names & ROWS.get(node.module or "", set())
            if node.module == "engine.journal.keys":
                found |= names - {"MAX_SEQUENCE"}
    return found


def test_lmdb_and_the_rows_in_it_are_the_journals_alone() -> None:
    assert {"txn", "tables", "pack"} <= uses_rows(MODULES["engine.journal.erasures"])
    for module, path in MODULES.items():
        if not module.startswith("engine.journal"):
            assert "lmdb" not in {name.split(".")[0] for name in imports(path)}, module
            assert not uses_rows(path), module


SIBLINGS = {
    ("engine.check", "engine.purge"),  # a repair holds the lock of purges
    ("engine.check", "engine.scan"),  # a check compares with the source as a scan does
    ("engine.exchange.imports", "engine.exchange.export"),  # reads what that writes
    ("engine.exchange.imports", "engine.restore"),  # delivers as a restore does
    ("engine.notifications", "engine.operations"),  # tells how one ended
    ("engine.purge", "engine.past_imap"),  # the one list of where traces of what is removed can be
    ("engine.purge", "engine.scan"),  # likewise
    ("engine.query", "engine.scan"),  # status tells the scan's problems
    ("timefs.cache", "timefs.fuse"),  # what runs beside the requests
    ("timefs.cache", "timefs.view"),
    ("timefs.fuse", "timefs.cache"),
    ("timefs.fuse", "timefs.view"),
}
"""Which packages of one floor import which others of it, and why."""

INNER = ("engine.connectors", "engine.exchange")
"""Packages whose own packages are siblings of one another."""


def package(module: str) -> str:
    """The package that a module is a part of, for the rule on siblings."""
    parts = module.split(".")
    top = ".".join(parts[:2])
    deeper = top in INNER and len(parts) > 2 and ".".join(parts[:3]) not in LEAVES
    return ".".join(parts[:3]) if deeper else top


LEAVES = {name for name, path in MODULES.items() if path.name != "__init__.py"}


def test_packages_of_one_floor_import_one_another_only_where_that_is_listed() -> None:
    found = {
        (package(module), package(name))
        for module, path in MODULES.items()
        for name in imports(path)
        if name in MODULES and floor(name) == floor(module) and package(name) != package(module)
    }
    found = {
        (one, other)
        for one, other in found
        if not one.startswith(other + ".")  # what a package's parts have in common
        and "." in other
        and one not in LEAVES
        and other not in LEAVES
    }
    assert found == SIBLINGS
