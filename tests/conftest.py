"""What several tests share."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import settings

from tests.backups import SmallBackup
from tests.desk import Desk
from tests.faults import Server
from tests.working import Worker

PROJECT = Path(__file__).resolve().parent.parent

# A busy machine is no failure. In CI the same examples are tried each time, so that a change is
# judged by what it changed; elsewhere others are, and what they find becomes a test of its own.
settings.register_profile("timefs", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "timefs")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of real mail: `$TIMEFS_CORPUS`, or the shared archive unpacked; else a skip."""
    if given := os.environ.get("TIMEFS_CORPUS"):
        return Path(given)
    archive = PROJECT.parent / "shared" / "corpus" / "mail.tar.zst"
    if not archive.exists():
        pytest.skip("no corpus of real mail: set TIMEFS_CORPUS to a directory of messages")
    directory = tmp_path_factory.mktemp("corpus")
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        tar.extractall(directory, filter="data")
    return directory


@pytest.fixture(scope="session")
def quick() -> Iterator[Server]:
    """Runs `engine` in processes of its own, without loading it each time."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallBackup]:
    """A backup that is empty yet."""
    made = SmallBackup(tmp_path / "backup")
    yield made
    made.close()


@pytest.fixture
def worker(small: SmallBackup) -> Iterator[Callable[[], Worker]]:
    """Starts operations of other processes in this backup."""
    made: list[Worker] = []

    def start() -> Worker:
        made.append(Worker(small.path))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A journal that is empty yet."""
    made = Desk(tmp_path / "backup")
    yield made
    made.backup.close()
