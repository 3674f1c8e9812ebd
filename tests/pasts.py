"""Random pasts of small backups, and what a purge must leave of them by the rules, not the code."""

from __future__ import annotations

import base64
import random
from pathlib import Path

from engine.blobs import encode_location
from engine.domain.messages import parse_headers
from engine.domain.model import Kind
from engine.journal.reader import Reader
from engine.journal.writer import Content
from tests.backups import SmallBackup, letter
from tests.remembered import Memory, Moment

DAY = 86_400_000_000


class RandomPast:
    """A backup in which anything may happen. Every step is one commit, of the next day."""

    def __init__(self, path: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.small = SmallBackup(path)
        self.accounts: list[int] = []
        """The living ones."""
        self.folders: dict[int, int] = {}
        """Living folder -> its account."""
        self.messages: dict[int, int] = {}
        """Living message -> its folder."""
        self._made = 0
        self._dead: list[tuple[int, bytes, bytes]] = []
        """Deleted messages: account, identity and content."""
        self._known: dict[int, tuple[bytes, bytes]] = {}

    def go_on(self, steps: int) -> None:
        """Lets so much happen."""
        for _ in range(steps):
            self.small.clock.advance(DAY)
            deeds = [self._deliver] * 4 + [self._delete] * 3 + [self._move, self._flag, self._back]
            deeds += [self._new_folder, self._drop_folder, self._other_content]
            if len(self.accounts) < 2 or self.chance.random() < 0.03:
                deeds = [self._new_account]
            elif self.chance.random() < 0.02:
                deeds = [self._drop_account]
            self.chance.choice(deeds)()

    def _content(self) -> bytes:
        """New, or one that was there before; some have an attachment, which others may have."""
        self._made += 1
        number = self.chance.choice([self._made, self.chance.randrange(1, self._made + 1)])
        text = letter(number)
        if number % 9 == 1:  # an attachment that is a message as well
            return random.Random(number % 5).randbytes(6_000)
        if number % 3 == 0:
            part = random.Random(number % 5).randbytes(6_000)
            head = b"\n--x\nContent-Transfer-Encoding: base64\n\n"
            text += head + base64.encodebytes(part) + b"\n--x--\n"
        return text

    def _new_account(self) -> None:
        self._made += 1
        item = self.small.account(f"user{self._made}@example.com")
        self.accounts.append(item)
        self.folders[self.small.folder(item, "INBOX")] = item

    def _drop_account(self) -> None:
        account = self.chance.choice(self.accounts)
        self.accounts.remove(account)
        self.small.clock.advance(60_000_000)
        with self.small.backup.journal.commit(account) as commit:
            commit.delete(account)
        gone = {folder for folder, owner in self.folders.items() if owner == account}
        self.folders = {f: owner for f, owner in self.folders.items() if f not in gone}
        self.messages = {m: folder for m, folder in self.messages.items() if folder not in gone}

    def _new_folder(self) -> None:
        self._made += 1
        parent = self.chance.choice([*self.folders, *self.accounts])
        account = self.folders.get(parent, parent)
        self.folders[self.small.folder(account, f"F{self._made}", parent)] = account

    def _drop_folder(self) -> None:
        if not self.folders:
            return
        folder = self.chance.choice(list(self.folders))
        with self.small.backup.reader() as reader:
            inner = {e.item for e in reader.containers(folder, reader.last_sequence())}
        if inner:
            return
        messages = [m for m, holder in self.messages.items() if holder == folder]
        self.small.delete(self.folders[folder], *messages, folder)
        for message in messages:
            self._bury(message)
        del self.folders[folder]

    def _deliver(self) -> None:
        if not self.folders:
            return
        folder = self.chance.choice(list(self.folders))
        contents = [self._content() for _ in range(self.chance.randrange(1, 6))]
        identities = []
        for _ in contents:
            self._made += 1
            identities.append(b"m%d" % self._made)
        account = self.folders[folder]
        items = self.small.messages(account, folder, contents, identities=identities)
        for item, identity, content in zip(items, identities, contents, strict=True):
            self.messages[item] = folder
            self._known[item] = (identity, content)

    def _bury(self, message: int) -> None:
        account = self.folders[self.messages.pop(message)]
        self._dead.append((account, *self._known[message]))

    def _delete(self) -> None:
        if not self.messages:
            return
        folder = self.messages[self.chance.choice(list(self.messages))]
        inside = [m for m, holder in self.messages.items() if holder == folder]
        chosen = self.chance.sample(inside, self.chance.randrange(1, len(inside) + 1))
        self.small.delete(self.folders[folder], *chosen)
        for message in chosen:
            self._bury(message)

    def _move(self) -> None:
        if not self.messages:
            return
        message = self.chance.choice(list(self.messages))
        account = self.folders[self.messages[message]]
        folder = self.chance.choice([f for f, owner in self.folders.items() if owner == account])
        self.small.change(account, message, folder=folder)
        self.messages[message] = folder

    def _flag(self) -> None:
        for message in self.chance.sample(list(self.messages), min(3, len(self.messages))):
            account = self.folders[self.messages[message]]
            flags = tuple(self.chance.sample(["\\Flagged", "\\Seen"], self.chance.randrange(3)))
            self.small.change(account, message, flags=tuple(sorted(flags)))

    def _other_content(self) -> None:
        if not self.messages:
            return
        message = self.chance.choice(list(self.messages))
        account, text = self.folders[self.messages[message]], self._content()
        with self.small.backup.blob_writer() as writer:
            digest = writer.add(text)
            flushed = writer.flush()
            self.small.clock.advance(60_000_000)
            with self.small.backup.journal.commit(account) as commit:
                blobs = ((digest, encode_location(place)) for digest, place in flushed.blobs)
                commit.index(blobs, flushed.lengths, flushed.needed)
                content = Content(digest, len(text), 7, parse_headers(text))
                commit.change(message, content=content)

    def _back(self) -> None:
        """A deleted message is there again."""
        dead = [row for row in self._dead if row[0] in self.folders.values()]
        if not dead:
            return
        row = self.chance.choice(dead)
        account, identity, content = row
        self._dead.remove(row)
        folder = self.chance.choice([f for f, owner in self.folders.items() if owner == account])
        item = self.small.message(account, folder, content, identity=identity)
        self.messages[item] = folder
        self._known[item] = (identity, content)


def due(memory: Memory, items_until: int, accounts_until: int, held: set[int]) -> set[int]:
    """What a purge must remove, found by looking at everything that ever was. The limits are times;
    0 for never."""
    last = memory.moments[-1]
    ever: dict[int, set[int]] = {}  # container -> what was ever in it
    kinds: dict[int, int] = {}
    owners: dict[int, int] = {}
    for moment in memory.moments:
        for item, entry in moment.living.items():
            ever.setdefault(entry.version.folder, set()).add(item)
            kinds[item] = entry.version.kind
    for item in kinds:
        owners[item] = memory.path(item, memory.last)[0].item
    going: set[int] = set()
    for item, recorded in last.dead.items():
        time = memory.moments[recorded.sequence].time
        account = owners[item]
        if account in held:
            continue
        if kinds[item] == Kind.ACCOUNT:
            if accounts_until and time <= accounts_until:
                going |= {other for other, owner in owners.items() if owner == item}
        elif (
            kinds[item] == Kind.MESSAGE
            and account in last.living
            and items_until
            and time <= items_until
        ):
            going.add(item)
    while True:
        more = {
            item
            for item, recorded in last.dead.items()
            if kinds[item] == Kind.FOLDER
            and item not in going
            and owners[item] in last.living
            and owners[item] not in held
            and items_until
            and memory.moments[recorded.sequence].time <= items_until
            and ever.get(item, set()) <= going
        }
        if not more:
            return going
        going |= more


def without(memory: Memory, items: set[int]) -> Memory:
    """The same past in which these items never were."""
    left = Memory()
    left.moments = [
        Moment(
            moment.time,
            {item: entry for item, entry in moment.living.items() if item not in items},
            {item: recorded for item, recorded in moment.dead.items() if item not in items},
        )
        for moment in memory.moments
    ]
    return left


def grow(reader: Reader, memory: Memory) -> None:
    """Tells the memory of what has happened since it was told last."""
    for row in list(reader.log(memory.last + 1, reader.last_sequence())):
        recorded = reader.recorded(row.transaction.item, row.sequence)
        assert recorded
        assert recorded.sequence == row.sequence
        memory.remember(row.time, recorded.item, recorded.version)
