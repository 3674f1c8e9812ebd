"""Sessions with IMAP servers of several manners, whose answers are faulty: all that they did give
is backed up, and what they didn't is named."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engine.connectors.imap.client.overview import Listed, Namespaces, Overview
from engine.connectors.imap.folders import arrange
from engine.connectors.sources import open_source
from engine.domain.errors import EngineError
from engine.domain.model import ROOT, Kind
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.system.stop import Stop
from tests.backups import SmallBackup
from tests.imap_manners import FAULTS, MANNERS, STARTS, Folder, Server
from tests.imap_script import serving

NAMES = ("Work[2024]", "Sent Items", "a(b)", "[Gmail]/All", "R&D", "x{y}", "Archive")
FLAGS = (b"\\Seen", b"\\Flagged", b"$Work")

State = dict[tuple[str, ...], dict[bytes, frozenset[str]]]
"""For each folder its contents with their flags."""


def content(chance: random.Random, number: int) -> bytes:
    head = f"Subject: {number}\r\nDate: Mon, 8 Jan 2024 07:30:00 +0000\r\n"
    if chance.random() < 0.9:
        head += f"Message-ID: <{number}@example.com>\r\n"
    body = chance.choice(("hi\r\n", "a)\r\n", ")\r\n)\r\n", "x * 1 FETCH (UID 1)\r\n", " y", ""))
    return f"{head}\r\nnumber {number} {body}".encode()


class Session:
    """A server with mail, and its backup."""

    def __init__(self, path: Path, manner: str, seed: int) -> None:
        self.chance = random.Random(f"{manner} {seed}")
        self.server = Server(MANNERS[manner])
        self._password = path / "password"
        self._password.write_text("a secret\n")
        self._made = SmallBackup(path / "backup")
        self._number = 0
        self.wrong: list[tuple[object, str, object]] = []
        """The faults so far: of which commands' answers, and how often."""
        manner_ = self.server.manner
        self.server.folders[b"INBOX"] = Folder(11)
        for validity, name in enumerate(self.chance.sample(NAMES, 2), 12):
            raw = manner_.prefix + name.encode().replace(b"/", manner_.separator)
            self.server.folders[raw] = Folder(validity)
        for folder in self.server.folders.values():
            for _ in range(self.chance.randrange(1, 6)):
                self._deliver(folder)

    def close(self) -> None:
        self._made.close()

    def _deliver(self, folder: Folder) -> None:
        self._number += 1
        flags = self.chance.sample(FLAGS, self.chance.randrange(3))
        folder.deliver(content(self.chance, self._number), *flags)

    def change(self) -> None:
        """Things happen at the server."""
        for folder in self.server.folders.values():
            for _ in range(self.chance.randrange(3)):
                what = self.chance.randrange(3)
                if what == 0 or not folder.letters:
                    self._deliver(folder)
                elif what == 1:
                    folder.flag(self.chance.choice(folder.letters), self.chance.choice(FLAGS))
                else:
                    folder.expunge(self.chance.choice(folder.letters))

    def go_wrong(self) -> None:
        """From now on some answers are faulty."""
        self.server.rules = [
            [
                self.chance.choice(STARTS),
                FAULTS[name],
                self.chance.choice((1, 1, 3, 10**9)),
                self.chance.random(),
            ]
            for name in self.chance.choices(list(FAULTS), k=self.chance.choice((1, 1, 2)))
        ]
        names = {fault: name for name, fault in FAULTS.items()}
        for start, fault, times, _ in self.server.rules:
            self.wrong.append((start, names[fault], times))  # type: ignore[index]

    def go_right(self) -> None:
        self.server.rules = []

    def scan(self) -> list[str]:
        """Scans; returns what couldn't be read."""
        spec = f"imap:127.0.0.1:{self.server.port}?method=each&login=alice&timeout=1&connections=1"
        spec += f"&password_file={self._password}"
        self._made.clock.advance(10_000_000)
        source = NamedSource(spec, open_source(spec, self._made.clock))
        try:
            result = scan(self._made.backup, [source], ScanOptions(), Stop())
        except EngineError as error:
            return [str(error)]
        return [str(problem) for problem in result.tally.problems]

    def there(self) -> State:
        """What the server has."""
        manner = self.server.manner
        listed = [Listed(name, manner.separator, frozenset()) for name in self.server.folders]
        spaces = Namespaces((manner.prefix,), ())
        _, folders = arrange(Overview(listed, [], {}, spaces), {}, shared=False)
        return {
            path: {
                letter.content: frozenset(flag.decode() for flag in letter.flags)
                for letter in self.server.folders[folder.name].letters
            }
            for path, folder in folders.items()
            if folder.name and self.server.folders[folder.name].letters
        }

    def kept(self) -> State:
        """What is in the backup."""
        found: State = {}

        def walk(reader: Reader, folder: int, path: tuple[str, ...]) -> None:
            for entry in reader.entries(folder, MAX_SEQUENCE):
                version = entry.version
                if version.kind != Kind.MESSAGE:
                    walk(reader, entry.item, (*path, version.identity.decode()))
                    continue
                text = self._made.backup.read_blob(version.digest)
                found.setdefault(path[1:], {})[text] = frozenset(version.flags)

        with self._made.backup.reader() as reader:
            walk(reader, ROOT, ())
        return found


HARMLESS = {"double", "shuffle", "junk", "blank after", "case", "cut", "refuse"}
"""Faults that say nothing wrong of flags."""


def compare(session: Session, before: State, problems: list[str], ever: State) -> None:
    """After a scan of a server whose answers were faulty."""
    there, kept = session.there(), session.kept()
    for path, contents in kept.items():
        assert contents.keys() <= ever.get(path, {}).keys(), "what was never there"
    for path, contents in there.items():
        missing = contents.keys() - kept.get(path, {}).keys()
        assert not missing & before.get(path, {}).keys(), "deleted, and the server has it"
        assert problems or not missing, "silently absent"


def story(manner: str, seed: int) -> None:
    """Mail is there, and more comes and goes; each time faulty answers come first, then good ones.
    Whatever was missed is then taken, and nothing is left over."""
    with TemporaryDirectory() as path:
        session = Session(Path(path), manner, seed)
        try:
            with serving(session.server):
                ever = session.there()
                for _ in range(2):
                    before = session.kept()
                    session.go_wrong()
                    compare(session, before, session.scan(), ever)
                    session.go_right()
                    problems = session.scan()
                    there, kept = session.there(), session.kept()
                    assert problems == []
                    assert {path: set(found) for path, found in kept.items()} == {
                        path: set(found) for path, found in there.items()
                    }
                    if all(name in HARMLESS for _, name, _ in session.wrong):
                        assert kept == there
                    session.change()
                    for folder, contents in session.there().items():
                        ever.setdefault(folder, {}).update(contents)
        except BaseException as error:
            error.add_note(f"{manner} {seed}: {session.wrong}")
            raise
        finally:
            session.close()


@pytest.mark.parametrize("manner", sorted(MANNERS))
@pytest.mark.parametrize("seed", range(2))
def test_faulty_answers_lose_nothing(manner: str, seed: int) -> None:
    story(manner, seed)


@pytest.mark.slow
@pytest.mark.parametrize("manner", sorted(MANNERS))
def test_many_faulty_answers_lose_nothing(manner: str) -> None:
    for seed in range(2, 150):
        story(manner, seed)
