"""Makes `format1.tar.zst`: a backup path of format 1, its mailboxes, and what its mount showed.

Run once, with the program of commit 1e93add, from its own directory:

    PYTHONPATH=. TIMEFS_SERVER_ID=format1 python .../tests/format1/make.py DIRECTORY

It is kept for whoever wants to know what is in it. Two weeks of two sources with three and one
accounts: folders that are renamed and deleted, flags, moves, copies, a purge of items and of an
account, an erasure, a hold, an account that was succeeded, one that is deleted, and at the end
damage: a pack of which a byte is wrong, and a row of the journal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import closing
from datetime import UTC
from pathlib import Path

sys.path[:0] = [os.fspath(Path(__file__).parent)]

import views  # type: ignore[import-not-found]  # noqa: E402
from engine.clock import ManualClock  # noqa: E402
from engine.sources import open_source  # noqa: E402
from engine.stop import Stop  # noqa: E402
from engine.timestamps import format_time  # noqa: E402

from engine.backup import Backup, create  # noqa: E402
from engine.check import check  # noqa: E402
from engine.purge import erase, hold, purge  # noqa: E402
from engine.scan.smart import NamedSource, Options, scan  # noqa: E402
from tests.backups import letter  # noqa: E402
from tests.maildrop import INBOX, Maildir  # noqa: E402
from tests.mounting import mounted  # noqa: E402

START = 1_714_550_400_000_000
DAY = 86_400_000_000
HOUR = DAY // 24


class Story:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock(START)
        self.specs = [
            f"maildir:{directory}/mail/{{account}}",
            f"maildir:{directory}/other/{{account}}",
        ]
        self.path = directory / "backup"
        self.number = 0
        self.boxes: dict[str, Maildir] = {}
        create(self.path, self.specs, self.clock)

    def box(self, name: str, place: str = "mail", guid: str = "") -> Maildir:
        box = self.boxes[name] = Maildir(self.directory / place / name)
        text = f"3 V1714550000 N900 G{guid or name.encode().hex().ljust(32, '0')[:32]}\n"
        (box.root / "dovecot-uidlist").write_text(text)
        return box

    def mail(
        self, box: Maildir, folder: str = INBOX, count: int = 1, size: int = 400, **more: object
    ) -> list[str]:
        made = []
        for _ in range(count):
            self.number += 1
            raw = letter(self.number, size=size)
            made.append(
                box.deliver(raw, folder, delivered=self.clock.now() - self.number, **more)  # type: ignore[arg-type]
            )
        return made

    def scan(self, hours: int = 6) -> None:
        self.clock.advance(hours * HOUR)
        with Backup(self.path, write=True, clock=self.clock) as backup:
            sources = [NamedSource(s, open_source(s, self.clock, backup.settings)) for s in self.specs]
            result = scan(backup, sources, Options(), Stop())
            print(result.tally.created, result.tally.changed, result.tally.deleted, result.tally.problems, [e.event for e in result.events], result.gone)
        self.clock.advance(HOUR)

    def backup(self) -> Backup:
        return Backup(self.path, write=True, clock=self.clock)

    def item(self, account: str) -> int:
        with self.backup() as backup, backup.reader() as reader:
            for recorded in reader.accounts():
                last = recorded.version or reader.version_before(recorded.item, recorded.sequence)
                if last.identity.decode() == account and recorded.version:
                    return recorded.item
        raise KeyError(account)


def tell(story: Story) -> None:
    alice, bob = story.box("alice@example.com"), story.box("bob@example.com")
    carol, dora = story.box("carol@example.com"), story.box("dora@example.org", "other")
    for box in (alice, bob, carol, dora):
        box.create_folder("Work")
        box.create_folder("Work/Apollo")
        story.mail(box, count=5, flags="S")
        story.mail(box, "Work", count=4, keywords=("$Important",))
        story.mail(box, "Work/Apollo", count=2, size=9000)
    story.scan()
    # flags, moves, copies, deletions
    names = list(alice.messages())
    alice.flag(names[0], "FS")
    alice.move(names[1], INBOX, "Work")
    alice.copy(names[2], INBOX, "Work/Apollo")
    alice.expunge(names[3])
    first = list(bob.messages())
    bob.expunge(first[0])
    bob.delete_folder("Work/Apollo")
    story.mail(alice, count=3)
    story.scan()
    # folders
    alice.rename_folder("Work", "Duties")
    dora.create_folder("Büro & Co")
    story.mail(dora, "Büro & Co", count=3)
    story.scan()
    with story.backup() as backup:
        hold(backup, ["carol@example.com"], "a case")
    for name in list(carol.messages())[:2]:
        carol.expunge(name)
    story.scan(30)
    # an account is deleted, another gets a name
    shutil.rmtree(bob.root)
    story.scan()
    story.clock.advance(3 * DAY)
    shutil.rmtree(dora.root)
    dora = story.box("dora@example.org", "other", guid="f" * 32)
    dora.create_folder("New")
    story.mail(dora, "New", count=4)
    story.mail(dora, count=2)
    story.scan()
    # what is past its retention goes
    story.clock.advance(40 * DAY)
    story.mail(alice, count=2)
    shutil.rmtree(story.box("frank@example.com").root)
    story.scan()
    with story.backup() as backup:
        outcome = purge(backup, Stop())
        print("purged", outcome.removed)
    later = story.mail(alice, count=2, size=30_000)
    story.scan()
    # an erasure of a message, and of an account
    with story.backup() as backup, backup.reader() as reader:
        item = next(e.item for e in reader.listing(1, 2**48 - 2) if e.version.identity == b"alice@example.com")
        inbox = next(e.item for e in reader.listing(item, 2**48 - 2) if e.version.identity == b"INBOX")
        gone = next(e.item for e in reader.listing(inbox, 2**48 - 2) if e.version.identity.decode() == later[0])
    erin = story.box("erin@example.com")
    story.mail(erin, count=3)
    alice.expunge(later[0])
    story.scan()
    with story.backup() as backup:
        print("erased", erase(backup, gone, Stop()))
    item = story.item("erin@example.com")
    shutil.rmtree(erin.root)
    story.scan()
    with story.backup() as backup:
        print("erased", erase(backup, item, Stop()))
    names = list(alice.messages())
    alice.expunge(names[0])
    alice.flag(names[-1], "ST")
    story.mail(alice, "Duties", count=2)
    story.mail(carol, count=3)
    story.scan()
    alice.delete_folder("Duties/Apollo")
    story.scan()
    # what the sources have now isn't all recorded: the next scan has something to do
    story.clock.advance(HOUR)
    story.mail(alice, count=2)
    carol.expunge(next(iter(carol.messages())))


def damage(story: Story) -> None:
    """A byte of the content of one message is wrong in its pack, and one of an index row."""
    from engine.journal.keys import MAX_SEQUENCE

    with story.backup() as backup:
        with backup.reader() as reader:
            carol = next(e.item for e in reader.listing(1, MAX_SEQUENCE) if e.version.identity == b"carol@example.com")
            work = next(e.item for e in reader.listing(carol, MAX_SEQUENCE) if e.version.identity == b"Work")
            apollo = next(e for e in reader.listing(work, MAX_SEQUENCE) if e.version.identity == b"Apollo")
            letter_ = reader.listing(apollo.item, MAX_SEQUENCE)[0].version
        place = backup.location(letter_.digest)
        pack = backup.volume.path_of(place.pack)
        file = pack.read_bytes()
        count = int.from_bytes(file[place.record + 8 : place.record + 12], "big")
        at = place.record + 48 + 40 * count + 100  # in the payload
        pack.chmod(0o640)
        pack.write_bytes(file[:at] + bytes([file[at] ^ 0x10, file[at + 1] ^ 0x40]) + file[at + 2 :])
        environment = backup.journal.environment
        with environment.write() as txn:
            cursor = txn.cursor(environment.tables.headers)
            cursor.first()
            key, value = cursor.item()
            txn.put(key, value[:9] + bytes([value[9] ^ 1, value[10] ^ 2]) + value[11:], db=environment.tables.headers)


def main() -> None:
    directory = Path(sys.argv[1]).resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    story = Story(directory)
    tell(story)
    with Backup(story.path) as backup:
        print(check(backup, deep=True).problems)
    with closing(Backup(story.path)) as backup, backup.reader() as reader:
        times = [row.time for row in reader.log(1, reader.last_sequence())]
        ends = [s.end for s in reader.scans()]
    instants = [format_time(time, UTC) for time in sorted({*times[::12], *ends})]
    with mounted(story.path, directory / "mnt") as mount:
        lines = views.all_shown(mount.point, instants)
    (directory / "views.txt").write_text("\n".join(lines) + "\n")
    damage(story)
    with closing(Backup(story.path)) as backup:
        report = check(backup, deep=True)
    problems = sorted([p.kind, p.what] for p in report.problems)
    facts = {"problems": problems, "instants": instants, "specs": story.specs}
    (directory / "facts.json").write_text(json.dumps(facts, indent=1))
    (directory / "mnt").rmdir()
    shutil.rmtree(story.path / "operations", ignore_errors=True)
    print(len(lines), len(instants), problems)


main()
