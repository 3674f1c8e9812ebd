"""The whole path, as users go it: mailboxes, scans, a mount, and the programs that they have.

What a program makes of the mount itself is in `test_mount`; here what it brings back is compared
with what was in the mailboxes.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3

from tests.commands import DEADLINE, environment
from tests.faults import Server
from tests.mail import PEOPLE, compose, letters
from tests.maildrop import Maildir
from tests.mounting import Mounted, mounted, run
from tests.oddities import ODDITIES
from tests.programs import needs

ALICE = "alice@example.com"
MAY_DAY = 1_714_550_400_000_000  # 2024-05-01T08:00:00Z
DAY = 86_400_000_000

Folders = dict[str, Counter[str]]
"""The digests of what is in each folder, by its path."""


class Past(NamedTuple):
    """A mounted backup, and what its mailbox was at the first and at the second scan."""

    mount: Mounted
    first: Path
    """The view of the first scan."""
    before: Folders
    after: Folders
    flagged: list[bytes]
    """The flagged messages of the inbox at the first scan."""


def digest(raw: bytes) -> str:
    return blake3(raw).hexdigest()


def in_mailbox(mailbox: Maildir) -> Folders:
    return {
        folder: Counter(digest(path.read_bytes()) for path in mailbox.messages(folder).values())
        for folder in mailbox.folders()
    }


def in_copy(base: Path) -> Folders:
    """The same of a copy of an account."""
    found: Folders = {}
    for directory, _, names in os.walk(base):
        folder = os.path.relpath(directory, base)
        if folder != ".":
            found[folder] = Counter(
                digest(Path(directory, name).read_bytes()) for name in names if ".eml" in name
            )
    return found


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory, quick: Server) -> Iterator[Past]:
    needs("/dev/fuse")
    work = tmp_path_factory.mktemp("whole")
    mailbox = Maildir(work / "vmail" / "example.com" / "alice" / "Maildir")
    places = ["INBOX", "Work", "Work/Apollo", "Entwürfe", "Sent"]
    for place in places[1:]:
        mailbox.create_folder(place)
    for number, one in enumerate(letters(6, 100, start=MAY_DAY - 90 * DAY)):
        mailbox.deliver(
            one.raw,
            places[number % 5],
            unique=f"{number}.x",
            delivered=one.delivered,
            flags=one.flags or None,
            keywords=one.keywords,
        )
    for number, raw in enumerate(ODDITIES.values()):
        mailbox.deliver(raw, "Work", unique=f"{number}.odd", delivered=MAY_DAY + number * DAY)
    numbers = compose(
        PEOPLE[1], PEOPLE[0], "The numbers of Zanzibar", "1, 2, 3\n", delivered=MAY_DAY
    )
    mailbox.deliver(numbers, unique="numbers", delivered=MAY_DAY, flags="FS")
    before = in_mailbox(mailbox)
    flagged = [
        path.read_bytes()
        for path in mailbox.messages().values()
        if "F" in path.name.partition(":2,")[2]
    ]
    backup = work / "backup"
    source = f"maildir:{work}/vmail/{{domain}}/{{user}}/Maildir"
    quick("init", "-b", backup, "--source", source)
    end = quick("scan", "-b", backup, "--json").json["end"]
    for unique in list(mailbox.messages())[::3]:
        mailbox.expunge(unique)
    mailbox.rename_folder("Work", "Projects")
    mailbox.delete_folder("Sent")
    mailbox.deliver(b"Subject: the newest\n\n", unique="newest")
    quick("scan", "-b", backup)
    with mounted(backup, work / "mnt") as mount:
        yield Past(mount, mount.point / end, before, in_mailbox(mailbox), flagged)


def test_a_copied_account_is_what_the_mailbox_was(past: Past, tmp_path: Path) -> None:
    run("cp", "-a", past.first / ALICE, tmp_path / "first")
    assert in_copy(tmp_path / "first") == past.before
    run("cp", "-a", past.mount.point / "latest" / ALICE, tmp_path / "latest")
    assert in_copy(tmp_path / "latest") == past.after


def test_an_archived_account_is_what_the_mailbox_was(past: Past, tmp_path: Path) -> None:
    archive = subprocess.run(
        ["tar", "-C", past.first, "-cf", "-", ALICE], stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(["tar", "-C", tmp_path, "-xf", "-"], input=archive, check=True)
    assert in_copy(tmp_path / ALICE) == past.before


def test_a_mirror_is_what_the_mailbox_was_and_then_what_it_became(
    past: Past, tmp_path: Path
) -> None:
    needs("rsync")
    mirror = ("rsync", "-a", "--checksum", "--delete", "--itemize-changes")
    run(*mirror, f"{past.first / ALICE}/", tmp_path / "mirror")
    assert in_copy(tmp_path / "mirror") == past.before
    run(*mirror, f"{past.mount.point / 'latest' / ALICE}/", tmp_path / "mirror")
    assert in_copy(tmp_path / "mirror") == past.after
    assert run(*mirror, f"{past.mount.point / 'latest' / ALICE}/", tmp_path / "mirror") == ""


def test_what_was_deleted_is_found_and_copied_back(past: Past, tmp_path: Path) -> None:
    gone = past.mount.point / "latest" / ALICE / ".deleted"
    run("cp", "-a", gone, tmp_path / "gone")
    wanted = {
        "INBOX": past.before["INBOX"] - past.after["INBOX"],
        "Sent": past.before["Sent"],
    }
    found = {folder: counts for folder, counts in in_copy(tmp_path / "gone").items() if counts}
    assert found == wanted


def test_find_tells_the_dates_that_the_messages_had(past: Past) -> None:
    base = past.first / ALICE
    found = run("find", base, "-name", "*.eml", "-newermt", "2024-05-01 07:59:59", "-print")
    assert found.count("\n") == len(ODDITIES) + 1
    listed = run("ls", "-l", "--time-style=+%Y-%m-%dT%H%M", base / "INBOX").splitlines()[1:]
    for line in listed:
        date, name = line.split()[5:7]
        assert name.startswith(date)
    assert "The-numbers-of-Zanzibar" in run("grep", "-rl", "^Subject: The numbers", base)
    kilobytes = int(run("du", "-sk", base).split()[0])
    assert kilobytes * 1024 >= sum(path.stat().st_size for path in base.rglob("*.eml"))


# Mail programs


def in_terminal(*command: str | Path, env: dict[str, str]) -> int:
    """Runs a program in a terminal that nobody looks at; its exit status."""
    child, terminal = pty.fork()
    if not child:
        os.execvpe(command[0], [str(word) for word in command], env)
    try:
        while select.select([terminal], [], [], DEADLINE)[0]:
            try:
                if not os.read(terminal, 65536):
                    break
            except OSError:  # it has ended
                break
        else:
            os.kill(child, 9)
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_mutt_opens_the_past_with_its_flags(past: Past, tmp_path: Path) -> None:
    needs("mutt")
    (tmp_path / "Mail").mkdir()
    taken, flagged = tmp_path / "taken", tmp_path / "flagged"
    keys = (
        f"<tag-pattern>~A<enter><tag-prefix><pipe-message>cat >{taken}<enter>"
        "<untag-pattern>~A<enter>"
        f"<tag-pattern>~F<enter><tag-prefix><pipe-message>cat >{flagged}<enter><exit>"
    )
    status = in_terminal(
        *("mutt", "-n", "-F", "/dev/null", "-R", "-f", past.first / ".maildir" / ALICE),
        *("-e", "set wait_key=no pipe_decode=no pipe_split=no quit=yes"),
        *("-e", f'push "{keys}"'),
        env=environment(HOME=str(tmp_path), TERM="vt100", LANG="C.UTF-8"),
    )
    assert status == 0
    inbox = [path.read_bytes() for path in (past.first / ALICE / "INBOX").iterdir()]
    assert 1 < len(past.flagged) < len(inbox)
    for file, wanted in ((taken, inbox), (flagged, past.flagged)):
        # mutt writes line feeds where a message has CRLF, and one between two messages.
        text = file.read_bytes().replace(b"\r", b"")
        plain = [raw.replace(b"\r", b"") for raw in wanted]
        assert 0 <= len(text) - sum(map(len, plain)) <= len(plain)
        assert [raw for raw in plain if raw not in text] == []


def test_notmuch_indexes_the_past(past: Past, tmp_path: Path) -> None:
    """Its database is elsewhere: it can write nothing here."""
    needs("notmuch")
    maildir = past.first / ".maildir" / ALICE
    config = tmp_path / "config"
    config.write_text(
        f"[database]\npath={tmp_path}/database\nmail_root={maildir}\n"
        "[user]\nname=A\nprimary_email=a@example.com\n[new]\ntags=new\n"
        "[maildir]\nsynchronize_flags=true\n"
    )
    (tmp_path / "database").mkdir()
    env = environment(HOME=str(tmp_path), NOTMUCH_CONFIG=str(config))

    def notmuch(*words: str) -> str:
        done = subprocess.run(
            ["notmuch", *words], env=env, capture_output=True, text=True, check=True
        )
        return done.stdout

    notmuch("new", "--quiet")
    (found,) = notmuch("search", "--output=files", "subject:zanzibar").splitlines()
    assert b"The numbers of Zanzibar" in Path(found).read_bytes()
    assert notmuch("count", "subject:zanzibar", "and", "tag:flagged") == "1\n"
    files = int(notmuch("count", "--output=files", "*"))
    assert files >= sum(counts.total() for counts in past.before.values()) - len(ODDITIES)
