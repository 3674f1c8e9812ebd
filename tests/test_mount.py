"""Tests of real mounts: the kernel's view of a backup, and that of programs that people use."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.system import mounts
from tests.backups import MINUTE, START, SmallBackup, letter
from tests.mounting import AT_ONCE, Mounted, mounted, run
from tests.programs import needs
from timefs.cache.prefetch import SMALL
from timefs.fuse import handleless

ALICE = "alice@example.com"
PAST = "2024-05-01T00:30"
EARLIER = "2024-05-01T00:06:30"


class Store(NamedTuple):
    """A backup with a history, and what it must show."""

    small: SmallBackup
    account: int
    inbox: int
    now: dict[str, bytes]
    """The messages at `PAST`, by their path in the account."""
    earlier: dict[str, bytes]
    """The same at `EARLIER`."""
    deleted: dict[str, bytes]
    """The deleted ones at `PAST`."""


def make_store(path: Path, many: int = 300) -> Store:
    """INBOX with `many` messages, a folder in a folder, a large message, an empty one."""
    small = SmallBackup(path)
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    work = small.folder(account, "Work")
    apollo = small.folder(account, "Über Apollo", work)
    contents = [letter(number, size=300 + 40 * number) for number in range(many)]
    items = small.messages(account, inbox, contents, flags=("\\Seen",))
    large = random.Random(1).randbytes(9_000_000)
    odd = [b"From: a@example.com\n\n" + large, b"", letter(1000, size=SMALL + 1)]
    items += small.messages(account, apollo, odd)
    contents += odd
    before = {item: (folder, name) for folder, item, name in names(small, account)}
    small.change(account, items[0], folder=work)
    small.change(account, items[1], flags=("\\Answered", "todo"))
    small.delete(account, items[2])
    small.scan_end()
    after = {item: (folder, name) for folder, item, name in names(small, account)}
    by_item = dict(zip(items, contents, strict=True))

    def paths(found: dict[int, tuple[str, str]]) -> dict[str, bytes]:
        return {f"{folder}{name}": by_item[item] for item, (folder, name) in found.items()}

    gone = {item: place for item, place in before.items() if item not in after}
    small.clock.advance(3_600_000_000)
    small.scan_end()
    return Store(small, account, inbox, paths(after), paths(before), paths(gone))


def names(small: SmallBackup, account: int) -> list[tuple[str, int, str]]:
    """Folder, item and name of all messages."""
    with small.backup.reader() as reader:
        sequence = reader.last_sequence()
        found = []
        waiting = [(account, "")]
        while waiting:
            folder, path = waiting.pop()
            for entry in reader.listing(folder, sequence):
                if entry.version.container:
                    waiting.append((entry.item, f"{path}{entry.version.name}/"))
                else:
                    found.append((path, entry.item, entry.version.name))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that no test changes."""
    found = make_store(tmp_path_factory.mktemp("store") / "backup")
    yield found
    found.small.close()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "extension"])
def extension(request: pytest.FixtureRequest) -> bool:
    """Whether the compiled extension is used: all must be the same with and without it."""
    return bool(request.param)


