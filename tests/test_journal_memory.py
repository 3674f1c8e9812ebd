"""A random journal, and a memory that keeps every state in full: both must answer alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain import naming
from engine.domain.errors import Conflict
from engine.domain.model import ROOT, Kind, Version
from engine.journal import timeline
from engine.journal.writer import Commit, Content, Draft
from tests.desk import (
    SECOND,
    Desk,
    GivenUp,
    account_draft,
    appear,
    folder_draft,
    give_up,
    message_draft,
    scan_record,
)
from tests.memory import MEMORY
from tests.remembered import (
    Memory,
    assert_editions_are_constant,
    assert_states_are_named,
    compare,
    read_back,
)


class Scribe:
    """Writes a random journal, and remembers what every transaction must have left."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.memory = Memory()
        self.items = ROOT
        self.time = 0
        self.buried: dict[int, int] = {}
        """Item -> account, of every item."""

    # What is there

    def state(self) -> dict[int, Version]:
        return {item: entry.version for item, entry in self.memory.moments[-1].living.items()}

    def accounts(self) -> list[int]:
        return [item for item, v in self.state().items() if v.kind == Kind.ACCOUNT]

    def inside(self, account: int) -> list[int]:
        """The living items of an account, it first."""
        living = self.state()
        return [account, *(i for i in living if i != account and self.buried[i] == account)]

    def below(self, item: int) -> list[int]:
        """The item and what it holds, the innermost first."""
        held = [i for i, version in self.state().items() if version.folder == item]
        return [*(found for child in held for found in self.below(child)), item]

    def name(self, wanted: str, kind: int, folder: int, item: int) -> str:
        """What the item must be named: other living entries may have the name."""
        container = kind != Kind.MESSAGE
        others = [v for i, v in self.state().items() if v.folder == folder and i != item]
        exact = {other.name for other in others}
        folded = {v.name.casefold() for v in others if not (container and v.container)}

        def taken(name: str) -> bool:
            return name in exact or name.casefold() in folded

        return naming.unique(wanted, item, taken, container=container)

    # What happens

    def remember(self, item: int, version: Version | None, account: int) -> None:
        self.memory.remember(self.time, item, version)
        self.buried[item] = account
        self.time += 1

    def appear(self, commit: Commit, account: int, draft: Draft) -> None:
        item = appear(commit, draft) if draft.content else commit.appear(draft)
        digest = draft.content.digest if draft.content else b""
        former = sorted(
            (
                dead
                for dead in self.memory.moments[-1].dead.values()
                if dead.version
                and self.buried[dead.item] == account != dead.item
                and (dead.version.kind, dead.version.identity) == (draft.kind, draft.identity)
                and dead.version.digest == digest
                and (draft.kind is Kind.MESSAGE or dead.version.folder == draft.folder)
            ),
            key=lambda dead: dead.sequence,
        )
        if former:
            assert item == former[-1].item
            assert former[-1].version
            self.returned(item, former[-1].version, draft, account)
            return
        self.items += 1
        assert item == self.items
        self.created(item, draft, account)

    def created(self, item: int, draft: Draft, account: int) -> None:
        message = draft.kind is Kind.MESSAGE
        wanted = naming.described_name(draft.name, item) if message else draft.name
        content = draft.content or Content(b"", 0, 0)
        version = Version(
            kind=draft.kind,
            folder=draft.folder,
            name=self.name(wanted, draft.kind, draft.folder, item),
            edition=0,
            since=self.time,
            date=content.date,
            digest=content.digest,
            size=content.size,
            flags=draft.flags,
            identity=draft.identity,
            meta=dict(draft.meta),
        )
        self.remember(item, version, account)

    def returned(self, item: int, before: Version, draft: Draft, account: int) -> None:
        wanted = before.name if draft.kind is Kind.MESSAGE else draft.name
        content = draft.content or Content(b"", 0, 0)
        version = Version(
            kind=draft.kind,
            folder=draft.folder,
            name=self.name(wanted, draft.kind, draft.folder, item),
            edition=before.edition + 1,
            since=before.since,
            date=content.date,
            digest=content.digest,
            size=content.size,
            flags=draft.flags,
            identity=draft.identity,
            meta=dict(draft.meta),
        )
        self.remember(item, version, account)

    def change(self, commit: Commit, item: int, account: int, **changes: Any) -> None:
        before = self.state()[item]
        fields = {name: getattr(before, name) for name in Version.__struct_fields__}
        wanted = changes.get("name", before.name)
        folder = changes.get("folder", before.folder)
        fields |= {key: value for key, value in changes.items() if key != "content"}
        if (wanted, folder) != (before.name, before.folder):
            fields["name"] = self.name(wanted, before.kind, folder, item)
        content = changes.get("content")
        if content and content[:3] != (before.digest, before.size, before.date):
            commit.index([(content.digest, b"somewhere")], {})
            fields |= {"digest": content.digest, "size": content.size, "date": content.date}
            fields |= {"edition": before.edition + 1, "since": self.time}
        elif before.kind == Kind.ACCOUNT and Version(**fields) != before:
            fields |= {"edition": before.edition + 1, "since": self.time}
        after = Version(**fields)
        assert commit.change(item, **changes) == (after != before)
        if after != before:
            self.remember(item, after, account)

    def delete(self, commit: Commit, item: int, account: int) -> None:
        for gone in [item] if item == account else self.below(item):
            commit.delete(gone)
            self.remember(gone, None, account)


