"""Tests of `engine.scan.folder_cache`: what is remembered of a folder is what the journal says."""

from __future__ import annotations

import pytest

from engine.journal.reader import Reader
from engine.scan.folder_cache import FolderCache
from engine.scan.known import messages
from engine.scan.states import KnownItem
from tests.desk import Desk


def recall(desk: Desk, memory: FolderCache, folder: int) -> dict[bytes, KnownItem]:
    """What the memory says, which must be what the journal says."""
    with desk.reader() as reader:
        remembered = memory.take(reader, folder)
        assert remembered.messages == messages(reader, folder)
        assert remembered.sequence == reader.last_sequence()
    memory.give_back(remembered)
    return remembered.messages


def test_it_follows_whatever_happens_in_a_folder(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = desk.account()
    inbox, work = desk.folder(account, "INBOX"), desk.folder(account, "Work")
    first, second = (desk.message(account, inbox, name) for name in ("g1/1.1", "g2/1.2"))
    memory = FolderCache()
    recall(desk, memory, inbox)
    recall(desk, memory, work)

    def refuse(reader: Reader, folder: int) -> dict[bytes, KnownItem]:
        raise AssertionError("the folder was read anew")

    monkeypatch.setattr("engine.scan.folder_cache.messages", refuse)
    deep = desk.folder(account, "Deep", inbox)
    with desk.commit(account) as commit:
        commit.change(first, flags=("\\Seen",), identity=b"g1/2.1")
        commit.change(second, folder=work, identity=b"g2/1.1")
        commit.change(deep, folder=work)
    assert recall(desk, memory, inbox) == {b"g1/2.1": KnownItem(first, ("\\Seen",))}
    assert recall(desk, memory, work) == {b"g2/1.1": KnownItem(second, ())}
    with desk.commit(account) as commit:
        commit.change(second, folder=inbox, identity=b"g1/2.1")  # it takes the place of the other
        commit.delete(first)
    desk.message(account, work, "g3/1.2")
    assert recall(desk, memory, inbox) == {b"g1/2.1": KnownItem(second, ())}
    assert list(recall(desk, memory, work)) == [b"g3/1.2"]
    assert len(memory) == 2


def test_what_was_used_last_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    account = desk.account()
    folders = [desk.folder(account, name) for name in ("A", "B", "C")]
    for number, folder in enumerate(folders):
        for n in range(number + 1):
            desk.message(account, folder, f"m{number}{n}")
    memory = FolderCache(4)
    read: list[int] = []

    def note(reader: Reader, folder: int) -> dict[bytes, KnownItem]:
        read.append(folder)
        return messages(reader, folder)

    monkeypatch.setattr("engine.scan.folder_cache.messages", note)
    a, b, c = folders
    for folder in (a, b, a, c, a, b):
        recall(desk, memory, folder)
        assert len(memory) <= 4
    assert read == [a, b, c, b]
    big = FolderCache(2)
    recall(desk, big, c)
    assert len(big) == 0, "larger than all the room there is"


@pytest.mark.parametrize("change", ["more", "less", "future"])
def test_what_the_journal_does_not_say_is_forgotten(desk: Desk, change: str) -> None:
    """So it is after a purge or an erasure, which take things out of the journal."""
    account = desk.account()
    inbox = desk.folder(account, "INBOX")
    item = desk.message(account, inbox, "m1")
    memory = FolderCache()
    with desk.reader() as reader:
        remembered = memory.take(reader, inbox)
    if change == "more":
        remembered.messages[b"m9"] = KnownItem(99, ())
    elif change == "less":
        del remembered.messages[b"m1"]
        with desk.commit(account) as commit:
            commit.change(item, flags=("\\Seen",))
    else:
        remembered.sequence += 5
    memory.give_back(remembered)
    recall(desk, memory, inbox)
