"""A history that is exported and imported is what it was, at every instant."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.backup import Backup
from engine.check import check
from engine.domain.errors import BackupUnusable, ImportRefused, Interrupted, NotAnExport, UsageError
from engine.domain.model import Kind, item_id, parse_item_id
from engine.exchange.export import form
from engine.exchange.export.choice import AccountChoice
from engine.exchange.export.form import ExportedRow
from engine.exchange.imports import history
from engine.journal import erasures
from engine.journal.records import Erasure
from engine.purge import hold, purge
from engine.query.damage import KnownDamage
from engine.query.history import log
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.exports import assert_same, empty, export, rows, take_in
from tests.pasts import DAY, RandomPast, grow
from tests.remembered import Memory, compare
from tests.whole import assert_sound


def past(root: Path, seed: int, steps: int = 60, *, purged: bool = False) -> Path:
    """A random history with scans and a hold, perhaps with gaps where a purge was."""
    made = RandomPast(root / "old", seed)
    made.go_on(steps // 2)
    made.small.scan_end()
    backup = made.small.backup
    with backup.reader() as reader:
        name = reader.path(made.accounts[0], reader.last_sequence())[0].version.name
    hold(backup, [name], "case 4711")
    if purged:
        made.small.clock.advance(31 * DAY)
        purge(backup, Stop())
    made.go_on(steps // 2)
    made.small.scan_end()
    made.small.close()
    return root / "old"


def remembered(path: Path) -> Memory:
    memory = Memory()
    with Backup(path) as backup, backup.reader() as reader:
        grow(reader, memory)
    return memory


def assert_contents(one: Path, other: Path) -> None:
    """Every content that the second one names is what it is in the first."""
    digests = {digest for digest, _ in rows(other, "blobs")}
    with Backup(one) as first, Backup(other) as second:
        with second.reader() as reader:
            editions = [
                (recorded.item, recorded.version.edition)
                for sequence, transaction in reader.transactions(1, reader.last_sequence())
                if (recorded := reader.recorded(transaction.item, sequence)) and recorded.version
            ]
        with first.reader() as old, second.reader() as new:
            for item, edition in editions:
                assert old.headers(item, edition) == new.headers(item, edition)
        for digest in digests:
            assert first.read_blob(digest) == second.read_blob(digest)


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    way=st.sampled_from(["directory", "export.tar.zst", "itself"]),
    part=st.sampled_from([3, 17, 1000]),
    purged=st.booleans(),
)
def test_every_instant_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, way: str, part: int, purged: bool
) -> None:
    root = tmp_path_factory.mktemp("trip")
    old = past(root, seed, purged=purged)
    source = old
    if way != "itself":
        source = root / way
        assert not export(old, source).missing
    new = empty(root / "new")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "PART", part)
        done = take_in(new, source)
    assert not done.lost
    assert done.transactions == len(rows(old, "transactions"))
    assert_same(old, new)
    assert_contents(old, new)
    with Backup(new) as backup:
        report = check(backup, deep=True)
        assert report.ok, report.problems
        if not purged:
            memory = remembered(old)
            with backup.reader() as reader:
                compare(reader, memory, sequences=range(0, memory.last + 1, 9))
        with Backup(old) as other, backup.reader() as ours, other.reader() as theirs:
            assert ours.state() == theirs.state()
            assert ours.complete_since() == theirs.complete_since()
    assert not (new / "unpacked-import").exists()
    shutil.rmtree(root)


def accounts(path: Path) -> dict[int, str]:
    """All that ever were, by item, with their names."""
    with Backup(path) as backup, backup.reader() as reader:
        return {
            item: reader.path(item, reader.last_sequence())[0].version.name
            for item in (recorded.item for recorded in reader.accounts())
        }


@pytest.mark.parametrize("selected_at", ["export", "import"])
def test_an_import_of_some_accounts_has_just_these(tmp_path: Path, selected_at: str) -> None:
    old = past(tmp_path, 5)
    chosen = dict(list(accounts(old).items())[1:3])
    choice = AccountChoice(accounts=tuple(chosen.values()))
    source = tmp_path / "export"
    if selected_at == "export":
        export(old, source, choice)
        take_in(empty(tmp_path / "new"), source)
    else:
        export(old, source)
        take_in(empty(tmp_path / "new"), source, choice)
    new = tmp_path / "new"
    assert accounts(new) == chosen
    with Backup(old) as first, first.reader() as reader:
        wanted = [
            (row, reader.recorded(row.transaction.item, row.sequence))
            for row in reader.log(1, reader.last_sequence())
            if row.transaction.account in chosen
        ]
    with Backup(new) as second:
        with second.reader() as reader:
            found = [
                (row, reader.recorded(row.transaction.item, row.sequence))
                for row in reader.log(1, reader.last_sequence())
            ]
        report = check(second, deep=True)
    assert found == wanted
    assert report.ok, report.problems
    assert rows(old, "scans") == rows(new, "scans")


def test_a_domain_is_chosen_by_what_stands_behind_the_at(tmp_path: Path) -> None:
    small = SmallBackup(tmp_path / "old")
    small.account("alice@example.com")
    small.account("bob@Example.org")
    small.close()
    take_in(empty(tmp_path / "new"), tmp_path / "old", AccountChoice(domains=("example.org",)))
    assert list(accounts(tmp_path / "new").values()) == ["bob@Example.org"]
    with pytest.raises(UsageError, match=r"no account in the domain 'ample.com'"):
        export(tmp_path / "old", tmp_path / "x", AccountChoice(domains=("ample.com",)))
    with pytest.raises(UsageError, match="no account 'carol'"):
        export(tmp_path / "old", tmp_path / "y", AccountChoice(accounts=("carol",)))


def test_only_an_empty_backup_path_takes_a_history_in(tmp_path: Path) -> None:
    old = past(tmp_path, 1, 10)
    full = past(tmp_path / "other", 2, 10)
    with pytest.raises(ImportRefused, match="a history of its own"):
        take_in(full, old)
    with Backup(full) as backup, pytest.raises(ImportRefused, match="a history of its own"):
        history.begun(backup)  # before anything is read


class StopsAfter(Stop):
    """Asks to stop when it was asked so many times."""

    def __init__(self, count: int) -> None:
        super().__init__("interrupted")
        self.count = count

    def check(self) -> None:
        self.count -= 1
        if self.count < 0:
            self.set()
        super().check()


def test_an_interrupted_import_is_not_seen_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PART", 5)
    old = past(tmp_path, 3, 40)
    new = empty(tmp_path / "new")
    counts = []
    for stop in (12, 14, 16):
        with pytest.raises(Interrupted):
            take_in(new, old, stop=StopsAfter(stop))
        with pytest.raises(BackupUnusable, match="an import into it is not finished"):
            Backup(new)
        with Backup(new, importing=True) as backup, backup.reader() as reader:
            counts.append(reader.last_sequence())
    assert counts[0] < counts[-1]
    with pytest.raises(UsageError, match="something else is not finished"):
        take_in(new, past(tmp_path / "other", 2, 10))
    with pytest.raises(UsageError, match="something else is not finished"):
        take_in(new, old, AccountChoice(domains=("example.com",)))
    take_in(new, old)
    assert_same(old, new)
    assert_sound(new)


def test_an_import_that_goes_on_after_a_purge_of_its_source_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PART", 5)
    made = RandomPast(tmp_path / "old", 6)
    made.go_on(60)
    new = empty(tmp_path / "new")
    made.small.close()
    with pytest.raises(Interrupted):
        take_in(new, tmp_path / "old", stop=StopsAfter(60))
    made.small.backup = Backup(tmp_path / "old", write=True, clock=made.small.clock)
    made.small.clock.advance(90 * DAY)
    assert purge(made.small.backup, Stop()).removed.items
    made.small.close()
    take_in(new, tmp_path / "old")
    assert_same(tmp_path / "old", new)
    assert_sound(new)


def test_what_was_erased_here_stays_out(tmp_path: Path) -> None:
    small = SmallBackup(tmp_path / "old")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    kept, erased = small.messages(alice, inbox, [letter(1), letter(2)])
    small.change(alice, erased, flags=("\\Seen",))
    bob = small.account("bob@example.com")
    small.message(bob, small.folder(bob, "INBOX"), letter(2))
    with small.backup.reader() as reader:
        version = reader.version(erased, reader.last_sequence())
    assert version
    small.close()
    new = empty(tmp_path / "new")
    with Backup(new, write=True) as backup:
        own = backup.identity.backup
        keys = (
            erasures.content_hash(own, b"alice@example.com", version.digest),
            erasures.account_hash(own, b"bob@example.com"),
        )
        environment = backup.journal.environment
        with environment.write() as txn:
            for key in keys:
                erasures.record(environment, txn, key, Erasure(2 * 10**15, 9, int(Kind.MESSAGE)))
    done = take_in(new, tmp_path / "old")
    assert done.erased == 2
    assert list(accounts(new)) == [alice]
    with Backup(new) as backup:
        with backup.reader() as reader:
            assert [e.item for e in reader.listing(inbox, reader.last_sequence())] == [kept]
            assert reader.blob(version.digest) is None
        report = check(backup, deep=True)
    assert report.ok, report.problems


def test_a_content_that_is_lost_is_named_and_shown_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PART", 2)
    small = SmallBackup(tmp_path / "old")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    items = small.messages(alice, inbox, [letter(number) for number in range(4)])
    for item in items:
        small.change(alice, item, flags=("\\Seen",))
    small.close()
    export(tmp_path / "old", tmp_path / "export")
    messages = sorted(tmp_path.glob("export/accounts/*/Maildir/cur/*"))
    messages[0].unlink()
    messages[1].write_bytes(b"something else")
    messages[2].unlink()
    messages[2].symlink_to("/dev/zero")
    new = empty(tmp_path / "new")
    with pytest.raises(Interrupted):
        take_in(new, tmp_path / "export", stop=StopsAfter(7))
    done = take_in(new, tmp_path / "export")
    assert {lost.item for lost in done.lost} == set(items[:3])
    assert_same(tmp_path / "old", new)
    with Backup(new) as backup:
        known = KnownDamage(backup)
        damaged = {row.item for row in log(backup) if row.digest in known}
        assert damaged == set(items[:3])
        kinds = {problem.kind for problem in check(backup).problems}
    assert kinds == {"blob-missing"}


# What contradicts itself


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small export with a history."""
    root = tmp_path_factory.mktemp("exported")
    small = SmallBackup(root / "old")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    first, second = small.messages(alice, inbox, [letter(1), letter(2)])
    small.change(alice, first, flags=("\\Seen",))
    small.delete(alice, second)
    small.close()
    export(root / "old", root / "export")
    return root / "export"


