"""Tests of a mount that many read from at once: nobody hangs, and nobody gets other bytes.

Four programs read at random, and make the kernel drop what they have read; a fifth reads all of it
in order, again and again, so that files are given ahead while others ask for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backups import SmallBackup, letter
from tests.mounting import Mounted, mounted

ALICE = "alice@example.com"
GRACE = 60
"""Seconds after their time in which readers must have ended: else they hang."""

_READER = """
import hashlib, json, os, random, sys, time
view, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
wanted = sorted(json.load(sys.stdin).items())
chosen = random.Random(seed)
end = time.monotonic() + seconds
read = 0
while time.monotonic() < end:
    start = chosen.randrange(len(wanted))
    for path, digest in wanted[start : start + chosen.choice((1, 1, 3, 40))]:
        fd = os.open(os.path.join(view, path), os.O_RDONLY)
        if chosen.random() < 0.8:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        content = b"".join(iter(lambda: os.read(fd, chosen.choice((5000, 1 << 20))), b""))
        if chosen.random() < 0.8:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        assert hashlib.sha256(content).hexdigest() == digest, path
        read += 1
print(read)
"""

_TAR = """
import hashlib, json, subprocess, sys, tarfile, time
view, seconds = sys.argv[1], float(sys.argv[3])
wanted = json.load(sys.stdin)
end = time.monotonic() + seconds
read = 0
while time.monotonic() < end:
    tar = subprocess.Popen(["tar", "-C", view, "-cf", "-", "."], stdout=subprocess.PIPE)
    found = {}
    with tarfile.open(fileobj=tar.stdout, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".eml"):
                content = archive.extractfile(member).read()
                found[member.name[2:]] = hashlib.sha256(content).hexdigest()
    assert tar.wait() == 0
    assert found == wanted
    read += len(found)
print(read)
"""

_PROGRAMS = [(_READER, 1), (_READER, 2), (_READER, 3), (_READER, 4), (_TAR, 0)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A backup of some folders, and the digest of each message by its path in the account."""
    path = tmp_path_factory.mktemp("many") / "backup"
    small = SmallBackup(path)
    account = small.account(ALICE)
    chosen = random.Random(7)
    digests = {}
    for number in range(4):
        folder = small.folder(account, f"Folder {number}")
        contents = [
            letter(1000 * number + n, size=int(chosen.paretovariate(0.7) * 500) % 200_000)
            for n in range(200)
        ]
        items = small.messages(account, folder, contents)
        with small.backup.reader() as reader:
            for item, content in zip(items, contents, strict=True):
                name = "/".join(e.version.name for e in reader.path(item, reader.last_sequence()))
                digests[name.partition("/")[2]] = hashlib.sha256(content).hexdigest()
    small.scan_end()
    small.close()
    return path, digests


def read_at_once(mount: Mounted, digests: dict[str, str], seconds: float) -> None:
    """Four readers and a `tar` for so long; each must read something, and nothing but the truth."""
    view = mount.point / "2024-05-01T00:09:30" / ALICE
    readers = []
    for text, seed in _PROGRAMS:
        command = [sys.executable, "-c", text, str(view), str(seed), str(seconds)]
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        readers.append(reader)
    try:
        for reader in readers:
            assert reader.stdin is not None
            reader.stdin.write(json.dumps(digests).encode())
            reader.stdin.close()
            reader.stdin = None
        for reader in readers:
            out, _ = reader.communicate(timeout=seconds + GRACE)
            assert reader.returncode == 0
            assert int(out) > 50
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


@pytest.mark.parametrize("extension", [False, True], ids=["plain", "extension"])
@pytest.mark.parametrize(
    "seconds", [2.0, pytest.param(600.0, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_many_readers_at_once(
    store: tuple[Path, dict[str, str]], tmp_path: Path, seconds: float, extension: bool
) -> None:
    path, digests = store
    with mounted(path, tmp_path / "point", extension=extension) as mount:
        read_at_once(mount, digests, seconds)
        spent = mount.requests()
        assert 1 <= spent["open"] <= len(_PROGRAMS) if extension else spent["open"] > 100
        assert spent["read"] > 100


@pytest.mark.parametrize("extension", [False, True], ids=["plain", "extension"])
def test_a_signal_ends_it_in_the_midst_of_reading(
    store: tuple[Path, dict[str, str]], tmp_path: Path, extension: bool
) -> None:
    path, _ = store
    for _ in range(3):
        point = tmp_path / "point"
        with mounted(path, point, checked=False, extension=extension) as mount:
            view = point / "2024-05-01T00:09:30" / ALICE
            readers = [
                subprocess.Popen(
                    ["tar", "-C", view, "-cf", "-", "."],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
                for _ in range(3)
            ]
            for reader in readers:
                assert reader.stdout is not None
                assert reader.stdout.read(100_000)
            mount.server.send_signal(signal.SIGTERM)
            for reader in readers:
                reader.communicate(timeout=GRACE)
            assert mount.server.wait(timeout=GRACE) == 0
            assert not os.path.ismount(point)
