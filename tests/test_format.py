"""The worked examples of engine/FORMAT.md are what the code reads and writes."""

from __future__ import annotations

import re
from pathlib import Path

from blake3 import blake3

from engine.check.report import CheckReport
from engine.domain.model import Action, Kind, Version
from engine.journal.environment import FORMAT, Tables
from engine.journal.keys import pair_key, split_pair
from engine.journal.records import pack, seal, unpack_version

TEXT = (Path(__file__).parent.parent / "engine" / "FORMAT.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """The code block after the mark `example: NAME`."""
    found = re.search(rf"<!-- example: {name}[^>]*-->\n```\n(.*?)\n```", TEXT, re.DOTALL)
    assert found, f"FORMAT.md has no example {name}"
    return found.group(1)


def from_dump(lines: str) -> bytes:
    """The bytes of a hex dump: offset, up to 16 bytes, two blanks, text."""
    return b"".join(bytes.fromhex(line[6:53]) for line in lines.splitlines())


def test_the_example_of_a_version_decodes() -> None:
    first, rest = example("version").split("\nvalue\n")
    key = bytes.fromhex(first.removeprefix("key").strip())
    value = from_dump(rest)
    version = Version(
        kind=1,
        folder=3,
        name="2024-05-01T0800_bob@example.com_Hello_000004.eml",
        edition=0,
        since=1_714_550_415_000_003,
        date=1_714_550_400_000_000,
        digest=blake3(b"Hello, past!\n").digest(),
        size=13,
        flags=("\\Flagged", "\\Seen"),
        identity=b"1714550400.M1P2.mail,S=13",
        meta={},
    )
    assert split_pair(key) == (4, 3)
    assert key == pair_key(4, 3)
    assert unpack_version(key, value) == version
    assert seal(key, pack(version)) == value


def test_the_document_names_what_the_code_has() -> None:
    assert f"Format {FORMAT}." in TEXT
    for table in Tables._fields:
        assert f"| `{table}` |" in TEXT, f"the table {table} is not in FORMAT.md"
    for kind in Kind:
        assert f"{int(kind)} {kind.name.lower().replace('_', ' ')}" in TEXT
    for action in Action:
        assert f"{int(action)} {action.name.lower()}" in TEXT


def test_every_rule_of_the_check_is_in_the_document() -> None:
    engine = Path(__file__).parent.parent / "engine"
    modules = [*(engine / "check").glob("*.py"), *(engine / "journal").glob("*rules.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in modules)
    rules = set(re.findall(r'report\.add\(\s*"([a-z-]+)"', sources)) | {"derived", "blob-damaged"}
    assert {"checksum", "times", "index"} <= rules
    for rule in rules:
        assert f"| `{rule}` |" in TEXT, f"the rule {rule} is not in FORMAT.md"
    assert CheckReport().ok