def spoilt(exported: Path, root: Path, number: int, **changes: object) -> Path:
    """The export with another line `number` among its transactions."""
    copy = root / "spoilt"
    shutil.copytree(exported, copy)
    file = copy / form.TRANSACTIONS
    lines = file.read_bytes().splitlines()
    row = form.parse(ExportedRow, lines[number], "here")
    state = {
        name: value for name, value in changes.items() if name not in ExportedRow.__struct_fields__
    }
    if state and row.state:
        changes["state"] = msgspec.structs.replace(row.state, **state)
    own = {name: value for name, value in changes.items() if name in ExportedRow.__struct_fields__}
    lines[number] = form.line(msgspec.structs.replace(row, **own)).rstrip()
    file.write_bytes(b"\n".join(lines) + b"\n")
    return copy


@pytest.mark.parametrize(
    ("number", "changes", "what"),
    [
        (0, {"transaction": 2}, "another time than its commit"),
        (0, {"item": "000009"}, "in an account"),
        (2, {"item": "000003"}, "can't be a create"),
        (3, {"item": "000001"}, "is not an item ID"),
        (1, {"folder": "000009"}, "in no folder of its account"),
        (1, {"folder": "000003"}, "in no folder of its account"),
        (0, {"name": ".own"}, "can't be shown"),
        (0, {"name": ".Server"}, "can't be shown"),
        (1, {"name": ""}, "can't be shown"),
        (1, {"name": "../../etc"}, "can't be shown"),
        (1, {"name": ".deleted"}, "can't be shown"),
        (1, {"name": "account.json"}, "can't be shown"),
        (1, {"name": "x" * 201}, "can't be shown"),
        (1, {"kind": "nonsense"}, "no kind of item"),
        (1, {"action": "change"}, "can't be a change"),
        (2, {"time": 7}, "another time"),
        (2, {"edition": 3}, "first edition"),
        (2, {"digest": ""}, "without content"),
        (2, {"file": ""}, "content without a file"),
        (3, {"item": "000003"}, "can't be a create"),
        (4, {"item": "000002"}, "becomes something else"),
        (3, {"transaction": 3}, "out of order"),
        (3, {"name": "same"}, None),
        (4, {"action": "create"}, "can't be a create"),
        (4, {"digest": "00" * 32}, "another content"),
        (4, {"edition": 1, "digest": "00" * 32}, "never came"),
        (5, {"item": "000009"}, "can't be a delete"),
        (5, {"transaction": 99}, "later than all commits"),
    ],
)
def test_what_contradicts_itself_is_refused_and_leaves_nothing(
    tmp_path: Path, exported: Path, number: int, changes: dict[str, object], what: str | None
) -> None:
    source = spoilt(exported, tmp_path, number, **changes)
    new = empty(tmp_path / "new")
    if what is None:
        take_in(new, source)
        return
    with pytest.raises(ImportRefused, match=what):
        take_in(new, source)
    with Backup(new) as backup:
        assert check(backup, deep=True).ok
    assert not rows(new, "versions")
    take_in(new, exported)  # it is as empty as before
    assert_sound(new)