NAMES = ["a", "A", "b", "a~000005"]
TEXTS = ["hello", "bye"]
FLAGS = [(), ("\\Flagged",), ("\\Flagged", "\\Seen")]

picks = st.integers(0, 63)
operations = st.one_of(
    st.tuples(st.just("folder"), picks, st.sampled_from(NAMES)),
    st.tuples(st.just("message"), picks, st.sampled_from(["m1", "m2"]), st.sampled_from(TEXTS)),
    st.tuples(st.just("flag"), picks, st.sampled_from(FLAGS)),
    st.tuples(st.just("move"), picks, picks),
    st.tuples(st.just("rename"), picks, st.sampled_from(NAMES)),
    st.tuples(st.just("content"), picks, st.sampled_from(TEXTS)),
    st.tuples(st.just("delete"), picks),
)
changes = st.tuples(st.just("commit"), picks, st.lists(operations, min_size=4, max_size=16))
commits = st.one_of(
    *[changes] * 6,
    st.tuples(st.just("account"), st.sampled_from(NAMES)),
    st.tuples(st.just("give up"), picks, st.lists(operations, min_size=1, max_size=3)),
    st.tuples(st.just("delete account"), picks),
    st.tuples(st.just("restore account"), picks, st.sampled_from(NAMES)),
    st.tuples(st.just("scan ends")),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("clock"), st.integers(-60 * SECOND, 10**9)),
)


def perform(scribe: Scribe, commit: Commit, *, account: int, operation: tuple[Any, ...]) -> None:
    """Carries out an operation on what its numbers point to, if there is such a thing."""
    verb, pick, *rest = operation
    living, everything = scribe.state(), scribe.inside(account)
    containers = [item for item in everything if living[item].container]
    inner = [item for item in everything if item != account]
    if verb == "folder":
        scribe.appear(commit, account, folder_draft(containers[pick % len(containers)], rest[0]))
        return
    if verb == "message":
        folder = containers[pick % len(containers)]
        scribe.appear(commit, account, message_draft(folder, rest[0], rest[1]))
        return
    messages = [item for item in inner if not living[item].container]
    if verb in ("flag", "content"):
        if messages:
            item = messages[pick % len(messages)]
            content = message_draft(0, "", str(rest[0])).content
            changed = {"flags": rest[0]} if verb == "flag" else {"content": content}
            scribe.change(commit, item, account, **changed)
        return
    if not inner:
        return
    item = inner[pick % len(inner)]
    if verb == "delete":
        scribe.delete(commit, item, account)
    elif verb == "move":
        targets = [folder for folder in containers if folder not in scribe.below(item)]
        scribe.change(commit, item, account, folder=targets[rest[0] % len(targets)])
    elif living[item].container:
        scribe.change(commit, item, account, name=rest[0], identity=rest[0].encode())


