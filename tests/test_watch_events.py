"""What a Maildir source tells of events, with the kernel's own inotify and with made-up ones."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from inotify_simple import Event, INotify, flags

from engine.connectors.events import Hint, Polling
from engine.connectors.maildir import events
from engine.connectors.maildir.events import MaildirEvents
from engine.connectors.maildir.location import MaildirLocation
from engine.connectors.maildir.source import MaildirSource
from engine.connectors.maildir.unfinished import WRITING, WRITING_MOST, Unfinished
from engine.connectors.maildir.watches import WatchedAccount, WatchedFolder, Watches
from engine.domain.errors import SourceUnavailable
from engine.system import filesystem
from tests.commands import until
from tests.maildrop import Maildir

LETTER = b"Subject: x\n\nhi\n"


class Told:
    """What events told."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.notes: list[str] = []

    def give(self, hint: Hint) -> None:
        self.hints.append(hint)

    def note(self, what: str) -> None:
        self.notes.append(what)

    def expect(self, *hints: Hint) -> None:
        until(lambda: set(hints) <= set(self.hints), f"{hints} among {self.hints}")
        self.hints.clear()


@contextmanager
def told(vmail: Path, pattern: str = "{account}", **options: object) -> Iterator[Told]:
    """Follows what is at `vmail`; everything is watched when the block begins."""
    options.setdefault("poll", 3600.0)
    events = MaildirEvents(MaildirLocation(f"{vmail}/{pattern}"), **options)  # type: ignore[arg-type]
    heard = Told()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            events.run(heard.give, heard.note)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: heard.hints or failures, "the first hint")
        if not failures:
            heard.expect(Hint())
        yield heard
    finally:
        events.close()
        thread.join()
        events.close()
    assert not failures, failures


@pytest.fixture
def vmail(tmp_path: Path) -> Path:
    Maildir(tmp_path / "mail" / "alice")
    return tmp_path / "mail"


def test_a_delivery_is_told_with_its_folder(vmail: Path) -> None:
    alice = Maildir(vmail / "alice")
    alice.create_folder("Work")
    with told(vmail) as heard:
        alice.deliver(LETTER)
        heard.expect(Hint("alice", ("INBOX",)))
        alice.deliver(LETTER, "Work", flags="S", keywords=["todo"])
        heard.expect(Hint("alice", ("Work",)))
        (alice.root / "subscriptions").write_text("Work\n")
        heard.expect(Hint("alice"))
        assert not heard.notes


def test_what_is_in_tmp_is_not_told(vmail: Path) -> None:
    alice = Maildir(vmail / "alice")
    with told(vmail) as heard:
        (alice.root / "tmp" / "x").write_bytes(LETTER)
        (alice.root / "dovecot.index.log").write_bytes(b"")
        (alice.root / "cur" / ".hidden").write_bytes(b"")
        alice.deliver(LETTER)
        until(lambda: heard.hints, "the delivery")
        assert set(heard.hints) == {Hint("alice", ("INBOX",))}


def test_a_file_that_is_whole_is_told_at_once(vmail: Path) -> None:
    """Some servers deliver by link. No time passes here, so nothing is waited for."""
    alice = Maildir(vmail / "alice")
    with told(vmail, clock=lambda: 0.0) as heard:
        (alice.root / "tmp" / "x").write_bytes(LETTER)
        os.link(alice.root / "tmp" / "x", alice.root / "new" / "x")
        heard.expect(Hint("alice", ("INBOX",)))
        (alice.root / "new" / "y").write_bytes(LETTER)
        heard.expect(Hint("alice", ("INBOX",), written=True))


def test_a_file_that_is_being_written_is_told_when_it_is_closed(vmail: Path) -> None:
    alice = Maildir(vmail / "alice")
    with told(vmail, clock=lambda: 0.0) as heard:
        with (alice.root / "new" / "x").open("wb", buffering=0) as file:
            file.write(LETTER)
            alice.deliver(LETTER)
            Maildir(vmail / "bob")
            until(lambda: Hint("bob") in heard.hints, "what came later")
            assert not any(hint.account == "alice" for hint in heard.hints)
        heard.expect(Hint("alice", ("INBOX",), written=True))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(LETTER.upper()),
        lambda path: os.utime(path, (0, 0)),
        lambda path: path.chmod(0o400),
    ],
    ids=["content", "times", "mode"],
)
def test_a_message_that_is_written_to_is_told(vmail: Path, write: Callable[[Path], object]) -> None:
    alice = Maildir(vmail / "alice")
    alice.create_folder("Work")
    unique = alice.deliver(LETTER, "Work", flags="S")
    with told(vmail) as heard:
        write(alice.messages("Work")[unique])
        heard.expect(Hint("alice", ("Work",), written=True))
        alice.flag(unique, "", "Work")
        heard.expect(Hint("alice", ("Work",)))