@pytest.mark.parametrize("file", [form.HEAD, form.TAIL, form.TRANSACTIONS, form.COMMITS])
@pytest.mark.parametrize("damage", ["missing", "cut", "nonsense", "huge"])
def test_records_that_are_none_are_refused(
    tmp_path: Path, exported: Path, file: str, damage: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    path = copy / file
    text = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "huge":
        path.write_bytes(b"[" * 100_000 + text)
    else:
        path.write_bytes(text[: len(text) // 2] if damage == "cut" else b"\xff{}\n" + text)
    new = empty(tmp_path / "new")
    with pytest.raises(NotAnExport):
        take_in(new, copy)
    assert not rows(new, "times")


def test_random_damage_to_records_is_refused_or_harmless(tmp_path: Path, exported: Path) -> None:
    chance = random.Random(4)
    for number in range(60):
        copy, new = tmp_path / f"copy{number}", tmp_path / f"new{number}"
        shutil.copytree(exported, copy)
        path = copy / chance.choice([form.TRANSACTIONS, form.COMMITS, form.OWNERS, form.HEAD])
        text = bytearray(path.read_bytes())
        text[chance.randrange(len(text))] = chance.choice(b'019az"{},\\')
        path.write_bytes(text)
        empty(new)
        try:
            done = take_in(new, copy)
        except (NotAnExport, UsageError):
            with Backup(new) as backup:
                assert check(backup).ok
            continue
        with Backup(new) as backup:
            problems = {problem.kind for problem in check(backup, deep=True).problems}
        assert problems <= ({"blob-missing"} if done.lost else set()), text


def test_ids_are_kept(tmp_path: Path, exported: Path) -> None:
    new = empty(tmp_path / "new")
    take_in(new, exported)
    texts = (exported / form.TRANSACTIONS).read_bytes().splitlines()
    items = {parse_item_id(form.parse(ExportedRow, text, "here").item) for text in texts}
    with Backup(new) as backup, backup.reader() as reader:
        assert {t.item for _, t in reader.transactions(1, 99)} == items
        assert all(reader.recorded(item, 99) for item in items)
        assert max(map(item_id, items)) < item_id(reader.state().next_item)
