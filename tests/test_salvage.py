"""A journal of which pages are damaged: all that it still tells is saved, and the rest is named."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.backup import Backup
from engine.check import CheckReport, check
from engine.check.salvage import salvage
from engine.domain.errors import JournalDamaged
from engine.domain.model import item_id
from engine.journal import copies, timeline
from engine.journal.environment import Tables
from engine.journal.repair.remains import table_of
from engine.purge import erase, traces
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.faults import Server
from tests.test_journal_copies import rows
from tests.working import Worker

PAGE = 4096
SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
MINUTE = 60_000_000
TRUTH = ("versions", "transactions", "times", "scans", "holds", "erasures")
Rows = dict[tuple[str, bytes], bytes]
Hurt = Callable[[bytes, int, random.Random], bytes]


def zeros(data: bytes, page: int, chance: random.Random) -> bytes:
    return _with(data, page, bytes(PAGE))


def noise(data: bytes, page: int, chance: random.Random) -> bytes:
    return _with(data, page, chance.randbytes(PAGE))


def another(data: bytes, page: int, chance: random.Random) -> bytes:
    other = chance.randrange(len(data) // PAGE)
    return _with(data, page, data[other * PAGE : (other + 1) * PAGE])


def half(data: bytes, page: int, chance: random.Random) -> bytes:
    return _with(data, page, data[page * PAGE : page * PAGE + PAGE // 2] + bytes(PAGE // 2))


def truncated(data: bytes, page: int, chance: random.Random) -> bytes:
    return data[: page * PAGE + chance.choice((0, 0, 1, PAGE - 1))]


def _with(data: bytes, page: int, content: bytes) -> bytes:
    return data[: page * PAGE] + content + data[(page + 1) * PAGE :]


HURTS: tuple[Hurt, ...] = (zeros, noise, another, half, truncated)


class Sound:
    """A backup with a history, whose journal has more than a hundred pages."""

    def __init__(self, path: Path) -> None:
        small = SmallBackup(path)
        small.busy()
        self.path = path
        self.rows = rows(small.backup)
        self.now = small.clock.now()
        copies.rotate(small.backup.journal.environment, path, self.now, 7)
        small.close()
        self.data = (path / "journal" / "data.mdb").read_bytes()
        self.pages = len(self.data) // PAGE

    def hurt(self, place: Path, data: bytes, *, copied: bool) -> Path:
        """A copy of it with this for a journal."""
        shutil.rmtree(place, ignore_errors=True)
        hidden = () if copied else (copies.DIRECTORY,)
        shutil.copytree(self.path, place, ignore=shutil.ignore_patterns(*hidden))
        (place / "journal" / "data.mdb").write_bytes(data)
        return place


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "FLOOR", 5)
        yield Sound(tmp_path_factory.mktemp("sound") / "backup")


def repaired(path: Path, now: int) -> tuple[bool, CheckReport, Rows]:
    """Whether a journal had to be salvaged, what the repair says, and what there is then."""
    clock = ManualClock(now + MINUTE)
    salvaged = None
    try:
        backup = Backup(path, write=True, verify=True, clock=clock)
    except JournalDamaged:
        salvaged = salvage(path, clock)
        backup = Backup(path, write=True, verify=True, clock=clock)
    with backup:
        report = check(backup, repair=True, salvaged=salvaged)
        return salvaged is not None, report, rows(backup)


def damages(sound: Sound, count: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(SEED)
    every = [(hurt, page) for hurt in HURTS for page in range(sound.pages)]
    for hurt, page in chance.sample(every, count) if count else every:
        yield f"{hurt.__name__} {page}", hurt(sound.data, page, chance)


def assert_saved(sound: Sound, path: Path, data: bytes, name: str) -> None:
    """Without a copy, what is lost is named, and nothing else is; with one, nothing is lost."""
    _, report, found = repaired(sound.hurt(path, data, copied=False), sound.now)
    lost = {key for key in sound.rows if key[0] in ("versions", "scans") and key not in found}
    named = [problem.what for problem in report.problems if problem.kind == "lost"]
    assert bool(lost) <= bool(named), (name, lost)
    extra = [key for key in found if key[0] in TRUTH[:2] and key not in sound.rows]
    assert not extra, (name, extra)
    changed = [key for key in found if key[0] == "versions" and found[key] != sound.rows[key]]
    assert all(key[1][:5] < bytes(4) + b"\5" for key in changed), (name, changed)  # containers
    _, report, found = repaired(sound.hurt(path, data, copied=True), sound.now)
    assert {problem.kind for problem in report.problems} <= {"lost"}, (name, report.problems)
    for key, value in sound.rows.items():
        if key[0] in TRUTH:
            assert found.get(key) == value, (name, key)


def test_what_damaged_pages_cost_is_named_and_no_more_is_lost(sound: Sound, tmp_path: Path) -> None:
    for name, data in damages(sound, 5):
        assert_saved(sound, tmp_path / "backup", data, name)


@pytest.mark.slow
def test_what_damaged_pages_cost_is_named_and_no_more_is_lost_all(
    sound: Sound, tmp_path: Path
) -> None:
    for name, data in damages(sound, 0):
        assert_saved(sound, tmp_path / "backup", data, name)


def pages_of(sound: Sound, table: str) -> list[int]:
    """The pages that have rows of a table which are there now."""
    keys = {key: value for (name, key), value in sound.rows.items() if name == table}
    found = []
    for page in range(2, sound.pages):
        data = sound.data[page * PAGE : (page + 1) * PAGE]
        if sum(key + value in data for key, value in keys.items()) > len(keys) // 40:
            found.append(page)
    return found


@pytest.mark.parametrize("table", ["timeline", "names", "blobs", "transactions", "commits"])
def test_a_page_of_what_follows_from_others_costs_nothing(
    sound: Sound, tmp_path: Path, table: str
) -> None:
    page = pages_of(sound, table)[-1]
    path = sound.hurt(tmp_path / "backup", zeros(sound.data, page, random.Random()), copied=False)
    _, report, found = repaired(path, sound.now)
    assert report.ok, report.problems
    assert {key: found[key] for key in sound.rows if key[0] in TRUTH} == {
        key: value for key, value in sound.rows.items() if key[0] in TRUTH
    }


def test_both_first_pages_are_gone(sound: Sound, tmp_path: Path) -> None:
    path = sound.hurt(tmp_path / "backup", bytes(2 * PAGE) + sound.data[2 * PAGE :], copied=False)
    salvaged, report, found = repaired(path, sound.now)
    assert salvaged
    assert {key for key in sound.rows if key[0] in TRUTH} <= found.keys()
    assert {problem.kind for problem in report.problems} <= {"lost"}


def test_what_was_erased_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the free pages still have it, and the list of them is lost."""
    monkeypatch.setattr(traces, "PLACES", ())
    small = SmallBackup(tmp_path / "backup")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    items = small.messages(alice, inbox, [letter(n) for n in range(60)])
    small.delete(alice, items[7])
    erase(small.backup, items[7], Stop())
    wanted, now = rows(small.backup), small.clock.now()
    small.close()
    file = small.path / "journal" / "data.mdb"
    data = file.read_bytes()
    key = items[7].to_bytes(5, "big")
    back = []
    pages = list(range(len(data) // PAGE))
    for page in random.Random(SEED).sample(pages, 8):
        file.write_bytes(zeros(data, page, random.Random()))
        _, _, found = repaired(small.path, now)
        back += [k for k in found if k[0] == "versions" and k[1][:5] == key]
        back += [k for k in found if k[0] == "transactions" and k not in wanted]
        shutil.rmtree(small.path / "aside", ignore_errors=True)
    assert not back


def test_a_journal_that_is_open_elsewhere_is_not_replaced(
    small: SmallBackup, worker: Callable[[], Worker], quick: Server
) -> None:
    alice = small.account("alice@example.com")
    small.message(alice, small.folder(alice, "INBOX"), letter(1))
    small.close()
    file = small.path / "journal" / "data.mdb"
    other = worker()
    with file.open("r+b") as opened:
        opened.seek(2 * PAGE)
        opened.write(bytes(file.stat().st_size - 2 * PAGE))
    before = file.read_bytes()
    told = quick("check", "--repair", "-b", small.path, status=1).err
    assert "somebody has it open: end the daemon, scans and mounts" in told
    assert file.read_bytes() == before
    other.close()
    assert quick.engine("check", "--repair", "-b", small.path).status in (0, 1)
    assert file.read_bytes() != before


def test_the_command(sound: Sound, tmp_path: Path, quick: Server) -> None:
    path = sound.hurt(
        tmp_path / "backup",
        zeros(sound.data, pages_of(sound, "versions")[0], random.Random()),
        copied=False,
    )
    told = quick("check", "-b", path, status=3)
    assert told.err.endswith(": run 'engine check --repair'\n")
    fate = quick("check", "--repair", "--json", "-b", path, status=1)
    assert {problem["kind"] for problem in fate.json["problems"]} == {"lost"}
    first, second, *_ = [problem["what"] for problem in fate.json["problems"]]
    assert first.endswith(" records of versions")
    assert second.startswith("what item ")
    assert f" of account {item_id(2)} was at transaction " in second
    assert fate.json["repaired"][0].endswith(" of the damaged journal into a new one")
    (kept,) = (path / "aside").rglob("data.mdb")
    assert kept.stat().st_size == len(sound.data)
    quick("check", "--deep", "-b", path)
    assert not (path / "journal-salvage").exists()


def test_the_form_of_a_row_tells_its_table(sound: Sound) -> None:
    tables = set()
    for (table, key), value in sound.rows.items():
        assert table_of(key, value) in (table, ""), (table, key, value)
        tables.add(table_of(key, value))
    assert tables >= {*Tables._fields} & {table for table, _ in sound.rows} - {"names", "gone"}
