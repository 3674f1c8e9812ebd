"""Whatever has the name of a file of a backup path and isn't one: nobody waits for it, and whoever
needs it says what it is."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.system import plainfile
from tests.backups import SmallBackup, letter
from tests.commands import failing
from tests.faults import Server

SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
TODAY = "operations/ended/2024-05-01.jsonl"
PLACES = (
    "config.toml",
    "journal",
    "journal/data.mdb",
    "journal/lock.mdb",
    "packs",
    "packs/00",
    "packs/00/0000000000000001.pack",
    "aside",
    "operations",
    "operations/running",
    "operations/running/0000001",
    "operations/ended",
    TODAY,
    "notifications",
    "notifications/conditions.json",
    "notifications/conditions.json.new",
    "daemon",
    "daemon/lock",
    "daemon/state.json",
    "damaged",
    "damaged.new",
    "journal-copies",
)
VERBS = (("check",), ("check", "--repair"), ("status",), ("purge",), ("operations",))


def bind(path: Path) -> None:
    """Makes a socket there. Its address must be short."""
    here = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


KINDS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a socket": bind,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("/nonexistent/file"),
    "an empty file": Path.touch,
    "a file of something else": lambda path: path.write_bytes(bytes(range(256))),
}


def put(path: Path, kind: str) -> None:
    """Puts something else where a file or directory is, or could be."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of two packs."""
    small = SmallBackup(tmp_path_factory.mktemp("sound") / "backup")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    small.message(alice, inbox, letter(1))
    with small.backup.blob_writer():  # which has the first pack, so there are two
        first = next(small.backup.volume.list()).id
        held = small.backup.volume.lock(first)
        assert held
        small.message(alice, inbox, letter(2))
        held.close()
    small.close()
    return small.path


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "file" not in kind])
def test_what_has_a_packs_name_costs_what_was_in_it_and_no_more(
    sound: Path, tmp_path: Path, quick: Server, kind: str
) -> None:
    backup = Path(shutil.copytree(sound, tmp_path / "backup"))
    first, _ = sorted((backup / "packs").rglob("*.pack"))
    put(first, kind)
    for words in ("--deep",), ("--repair",), ("--deep", "--repair"):
        checked = quick("check", *words, "--json", "-b", backup, status=1).json
        assert checked["packs"] + checked["skipped_packs"] == 1, (words, checked)
        named = [found["what"] for found in checked["problems"] if found["kind"] == "pack"]
        (told,) = [what for what in named if first.stem in what]
        assert told.endswith(f"it is {kind}, not a file") or "link" in kind, told
    assert os.path.lexists(first)


def test_what_has_the_name_of_any_file_stops_nobody(
    sound: Path, tmp_path: Path, quick: Server
) -> None:
    every = list(itertools.product(PLACES, KINDS, VERBS))
    some = random.Random(SEED).sample(every, 40)
    try_all(sound, tmp_path / "backup", quick, some)


@pytest.mark.slow
def test_what_has_the_name_of_any_file_stops_nobody_all(
    sound: Path, tmp_path: Path, quick: Server
) -> None:
    try_all(sound, tmp_path / "backup", quick, list(itertools.product(PLACES, KINDS, VERBS)))


def try_all(
    sound: Path, backup: Path, quick: Server, cases: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    """Each command comes to its end, in lines (`Server` asserts it)."""
    for place, kind, words in cases:
        shutil.copytree(sound, backup)
        put(backup / place, kind)
        fate = quick.engine(*words, "-b", backup)
        assert fate.status in (0, 1, 2, 3), (place, kind, words, *fate)
        assert fate.status == 0 or fate.err, (place, kind, words, *fate)
        shutil.rmtree(backup)


def test_a_device_is_no_file() -> None:
    with pytest.raises(plainfile.NotPlain, match="it is a device, not a file"):
        plainfile.read(Path("/dev/zero"))


def test_a_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert plainfile.read(tmp_path / "link") == b"content"
    with failing(2):
        plainfile.read(tmp_path / "missing")