def test_two_directories_of_one_folder_are_told_as_the_account(vmail: Path) -> None:
    alice = Maildir(vmail / "alice")
    alice.create_folder("Work")
    for name in ("cur", "new", "tmp"):
        (alice.root / "Work" / name).mkdir(parents=True)
    with told(vmail) as heard:
        alice.deliver(LETTER, "Work")
        heard.expect(Hint("alice"))


def test_a_removed_and_returned_cur_is_watched_again(vmail: Path) -> None:
    alice = Maildir(vmail / "alice")
    with told(vmail) as heard:
        shutil.rmtree(alice.root / "new")
        heard.expect(Hint("alice"))
        (alice.root / "new").mkdir()
        heard.expect(Hint("alice"))
        followed(heard, alice)


def test_an_account_that_was_removed_and_made_anew_is_watched_again(vmail: Path) -> None:
    with told(vmail) as heard:
        for _ in range(5):
            shutil.rmtree(vmail / "alice")
            alice = Maildir(vmail / "alice")
            heard.expect(Hint("alice"))
            followed(heard, alice)


def followed(heard: Told, box: Maildir) -> None:
    """Delivers until that is told with the folder: the first may have come before the watch."""

    def delivered() -> bool:
        box.deliver(LETTER)
        return Hint(box.root.name, ("INBOX",)) in heard.hints

    until(delivered, "a delivery is told")
    heard.hints.clear()


def test_a_mailbox_that_is_the_location_itself(tmp_path: Path) -> None:
    with told(tmp_path, "Maildir?account=alice@example.com", poll=0.05) as heard:
        box = Maildir(tmp_path / "Maildir")
        box.deliver(LETTER)
        heard.expect(Hint())

        def delivered() -> bool:
            box.deliver(LETTER)
            return Hint("alice@example.com", ("INBOX",)) in heard.hints

        until(delivered, "it is followed")


def test_the_base_may_come_later_and_go_and_be_another(tmp_path: Path) -> None:
    vmail = tmp_path / "mail"
    with told(vmail, poll=0.05) as heard:
        Maildir(vmail / "alice")
        heard.expect(Hint("alice"))
        vmail.rename(tmp_path / "away")
        heard.expect(Hint())
        Maildir(vmail / "bob")
        heard.expect(Hint("bob"))
        followed(heard, Maildir(vmail / "bob"))


def test_what_is_put_in_the_place_of_the_mail_without_an_event_is_found(tmp_path: Path) -> None:
    """As with a file system that is mounted over it."""
    vmail = tmp_path / "srv" / "mail"
    Maildir(vmail / "alice")
    with told(vmail, poll=0.05) as heard:
        (tmp_path / "srv").rename(tmp_path / "away")
        Maildir(vmail / "alice")
        heard.expect(Hint(), Hint("alice"))
        followed(heard, Maildir(vmail / "alice"))


def test_directories_that_lead_nowhere_are_not_watched(vmail: Path) -> None:
    (vmail / "lost+found").mkdir()
    (vmail / ".hidden").mkdir()
    with told(vmail) as heard:
        (vmail / "lost+found" / "cur").mkdir()
        (vmail / ".hidden" / "cur").mkdir()
        Maildir(vmail / "alice").deliver(LETTER)
        until(lambda: heard.hints, "the delivery")
        assert {hint.account for hint in heard.hints} == {"alice"}


# What the kernel refuses


class Kernel(INotify):  # type: ignore[misc]
    """The kernel's inotify, with events put in and watches refused."""

    extra: list[Event]
    refused: Callable[[str], int]

    def __init__(self, refused: Callable[[str], int] = lambda path: 0) -> None:
        super().__init__()
        self.extra = []
        self.refused = refused
        self.opened = True

    def add_watch(self, path: str, mask: int) -> int:
        number = self.refused(path)
        if number:
            raise OSError(number, os.strerror(number))
        return int(super().add_watch(path, mask))

    def read(self, timeout: int) -> list[Event]:
        extra, self.extra = self.extra, []
        return extra + list(super().read(timeout))


