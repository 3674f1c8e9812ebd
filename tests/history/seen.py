"""What a mount must show of a remembered instant, and what it does show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from engine.domain.model import ROOT, Entry, Kind, Recorded
from engine.domain.naming import name_hash, with_id
from tests.remembered import Memory

ACCOUNT = "account.json"


class File(NamedTuple):
    """A file, as stat and reading show it. Times in microseconds."""

    digest: bytes
    size: int
    mtime: int
    ctime: int


class Document(NamedTuple):
    """An account.json: its metadata, and times."""

    meta: dict[str, object]
    mtime: int
    ctime: int


Seen = dict[str, File | Document | None]
"""What is there, by path; None is a directory."""


def instant(time: int) -> str:
    """The name of the view of a time in microseconds, where the mount's zone is UTC."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time)).strftime(
        "%Y-%m-%dT%H:%M:%S.%f"
    )


def walk(top: Path) -> Seen:
    """All that is listed below a directory. Each is looked up by its name, too."""
    seen: Seen = {}
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        for entry in os.scandir(directory):
            path = Path(entry.path)
            name = str(path.relative_to(top))
            assert name not in seen, name
            status = path.lstat()
            assert status.st_ino == entry.inode()
            if entry.is_dir():
                waiting.append(path)
                seen[name] = None
                continue
            content = path.read_bytes()
            assert len(content) == status.st_size
            mtime, ctime = status.st_mtime_ns // 1000, status.st_ctime_ns // 1000
            if path.name == ACCOUNT:
                seen[name] = Document(json.loads(content)["metadata"], mtime, ctime)
            else:
                seen[name] = File(blake3(content).digest(), len(content), mtime, ctime)
    return seen


def view(memory: Memory, sequence: int) -> Seen:
    """What a view lists, from its top."""
    return dict(_below(memory, sequence, ROOT, ""))


def deleted(memory: Memory, sequence: int, account: int) -> Seen:
    """What `.deleted` of an account, or with ROOT of the view, lists."""
    return dict(_deleted(memory, sequence, account, ""))


def _below(
    memory: Memory, sequence: int, folder: int, prefix: str
) -> Iterator[tuple[str, File | Document | None]]:
    for entry in memory.listing(folder, sequence):
        yield from _shown(memory, sequence, entry, f"{prefix}{entry.version.name}")


def _shown(
    memory: Memory, sequence: int, entry: Entry, path: str
) -> Iterator[tuple[str, File | Document | None]]:
    version = entry.version
    if not version.container:
        yield path, File(version.digest, version.size, version.date, version.since)
        return
    yield path, None
    if version.kind == Kind.ACCOUNT:
        yield f"{path}/{ACCOUNT}", Document(version.meta, version.since, version.since)
    yield from _below(memory, sequence, entry.item, f"{path}/")


def _deleted(
    memory: Memory, sequence: int, folder: int, prefix: str
) -> Iterator[tuple[str, File | Document | None]]:
    names: set[str] = set()
    hashes: set[bytes] = set()
    if folder != ROOT:
        for entry in memory.listing(folder, sequence):
            if entry.version.container and _lost(memory, sequence, entry.item):
                names.add(entry.version.name)
                hashes.add(name_hash(entry.version.name))
                yield f"{prefix}{entry.version.name}", None
                yield from _deleted(memory, sequence, entry.item, f"{prefix}{entry.version.name}/")
    for recorded in reversed(memory.deletions(folder, sequence)):
        version = recorded.version
        assert version is not None
        name = version.name
        if name in names or (not version.container and name_hash(name) in hashes):
            name = with_id(name, recorded.item, container=version.container)
        names.add(name)
        hashes.add(name_hash(name))
        yield from _dead(memory, sequence, recorded, f"{prefix}{name}")


def _dead(
    memory: Memory, sequence: int, recorded: Recorded, path: str
) -> Iterator[tuple[str, File | Document | None]]:
    version = recorded.version
    assert version is not None
    if version.kind == Kind.ACCOUNT:
        yield from _shown(memory, sequence, Entry(recorded.item, 0, version), path)
    elif version.container:
        yield path, None
        yield from _deleted(memory, sequence, recorded.item, f"{path}/")
    else:
        time = memory.moments[recorded.sequence].time
        yield path, File(version.digest, version.size, version.date, time)


def _lost(memory: Memory, sequence: int, folder: int) -> bool:
    """Whether anything was deleted from a folder, or from a living one below."""
    return bool(memory.deletions(folder, sequence)) or any(
        entry.version.container and _lost(memory, sequence, entry.item)
        for entry in memory.listing(folder, sequence)
    )