@pytest.fixture(scope="module")
def shared(
    store: Store, extension: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    """A mount of it that tests share; what they count are differences."""
    point = tmp_path_factory.mktemp("mount") / "point"
    with mounted(store.small.path, point, extension=extension) as mount:
        yield mount


def files_below(base: Path) -> dict[str, bytes]:
    """The messages of an account, read through the mount."""
    return {
        str(path.relative_to(base)): path.read_bytes()
        for path in base.rglob("*.eml")
        if path.is_file()
    }


# What is shown


def test_every_instant_shows_what_was_there(store: Store, shared: Mounted) -> None:
    assert files_below(shared.point / PAST / ALICE) == store.now
    assert files_below(shared.point / EARLIER / ALICE) == store.earlier
    assert files_below(shared.point / PAST / ALICE / ".deleted") == store.deleted
    assert store.now != store.earlier
    assert store.deleted


def test_sizes_and_times_are_those_of_the_items(store: Store, shared: Mounted) -> None:
    base = shared.point / PAST / ALICE
    for path, content in store.now.items():
        status = (base / path).stat()
        assert status.st_size == len(content)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_uid == os.getuid()
    delivered = {(base / path).stat().st_mtime_ns for path in store.earlier if path in store.now}
    first = (START + 4 * MINUTE) * 1000
    assert {first + 3000, first + 299_000} < delivered


def test_our_own_names_are_not_listed(shared: Mounted) -> None:
    base = shared.point / PAST
    assert os.listdir(base) == [ALICE]
    assert sorted(os.listdir(base / ALICE)) == ["INBOX", "Work", "account.json"]
    assert os.listdir(base / ".maildir") == [ALICE]
    assert os.listdir(base / ".deleted") == []


def test_what_is_not_there_is_not_there(shared: Mounted) -> None:
    for name in ("nonsense", "2024-05-01T10:00..2024-05-01T08:00", "9999", f"{PAST}/nobody"):
        assert not (shared.point / name).exists(), name


def test_nothing_can_be_written(store: Store, shared: Mounted) -> None:
    base = shared.point / PAST / ALICE
    file = base / next(iter(store.now))
    attempts: list[Callable[[], object]] = [
        lambda: (shared.point / "new").write_text(""),
        lambda: (base / "new").mkdir(),
        lambda: file.write_bytes(b""),
        lambda: file.open("ab"),
        lambda: os.truncate(file, 0),
        lambda: file.unlink(),
        lambda: file.rename(base / "other"),
        lambda: file.chmod(0o777),
        lambda: os.chown(file, 1, 1),
        lambda: os.utime(file, (1, 1)),
        lambda: os.link(file, base / "link"),
        lambda: os.symlink("x", base / "link"),
        lambda: os.setxattr(file, "user.x", b"y"),
        lambda: os.mknod(base / "pipe", stat.S_IFIFO | 0o600),
        lambda: (base / "INBOX").rmdir(),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            attempt()
        assert caught.value.errno == errno.EROFS, number


# What it costs


def test_a_listing_asks_for_no_file(store: Store, shared: Mounted) -> None:
    name = shared.point / "20240501T0031"
    before = shared.requests()
    listed = run("ls", "-lR", name)
    spent = shared.requests() - before
    assert listed.count(".eml") == len(store.now) > 300
    folders = 5  # the view, the account, and three folders
    assert spent["opendir"] == spent["releasedir"] == folders
    assert spent["lookup"] <= 1, "the name of the view"
    assert spent["getattr"] == spent["open"] == spent["read"] == 0
    assert spent["readdir"] <= 2 * folders + len(store.now) / 100
    again = shared.requests()
    run("ls", "-lR", name)
    spent = shared.requests() - again
    assert spent["lookup"] == spent["getattr"] == 0


def test_views_that_share_a_message_share_its_pages(
    store: Store, shared: Mounted, extension: bool
) -> None:
    path = next(path for path in store.earlier if path in store.now and path.startswith("INBOX"))
    one = shared.point / "20240501T003210" / ALICE / path
    other = shared.point / "20240501T000640" / ALICE / path
    assert one.read_bytes() == store.now[path]
    assert one.stat().st_ino == other.stat().st_ino
    assert one.parent.stat().st_ino != other.parent.stat().st_ino
    before = shared.requests()
    assert other.read_bytes() == store.now[path]
    spent = shared.requests() - before
    assert spent["read"] == 0
    assert spent["open"] == spent["release"] == (not extension)


def test_small_files_are_read_with_few_requests(store: Store, extension: bool) -> None:
    """On a new mount, so that the kernel has none of them."""
    with tempfile.TemporaryDirectory() as directory:
        point = Path(directory) / "point"
        with mounted(store.small.path, point, extension=extension) as mount:
            base = point / "20240501T003220" / ALICE / "INBOX"
            read = {f"INBOX/{name}": (base / name).read_bytes() for name in os.listdir(base)}
            inbox = {path: raw for path, raw in store.now.items() if path.startswith("INBOX")}
            assert read == inbox
            assert len(inbox) > 290
            first = mount.requests()
            assert {
                f"INBOX/{name}": (base / name).read_bytes() for name in os.listdir(base)
            } == read
            again = mount.requests() - first
    assert again["read"] == 0
    if extension:
        assert first["open"] == 1
        assert 0 < first["read"] < 15
        assert first["release"] == again["open"] == 0
    else:
        assert first["read"] == 0
        assert first["open"] == first["release"] == again["open"] == len(inbox)


def test_a_directory_can_be_read_in_any_order(store: Store, extension: bool) -> None:
    paths = sorted(store.now)
    for order in (
        paths[::-1],
        paths[1::2] + paths[::2],
        random.Random(5).sample(paths, len(paths)),
    ):
        with tempfile.TemporaryDirectory() as directory:
            point = Path(directory) / "point"
            with mounted(store.small.path, point, extension=extension):
                base = point / PAST / ALICE
                for folder in ("INBOX", "Work", "Work/Über Apollo"):
                    os.listdir(base / folder)
                assert {path: (base / path).read_bytes() for path in order} == store.now


def test_what_the_kernel_has_dropped_is_read_again(store: Store, shared: Mounted) -> None:
    path = next(path for path in store.now if path.startswith("INBOX"))
    file = shared.point / "20240501T003240" / ALICE / path
    for _ in range(3):
        fd = os.open(file, os.O_RDONLY)
        assert os.pread(fd, 1 << 20, 0) == store.now[path]
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, 1 << 20, 3) == store.now[path][3:]
        os.close(fd)


def test_a_large_file_is_read_in_any_pieces(store: Store, shared: Mounted) -> None:
    path, content = max(store.now.items(), key=lambda item: len(item[1]))
    chosen = random.Random(2)
    with (shared.point / "20240501T003250" / ALICE / path).open("rb", buffering=0) as file:
        for _ in range(40):
            offset, size = chosen.randrange(len(content)), chosen.randrange(300_000)
            assert os.pread(file.fileno(), size, offset) == content[offset : offset + size]
        assert os.pread(file.fileno(), 10, len(content)) == b""


def test_without_being_first_the_extension_does_nothing(store: Store, tmp_path: Path) -> None:
    """As where pyfuse3 was loaded before it."""
    late = f"""
from timefs.fuse import handleless
assert handleless.enable() == {handleless.LIBRARY.exists()}
"""
    with mounted(store.small.path, tmp_path / "point", prelude=late) as mount:
        assert files_below(mount.point / PAST / ALICE) == store.now
        assert mount.requests()["open"] > 300


def test_the_kernel_remembers_what_never_was(shared: Mounted) -> None:
    def lookups(path: Path) -> int:
        before = shared.requests()
        assert not path.exists()
        return (shared.requests() - before)["lookup"]

    past = shared.point / PAST / ALICE / "INBOX" / "nothing.eml"
    os.listdir(past.parent)
    assert lookups(past) == 1
    assert lookups(past) == 0
    assert lookups(shared.point / "2090") == 1
    assert lookups(shared.point / "2090") == 1


def test_reading_from_several_processes_at_once_gives_everybody_the_same(
    store: Store, shared: Mounted, tmp_path: Path
) -> None:
    view = shared.point / "20240501T003230"
    readers = [
        subprocess.Popen(["tar", "-C", view, "-cf", "-", ALICE], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    archives = [reader.communicate()[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0] * 4
    assert len({len(archive) for archive in archives}) == 1
    assert len(set(archives)) == 1
    assert sum(map(len, store.now.values())) < len(archives[0])


# Programs


def test_copies_are_the_originals(store: Store, shared: Mounted, tmp_path: Path) -> None:
    source = shared.point / PAST / ALICE
    run("cp", "-a", source, tmp_path / "copy")
    run("diff", "-r", source, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == store.now
    entries = {path.name for path in (tmp_path / "copy").iterdir()}
    assert entries == {"INBOX", "Work", "account.json"}
    with (tmp_path / "archive").open("wb") as archive:
        subprocess.run(["tar", "-C", source, "-cf", "-", "."], stdout=archive, check=True)
    (tmp_path / "unpacked").mkdir()
    run("tar", "-C", tmp_path / "unpacked", "-xf", tmp_path / "archive")
    run("diff", "-r", source, tmp_path / "unpacked")


def test_a_second_rsync_copies_nothing(store: Store, shared: Mounted, tmp_path: Path) -> None:
    needs("rsync")
    source = f"{shared.point / PAST / ALICE}/"
    rsync = ("rsync", "-a", "--checksum", "--itemize-changes", source, tmp_path / "copy")
    assert run(*rsync).count(">f") == len(store.now) + 1
    assert run(*rsync) == ""
    assert files_below(tmp_path / "copy") == store.now


def test_find_grep_and_du(store: Store, shared: Mounted) -> None:
    base = shared.point / PAST / ALICE
    found = run("find", base, "-type", "f", "-newermt", "2024-05-01 00:04:30", "-name", "*.eml")
    assert found.count("\n") == sum(path.startswith("Work/Über") for path in store.now)
    assert run("find", base, "-type", "d").count("\n") == 4
    hits = run("grep", "-rl", "^Subject: Letter 7$", base)
    assert hits == f"{base}/{next(p for p, raw in store.now.items() if b'Letter 7.' in raw)}\n"
    total = int(run("du", "-sb", "--apparent-size", base).split()[0])
    json = (base / "account.json").stat().st_size
    assert total == sum(map(len, store.now.values())) + json
    assert int(run("du", "-sk", base).split()[0]) >= total // 1024


def test_mail_programs_read_the_maildir(store: Store, shared: Mounted) -> None:
    needs("mlist", "mhdr")
    maildir = shared.point / PAST / ".maildir" / ALICE
    inbox = sum(path.startswith("INBOX") for path in store.now)
    assert run("mlist", maildir).count("\n") == inbox
    assert run("mlist", "-S", maildir).count("\n") == inbox - 1
    answered = run("mlist", "-R", maildir).splitlines()
    assert len(answered) == 1
    assert answered[0].endswith(".timefs:2,Ra")
    assert run("mhdr", "-h", "subject", answered[0]) == "Letter 1\n"
    assert (maildir / "dovecot-keywords").read_text() == "0 todo\n"
    assert (maildir / ".Work.&ANw-ber Apollo" / "cur").is_dir()


def test_df_tells_what_is_stored(shared: Mounted) -> None:
    figures = os.statvfs(shared.point)
    assert (figures.f_blocks - figures.f_bfree) * figures.f_frsize > 9_000_000
    assert figures.f_bavail > 0  # or a monitoring of disks takes it for a full one
    assert figures.f_namemax == 255


# Following the engine


def test_latest_follows_the_engine(tmp_path: Path, extension: bool) -> None:
    small = SmallBackup(tmp_path / "backup")
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    one = small.message(account, inbox, letter(1))
    with mounted(small.path, tmp_path / "point", prelude=AT_ONCE, extension=extension) as mount:
        folder = mount.point / "latest" / ALICE / "INBOX"
        deleted = mount.point / "latest" / ALICE / ".deleted" / "INBOX"
        (first,) = os.listdir(folder)
        changed = folder.stat().st_mtime_ns
        assert not deleted.exists()
        small.message(account, inbox, letter(2))
        assert len(os.listdir(folder)) == 2
        assert folder.stat().st_mtime_ns > changed
        assert (folder / first).read_bytes() == letter(1)
        with (folder / first).open("rb", buffering=0) as file:
            small.delete(account, one)
            assert not (folder / first).exists()
            assert file.read() == letter(1)
        assert (deleted / first).read_bytes() == letter(1)
        assert [n for n in os.listdir(mount.point) if n[0] == "2"] == []
        small.scan_end()
        assert [n for n in os.listdir(mount.point) if n[0] == "2"] == ["2024-05-01T00:06:00"]
        small.change(account, inbox, name="Old")
        assert sorted(os.listdir(folder.parent)) == ["Old", "account.json"]
        assert len(os.listdir(folder.parent / "Old")) == 1
        assert not folder.exists()
        small.delete(account, account)
        assert os.listdir(mount.point / "latest") == []
        assert os.listdir(mount.point / "latest" / ".deleted") == [ALICE]
    small.close()


def test_a_directory_that_is_open_survives_what_happens_to_it(
    tmp_path: Path, extension: bool
) -> None:
    small = SmallBackup(tmp_path / "backup")
    account = small.account(ALICE)
    work = small.folder(account, "Work")
    below = small.folder(account, "Below", work)
    small.message(account, below, letter(1))
    with mounted(small.path, tmp_path / "point", prelude=AT_ONCE, extension=extension) as mount:
        base = mount.point / "latest" / ALICE
        fd = os.open(base / "Work" / "Below", os.O_RDONLY | os.O_DIRECTORY)
        (name,) = os.listdir(fd)
        small.change(account, work, name="Renamed")
        assert (base / "Renamed" / "Below" / name).read_bytes() == letter(1)
        assert os.listdir(fd) == [name]
        os.close(fd)
    small.close()


# The whole


def test_one_instant_can_be_mounted(store: Store, tmp_path: Path, extension: bool) -> None:
    with mounted(store.small.path, tmp_path / "point", at=PAST, extension=extension) as mount:
        assert os.listdir(mount.point) == [ALICE]
        assert files_below(mount.point / ALICE) == store.now
        before = mount.requests()
        run("ls", "-lR", mount.point)
        spent = mount.requests() - before
        assert spent["lookup"] == spent["getattr"] == 0


def test_a_damaged_blob_can_t_be_read_and_all_others_can(tmp_path: Path, extension: bool) -> None:
    store = make_store(tmp_path / "backup", many=5)
    small = store.small
    small.message(store.account, store.inbox, letter(77))
    (pack,) = (small.path / "packs").rglob("*.pack")
    raw = bytearray(pack.read_bytes())
    raw[-30] ^= 0xFF
    pack.write_bytes(raw)
    with mounted(small.path, tmp_path / "point", checked=False, extension=extension) as mount:
        base = mount.point / "latest" / ALICE
        (damaged,) = (base / "INBOX").glob("*Letter-77*")
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                damaged.read_bytes()
            assert "blob" in mount.log_line()
        assert str(damaged.relative_to(base)) not in store.now
        assert {path: (base / path).read_bytes() for path in store.now} == store.now
        status, said = mount.end()
        assert status == 0
        assert all("blob" in line for line in said.splitlines()), "the kernel may try again"
    small.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts_even_what_is_in_use(
    store: Store, tmp_path: Path, number: signal.Signals, extension: bool
) -> None:
    point = tmp_path / "point"
    with mounted(store.small.path, point, checked=False, extension=extension) as mount:
        fd = os.open(mount.point / "latest", os.O_RDONLY)
        assert mount.end(number) == (0, "")
        os.close(fd)
        assert os.listdir(mount.point) == []


def test_the_server_ends_when_it_is_unmounted(store: Store, tmp_path: Path) -> None:
    needs("fusermount3")
    with mounted(store.small.path, tmp_path / "point", checked=False) as mount:
        run("fusermount3", "-u", mount.point)
        assert mount.server.communicate(timeout=30) == ("", "")
        assert mount.server.returncode == 0


def test_after_a_failure_the_mount_is_dead_and_not_empty(store: Store, tmp_path: Path) -> None:
    breaks = """
async def statfs(self, ctx):
    raise ValueError("a defect")
handlers.Handlers.statfs = statfs
"""
    with mounted(store.small.path, tmp_path / "point", prelude=breaks, checked=False) as mount:
        with pytest.raises(OSError):  # noqa: PT011
            os.statvfs(mount.point)
        _, said = mount.server.communicate(timeout=30)
        assert mount.server.returncode == 1
        assert "the mount is dead" in said
        with pytest.raises(OSError) as caught:  # noqa: PT011
            os.listdir(mount.point)
        assert caught.value.errno == errno.ENOTCONN


def test_paths_of_any_characters_can_be_mounted(tmp_path: Path) -> None:
    place = tmp_path / "Größe, 100\\% \t~"
    place.mkdir()
    small = SmallBackup(place / "back,up")
    small.account(ALICE)
    with mounted(small.path, place / "Einhäng punkt") as mount:
        assert os.listdir(mount.point / "latest") == [ALICE]
        found = {mount.point: mount.backup for mount in mounts.mounts()}
        assert found[str(mount.point)] == str(small.path)
    small.close()