def test_lost_events_lead_to_a_look_at_everything(vmail: Path) -> None:
    kernels: list[Kernel] = []

    def opened() -> Kernel:
        kernels.append(Kernel())
        return kernels[-1]

    with told(vmail, kernel=opened) as heard:
        kernels[0].extra.append(Event(-1, int(flags.Q_OVERFLOW), 0, ""))
        Maildir(vmail / "alice").deliver(LETTER)
        heard.expect(Hint(written=True))
        Maildir(vmail / "alice").deliver(LETTER)
        heard.expect(Hint("alice", ("INBOX",)))
        assert len(kernels) == 2
        assert kernels[0].closed


def test_a_real_overflow_leads_to_a_look_at_everything(vmail: Path) -> None:
    """With more events than the kernel keeps, while nobody reads."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip("this machine keeps very many events")
    box = vmail / "alice" / "new"
    reading = threading.Event()

    class Slow(Kernel):
        def read(self, timeout: int) -> list[Event]:
            reading.wait()
            return super().read(timeout)

    with told(vmail, kernel=Slow) as heard:
        a, b = box / "a", box / "b"
        a.touch()
        for _ in range(limit // 2 + 10):
            a.rename(b)
            b.rename(a)
        reading.set()
        heard.expect(Hint(written=True))


def test_an_unmounted_file_system_is_looked_for(vmail: Path) -> None:
    kernels: list[Kernel] = []

    def opened() -> Kernel:
        kernels.append(Kernel())
        return kernels[-1]

    with told(vmail, kernel=opened, poll=0.05) as heard:
        away = vmail.with_name("away")
        vmail.rename(away)
        for wd in range(1, 6):  # the base, the account's directory, cur and new, and none
            kernels[0].extra.append(Event(wd, int(flags.UNMOUNT), 0, ""))
            kernels[0].extra.append(Event(wd, int(flags.IGNORED), 0, ""))
        heard.expect(Hint(), Hint("alice"))
        away.rename(vmail)
        heard.expect(Hint("alice"))
        followed(heard, Maildir(vmail / "alice"))


def test_beyond_the_limit_of_watches_accounts_are_polled(
    vmail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bob", "carol"):
        Maildir(vmail / name)
    limits = {"max_user_watches": 7}
    monkeypatch.setattr(events, "_limit", lambda name: limits[name])
    kernels: list[Kernel] = []

    def opened() -> Kernel:
        watched: set[str] = set()

        def refused(path: str) -> int:
            watched.add(path)
            return errno.ENOSPC if len(watched) > limits["max_user_watches"] else 0

        kernels.append(Kernel(refused))
        return kernels[-1]

    with told(vmail, kernel=opened, poll=0.2) as heard:
        assert len(heard.notes) == 1
        assert "fs.inotify.max_user_watches is 7" in heard.notes[0]
        assert "sysctl fs.inotify.max_user_watches=" in heard.notes[0]
        until(lambda: len({h.account for h in heard.hints}) == 1, "the third account is polled")
        polled = {hint.account for hint in heard.hints}
        heard.expect(*(Hint(account) for account in polled))
        limits["max_user_watches"] = 1000
        heard.expect(Hint())
        until(lambda: len(kernels) == 2, "a new beginning")
        for name in ("alice", "bob", "carol"):
            followed(heard, Maildir(vmail / name))
        assert len(heard.notes) == 1


def test_where_no_instance_is_to_be_had_everything_is_polled(vmail: Path) -> None:
    free = False

    def opened() -> Kernel:
        if not free:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return Kernel()

    with told(vmail, kernel=opened, poll=0.05) as heard:
        assert "fs.inotify.max_user_instances" in heard.notes[0]
        heard.expect(Hint())
        free = True
        followed(heard, Maildir(vmail / "alice"))
        assert len(heard.notes) == 1


def test_a_folder_that_may_not_be_watched_is_told_and_its_account_polled(vmail: Path) -> None:
    Maildir(vmail / "alice").create_folder("Secret")
    Maildir(vmail / "bob")

    def opened() -> Kernel:
        return Kernel(lambda path: errno.EACCES if "Secret" in path else 0)

    with told(vmail, kernel=opened, poll=0.05) as heard:
        assert heard.notes == [f"{vmail}/alice/.Secret: Permission denied"]
        heard.expect(Hint("alice"))
        Maildir(vmail / "bob").deliver(LETTER)
        heard.expect(Hint("bob", ("INBOX",)))
        assert len(heard.notes) == 1


def test_mail_on_a_network_file_system_is_polled(
    vmail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "is_remote", lambda path: "nfs4")
    with told(vmail, poll=0.05) as heard:
        assert "is on nfs4" in heard.notes[0]
        heard.expect(Hint())
        heard.expect(Hint())
        assert len(heard.notes) == 1


def test_two_accounts_with_one_directory_are_polled(vmail: Path) -> None:
    (vmail / "bob").symlink_to("alice")
    with told(vmail, poll=0.05) as heard:
        assert "another mailbox" in heard.notes[0]
        Maildir(vmail / "alice").deliver(LETTER)
        until(lambda: {"alice", "bob"} <= {h.account for h in heard.hints}, "both")


# Parts


def test_a_source_that_tells_nothing_is_polled() -> None:
    polling = Polling(0.01)
    heard = Told()
    thread = threading.Thread(target=polling.run, args=(heard.give, heard.note))
    thread.start()
    until(lambda: len(heard.hints) > 2, "three rounds")
    polling.close()
    thread.join()
    assert set(heard.hints) == {Hint()}


def test_a_source_can_be_closed_before_it_runs(vmail: Path) -> None:
    events = MaildirSource(f"{vmail}/{{account}}", None).events(60.0)  # type: ignore[arg-type]
    events.close()
    heard = Told()
    events.run(heard.give, heard.note)
    assert events.blind == 60.0


def test_a_file_is_waited_for_while_it_grows() -> None:
    unfinished = Unfinished()
    key = ("alice", WatchedFolder(WatchedAccount("alice", ()), "/alice", ("INBOX",)))
    unfinished.growing(key, "x", 0.0)
    assert unfinished.holds(key, 0.1)
    unfinished.growing(key, "x", 0.1)
    assert unfinished.next() == 0.1 + WRITING
    assert unfinished.due(0.2) == set()
    unfinished.finished(key, "x")
    assert not unfinished.holds(key, 0.2)
    assert unfinished.due(0.2) == {key}
    assert unfinished.next() is None


def test_a_file_that_never_ends_holds_a_folder_up_only_so_long() -> None:
    unfinished = Unfinished()
    key = ("alice", WatchedFolder(WatchedAccount("alice", ()), "/alice", ("INBOX",)))
    now = 0.0
    unfinished.growing(key, "x", now)
    while now < WRITING_MOST:
        assert not unfinished.due(now)
        assert unfinished.holds(key, now)
        now += 0.1
        unfinished.growing(key, "x", now)
    assert not unfinished.holds(key, now)
    assert unfinished.due(now) == {key}


def test_no_more_is_watched_than_there_is(vmail: Path) -> None:
    alice = Maildir(vmail / "alice")
    kernel = INotify()
    watches = Watches(kernel, MaildirLocation(f"{vmail}/{{account}}"))
    (account,) = watches.follow(())
    before = len(watches)
    for turn in range(3):
        alice.create_folder(f"F{turn}")
        watches.walk(account)
        assert len(watches) == before + 3
        alice.delete_folder(f"F{turn}")
        watches.walk(account)
        assert len(watches) == before
    assert watches.forget(()) == [account]
    assert len(watches) == 0
    info = Path(f"/proc/self/fdinfo/{kernel.fileno()}").read_text()
    assert "inotify wd" not in info
    kernel.close()


def test_where_accounts_are() -> None:
    location = MaildirLocation("/mail/{domain}/{user}/Maildir")
    assert location.depth == 3
    assert location.account_at(("example.com", "alice", "Maildir")) == "alice@example.com"
    assert location.account_at(("example.com", "alice", "Mail")) is None
    assert location.account_at(("example.com", "alice")) is None
    assert location.leads(("example.com",))
    assert not location.leads((".example.com",))
    assert not location.leads(("a", "b", "Maildir", "cur"))
    assert location.next_name(()) is None
    assert location.next_name(("example.com", "alice")) == "Maildir"
    with pytest.raises(SourceUnavailable):
        MaildirSource("/nowhere/{account}", None).accounts()  # type: ignore[arg-type]