def write(scribe: Scribe, step: tuple[Any, ...]) -> None:
    """One commit, or what else happens to a journal."""
    desk, memory = scribe.desk, scribe.memory
    verb, *rest = step
    last = memory.moments[-1].time
    with desk.reader() as reader:
        scribe.time = max(desk.clock.now(), reader.horizon() + 1)
    accounts = scribe.accounts()
    dead = memory.moments[-1].dead
    buried = [item for item, recorded in dead.items() if scribe.buried[item] == item]
    if verb == "account":
        draft = account_draft(rest[0])
        if draft.identity in {scribe.state()[item].identity for item in accounts}:
            with pytest.raises(Conflict), desk.commit() as commit:
                commit.create(draft)
            return
        with desk.commit() as commit:
            scribe.items += 1
            assert commit.create(draft) == scribe.items
            scribe.created(scribe.items, draft, scribe.items)
    elif verb == "commit" and accounts:
        account = accounts[rest[0] % len(accounts)]
        with desk.commit(account) as commit:
            for operation in rest[1]:
                perform(scribe, commit, account=account, operation=operation)
    elif verb == "give up" and accounts:
        account = accounts[rest[0] % len(accounts)]
        spoilt = Scribe(desk)
        spoilt.memory.moments = list(memory.moments)
        spoilt.items, spoilt.time, spoilt.buried = scribe.items, scribe.time, dict(scribe.buried)
        steps = [partial(perform, spoilt, account=account, operation=o) for o in rest[1]]
        with pytest.raises(GivenUp):
            give_up(desk, account, *steps)
    elif verb == "delete account" and accounts:
        account = accounts[rest[0] % len(accounts)]
        with desk.commit(account) as commit:
            scribe.delete(commit, account, account)
    elif verb == "restore account" and buried:
        account = buried[rest[0] % len(buried)]
        version = dead[account].version
        assert version
        draft = account_draft(rest[1])
        if draft.identity in {scribe.state()[item].identity for item in accounts}:
            with pytest.raises(Conflict), desk.commit(account) as commit:
                commit.restore(account, draft)
            return
        with desk.commit(account) as commit:
            commit.restore(account, draft)
            scribe.returned(account, version, draft, account)
    elif verb == "scan ends":
        assert desk.backup.journal.finish_scan(scan_record(), accounts).end == scribe.time
    elif verb == "reopen":
        desk.reopen()
    elif verb == "clock":
        desk.clock.time = max(desk.clock.time + rest[0], last - 100 * SECOND)


@pytest.fixture(params=["hashes", "collisions"])
def hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without all names and identities having one hash; keyframes come early."""
    monkeypatch.setattr(timeline, "FLOOR", 3)
    if request.param == "collisions":
        for module in ("reader", "derive"):
            monkeypatch.setattr(f"engine.journal.{module}.name_hash", lambda name: b"one hash")
            monkeypatch.setattr(f"engine.journal.{module}.identity_hash", lambda name: b"one hash")


@pytest.mark.usefixtures("hashing")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(commits, min_size=15, max_size=40))
def test_every_instant_is_as_it_was(history: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory(dir=MEMORY) as directory:
        scribe = Scribe(Desk(Path(directory) / "backup"))
        for step in [("account", "alice"), ("commit", 0, [("folder", 0, "b")]), *history]:
            write(scribe, step)
        with scribe.desk.reader() as reader:
            compare(reader, scribe.memory)
            assert_states_are_named(reader, scribe.memory)
            assert_editions_are_constant(reader, scribe.memory)
            assert read_back(reader).moments == scribe.memory.moments
        scribe.desk.backup.close()
