"""Tests of `engine.scan.plan`: what a scan will do, from what is known and what is seen.

The examples say what each kind of change comes to. The property carries plans out on plain
dictionaries, and wants to find what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.source import RewrittenItems, SourceItem
from engine.scan.matching import suspects
from engine.scan.pairing import AddedItem, MissingItem, pair
from engine.scan.plan import (
    AccountPlan,
    CursorUpdate,
    FlagChange,
    FolderChange,
    Move,
    NewFolder,
    Recheck,
    plan,
)
from engine.scan.states import KnownFolder, KnownItem, Path, SeenFolder

ACCOUNT = 2
SEEN = ("\\Seen",)


class Known(NamedTuple):
    """A folder of the journal with its messages: identity -> item."""

    item: int
    path: str
    messages: Mapping[str, int] = {}
    identities: tuple[str, ...] = ()
    cursor: bytes = b"old"
    flags: tuple[str, ...] = ()
    parent: int = ACCOUNT


def source(path: str, identity: str, flags: tuple[str, ...] = ()) -> SourceItem:
    return SourceItem(split(path), identity.encode(), flags, "")


def split(path: str) -> Path:
    return tuple(path.split("/"))


def seen(
    path: str,
    messages: Iterable[str] | None = (),
    identities: tuple[str, ...] = (),
    *,
    cursor: bytes = b"old",
    flags: tuple[str, ...] = (),
) -> SeenFolder:
    items = None
    if messages is not None:
        items = {identity.encode(): source(path, identity, flags) for identity in messages}
    return SeenFolder(split(path), frozenset(identities), cursor, items)


def compare(known: list[Known], found: list[SeenFolder], *, deep: bool = False) -> AccountPlan:
    """The plan, with the entries that `look` would give it."""
    unlisted = {folder.path for folder in found if folder.items is None}
    folders = [
        KnownFolder(k.item, split(k.path), k.parent, frozenset(k.identities), k.cursor)
        for k in known
    ]
    entries = {
        k.item: {name.encode(): KnownItem(item, k.flags) for name, item in k.messages.items()}
        for k in known
        if split(k.path) not in unlisted
    }
    return plan(ACCOUNT, folders, entries, found, deep=deep)


def test_nothing_new_is_an_empty_plan() -> None:
    known = [Known(3, "INBOX", {"m1": 4}, ("dir:1",)), Known(5, "Work", {}, ("dir:2",))]
    same = compare(known, [seen("INBOX", ["m1"], ("dir:1",)), seen("Work", [], ("dir:2",))])
    assert same.empty
    unlisted = compare(known, [seen("INBOX", None, ("dir:1",)), seen("Work", None, ("dir:2",))])
    assert unlisted.empty


def test_a_new_account_gets_its_folders_before_what_is_in_them() -> None:
    made = compare([], [seen("Work/Apollo", ["m2"]), seen("Work", []), seen("INBOX", ["m1"])])
    inbox, work, apollo = made.new_folders
    assert [folder.path for folder in made.new_folders] == [
        ("INBOX",),
        ("Work",),
        ("Work", "Apollo"),
    ]
    assert (inbox.parent, work.parent, apollo.parent) == (ACCOUNT, ACCOUNT, work.ref)
    assert len({inbox.ref, work.ref, apollo.ref}) == 3
    assert max(inbox.ref, work.ref, apollo.ref) < 0
    assert made.arrivals == (
        AddedItem(inbox.ref, source("INBOX", "m1")),
        AddedItem(apollo.ref, source("Work/Apollo", "m2")),
    )
    assert [mark.folder for mark in made.marks] == [inbox.ref, work.ref, apollo.ref]


def test_arrivals_flags_and_removals() -> None:
    made = compare(
        [Known(3, "INBOX", {"kept": 4, "gone": 5})],
        [seen("INBOX", ["kept", "new"], cursor=b"new", flags=SEEN)],
    )
    assert made == AccountPlan(
        arrivals=(AddedItem(3, source("INBOX", "new", SEEN)),),
        flag_changes=(FlagChange(4, SEEN),),
        removals=(5,),
        marks=(CursorUpdate(3, frozenset(), b"new"),),
    )


def test_what_is_gone_here_and_new_there_has_moved() -> None:
    made = compare(
        [Known(3, "INBOX", {"m1": 4}), Known(5, "Trash")],
        [seen("INBOX"), seen("Trash", ["m1"], flags=SEEN)],
    )
    assert made == AccountPlan(moves=(Move(4, 5, b"m1", SEEN),))


def test_what_was_written_to_is_read_again_also_where_it_moved() -> None:
    known = [
        KnownFolder(3, ("INBOX",), ACCOUNT, frozenset(), b"old", looked=10),
        KnownFolder(5, ("Trash",), ACCOUNT, frozenset(), b"old", looked=11),
    ]
    entries = {
        3: {b"kept": KnownItem(6, ()), b"same": KnownItem(7, ()), b"moved": KnownItem(8, ())},
        5: {},
    }
    made = plan(
        ACCOUNT,
        known,
        entries,
        [
            replace(
                seen("INBOX", ["kept", "same"]), written=RewrittenItems(20, frozenset({b"kept"}))
            ),
            replace(
                seen("Trash", ["moved", "new"]),
                written=RewrittenItems(11, frozenset({b"moved", b"new"})),
            ),
        ],
    )
    assert made == AccountPlan(
        arrivals=(AddedItem(5, source("Trash", "new")),),
        rechecks=(
            Recheck(6, 3, source("INBOX", "kept")),
            Recheck(8, 5, source("Trash", "moved")),
        ),
        moves=(Move(8, 5, b"moved", ()),),
        marks=(CursorUpdate(3, frozenset(), b"old", 20, 10),),
    )


def test_what_is_still_here_was_copied() -> None:
    made = compare(
        [Known(3, "INBOX", {"m1": 4}), Known(5, "Trash")],
        [seen("INBOX", ["m1"]), seen("Trash", ["m1"])],
    )
    assert made == AccountPlan(arrivals=(AddedItem(5, source("Trash", "m1")),))


def test_of_a_folder_that_was_not_listed_nothing_is_known_to_be_gone() -> None:
    made = compare(
        [Known(3, "INBOX", {"m1": 4}), Known(5, "Trash")],
        [seen("INBOX", None, cursor=b""), seen("Trash", ["m1"])],
    )
    assert made == AccountPlan(
        arrivals=(AddedItem(5, source("Trash", "m1")),),
        marks=(CursorUpdate(3, frozenset(), b""),),
    )


def test_two_of_the_same_identity_both_move() -> None:
    made = compare(
        [
            Known(3, "A", {"m1": 4}),
            Known(5, "B", {"m1": 6}),
            Known(7, "C"),
            Known(8, "D"),
        ],
        [seen("A"), seen("B"), seen("C", ["m1"]), seen("D", ["m1"])],
    )
    assert {move.item for move in made.moves} == {4, 6}
    assert {move.folder for move in made.moves} == {7, 8}
    assert (made.arrivals, made.removals) == ((), ())


def test_copies_are_paired_in_their_folder_then_by_flags_then_in_order() -> None:
    def lost(folder: int, item: int, *flags: str) -> MissingItem:
        return MissingItem(folder, f"g/1.{item}".encode(), KnownItem(item, flags))

    def arrived(folder: int, number: int, *flags: str) -> AddedItem:
        return AddedItem(folder, SourceItem((), f"g/2.{number}".encode(), flags, ""))

    def pairs(left: list[MissingItem], came: list[AddedItem]) -> list[tuple[int, bytes]]:
        return sorted((one.known.item, to.source.identity) for one, to in pair(left, came).moved)

    assert pairs([lost(3, 1), lost(4, 2)], [arrived(4, 1), arrived(3, 2)]) == [
        (1, b"g/2.2"),
        (2, b"g/2.1"),
    ]
    assert pairs([lost(3, 1, "a"), lost(4, 2, "b")], [arrived(3, 1, "b")]) == [(1, b"g/2.1")]
    assert pairs([lost(3, 1, "a"), lost(3, 2, "b")], [arrived(3, 1, "b")]) == [(2, b"g/2.1")]
    assert pairs([lost(3, 1, "a"), lost(4, 2, "b")], [arrived(5, 1, "b")]) == [(2, b"g/2.1")]
    assert pairs([lost(3, 1), lost(4, 2)], [arrived(5, 1)]) == [(1, b"g/2.1")]
    left = pair([lost(3, 1), lost(4, 2)], [arrived(5, 1)])
    assert (left.lost, left.arrived) == ([lost(4, 2)], [])


def test_a_folder_that_vanished_goes_after_what_was_below_it() -> None:
    made = compare(
        [
            Known(3, "Work", {"m1": 4}),
            Known(5, "Work/Apollo", {"m2": 6}, parent=3),
            Known(7, "Work/Apollo/Old", parent=5),
            Known(8, "INBOX"),
        ],
        [seen("INBOX", ["m2"])],
    )
    assert made == AccountPlan(
        moves=(Move(6, 8, b"m2", ()),), removals=(4,), gone_folders=(7, 5, 3)
    )


def test_a_renamed_folder_is_known_by_its_directory_and_a_message() -> None:
    known = [Known(3, "Work", {"m1": 4, "m2": 5}, ("dir:1",))]
    made = compare(known, [seen("Archive", ["m2"], ("dir:1",))])
    assert made == AccountPlan(
        folder_changes=(FolderChange(3, ACCOUNT, ("Archive",), {}),), removals=(4,)
    )
    empty = compare([Known(3, "Work", {}, ("dir:1",))], [seen("Archive", ["m9"], ("dir:1",))])
    assert [change.path for change in empty.folder_changes] == [("Archive",)]
    assert not empty.gone_folders


def test_a_folder_that_only_holds_others_goes_where_they_go() -> None:
    known = [
        Known(3, "Work", {"m1": 4}, ("dir:1",)),
        Known(5, "Work/Apollo", parent=3),
        Known(6, "Work/Apollo/Eleven", parent=5),
        Known(7, "Work/Apollo/Eleven/Moon", {"m2": 8}, ("dir:2",), parent=6),
    ]
    found = [
        seen("Old", ["m1"], ("dir:1",)),
        seen("Old/Apollo"),
        seen("Old/Apollo/Eleven"),
        seen("Old/Apollo/Eleven/Moon", ["m2"], ("dir:2",)),
    ]
    made = compare(known, found)
    assert made == AccountPlan(folder_changes=(FolderChange(3, ACCOUNT, ("Old",), {}),))


def test_a_folder_that_only_holds_others_stays_if_it_still_holds_one() -> None:
    known = [
        Known(3, "Work"),
        Known(4, "Work/Apollo", {"m1": 5}, ("dir:1",), parent=3),
        Known(6, "Work/Gemini", {"m2": 7}, ("dir:2",), parent=3),
    ]
    found = [
        seen("Old"),
        seen("Old/Apollo", ["m1"], ("dir:1",)),
        seen("Work"),
        seen("Work/Gemini", ["m2"], ("dir:2",)),
    ]
    made = compare(known, found)
    (old,) = made.new_folders
    assert made.folder_changes == (FolderChange(4, old.ref, ("Old", "Apollo"), {}),)
    assert made.gone_folders == ()


def test_a_directory_number_that_was_used_again_is_no_rename() -> None:
    known = [Known(3, "Work", {"m1": 4}, ("dir:1",))]
    made = compare(known, [seen("Other", ["m9"], ("dir:1",))])
    assert made.folder_changes == ()
    assert made.gone_folders == (3,)
    assert made.removals == (4,)
    assert [folder.path for folder in made.new_folders] == [("Other",)]


def test_folders_that_swapped_their_names() -> None:
    known = [
        Known(3, "A", {"m1": 4}, ("dir:1",)),
        Known(5, "B", {"m2": 6}, ("dir:2",)),
    ]
    made = compare(known, [seen("A", ["m2"], ("dir:2",)), seen("B", ["m1"], ("dir:1",))])
    assert made.folder_changes == (
        FolderChange(5, ACCOUNT, ("A",), {}),
        FolderChange(3, ACCOUNT, ("B",), {}),
    )
    assert (made.moves, made.arrivals, made.removals) == ((), (), ())


def test_a_folder_that_was_renamed_while_another_took_its_name() -> None:
    known = [Known(3, "A", {"m1": 4}, ("dir:1",))]
    made = compare(known, [seen("A", ["m9"], ("dir:2",)), seen("B", ["m1"], ("dir:1",))])
    assert [folder.path for folder in made.new_folders] == [("A",)]
    assert made.folder_changes == (FolderChange(3, ACCOUNT, ("B",), {}),)
    assert (made.removals, made.gone_folders) == ((), ())


def test_a_folder_is_moved_with_its_name_below_another() -> None:
    known = [Known(3, "Apollo", {"m1": 4}, ("dir:1",)), Known(5, "Work", {}, ("dir:2",))]
    made = compare(known, [seen("Work", [], ("dir:2",)), seen("Work/Apollo", ["m1"], ("dir:1",))])
    assert made == AccountPlan(folder_changes=(FolderChange(3, 5, ("Work", "Apollo"), {}),))


def test_of_two_folders_of_one_name_the_one_with_the_directory_is_meant() -> None:
    """So it is after a scan that was killed once it had recorded that B took the name of A, and
    before it recorded that A is gone. Only then can B have the name in views."""
    for gone, kept in ((3, 9), (9, 3)):
        known = [
            Known(gone, "A", {"m1": 4}, ("dir:1",)),
            Known(kept, "A", {"m2": 6}, ("dir:2",)),
            Known(7, "A/Sub", {}, ("dir:3",), parent=kept),
        ]
        made = compare(known, [seen("A", ["m2"], ("dir:2",)), seen("A/Sub", [], ("dir:3",))])
        assert made == AccountPlan(
            folder_changes=(FolderChange(kept, ACCOUNT, ("A",), {}),),
            removals=(4,),
            gone_folders=(gone,),
        )


def test_which_of_two_folders_of_one_name_is_gone_stays_open_where_neither_was_listed() -> None:
    known = [Known(3, "A", {"m1": 4}, ("dir:1",)), Known(9, "A", {"m2": 6}, ("dir:2",))]
    made = compare(known, [seen("A", None, ("dir:2",), cursor=b"")])
    assert made == AccountPlan(
        folder_changes=(FolderChange(9, ACCOUNT, ("A",), {}),),
        marks=(CursorUpdate(9, frozenset({"dir:2"}), b""),),
    )


def test_what_was_below_a_gone_folder_of_the_same_name_gets_another_parent() -> None:
    known = [
        Known(3, "A", {}, ("dir:1",)),
        Known(9, "A", {"m2": 6}, ("dir:2",)),
        Known(7, "A/Sub", {}, ("dir:3",), parent=3),
    ]
    made = compare(known, [seen("A", ["m2"], ("dir:2",)), seen("A/Sub", [], ("dir:3",))])
    assert made == AccountPlan(
        folder_changes=(
            FolderChange(9, ACCOUNT, ("A",), {}),
            FolderChange(7, 9, ("A", "Sub"), {}),
        ),
        gone_folders=(3,),
    )


def test_a_deep_scan_reads_again_what_stayed() -> None:
    made = compare(
        [Known(3, "INBOX", {"m1": 4}), Known(5, "Trash", {"m2": 6})],
        [seen("INBOX", ["m1", "m2"]), seen("Trash")],
        deep=True,
    )
    assert made.rechecks == (Recheck(4, 3, source("INBOX", "m1")),)
    assert made.moves == (Move(6, 3, b"m2", ()),)


def test_changed_metadata_of_a_folder_is_a_change() -> None:
    known = KnownFolder(3, ("Sent",), ACCOUNT, frozenset(), b"c")
    found = SeenFolder(("Sent",), frozenset(), b"c", None, {"role": "\\Sent"})
    made = plan(ACCOUNT, [known], {}, [found])
    assert made == AccountPlan(
        folder_changes=(FolderChange(3, ACCOUNT, ("Sent",), {"role": "\\Sent"}),)
    )


def test_a_stronger_identity_outweighs_a_weaker_one() -> None:
    known = [
        KnownFolder(3, ("A",), ACCOUNT, frozenset({"guid:aa", "dir:1"}), b""),
        KnownFolder(4, ("B",), ACCOUNT, frozenset({"guid:bb", "dir:2"}), b""),
    ]
    found = suspects(known, {("C",): frozenset({"guid:aa", "dir:2"})})
    assert found[("C",)].item == 3


# The property: a plan that is carried out comes to what was seen.


class _Folder(NamedTuple):
    """A folder of the journal, as the property carries plans out on it."""

    parent: int
    name: str
    messages: dict[bytes, tuple[int, tuple[str, ...]]]
    marks: tuple[frozenset[str], bytes]


Journal = dict[int, _Folder]

PATHS = ["A", "A/B", "A/B/C", "A/C", "B", "B/C", "INBOX"]
IDENTITIES = ["m1", "m2", "m3"]


@st.composite
def mailboxes(draw: st.DrawFn) -> list[SeenFolder]:
    """What a source may show: folders with their parents, each with a directory of its own."""
    chosen = draw(st.sets(st.sampled_from(PATHS), min_size=1))
    parents = {"/".join(split(path)[:n]) for path in chosen for n in range(1, path.count("/") + 1)}
    numbers = draw(st.permutations(range(len(PATHS))))
    found = [
        seen(
            path,
            draw(st.sets(st.sampled_from(IDENTITIES))),
            (f"dir:{number}",),
            cursor=draw(st.sampled_from([b"1", b"2"])),
            flags=draw(st.sampled_from([(), SEEN])),
        )
        for path, number in zip(sorted(chosen), numbers, strict=False)
    ]
    return found + [seen(path, cursor=b"") for path in sorted(parents - chosen)]


def knowledge(journal: Journal) -> tuple[list[KnownFolder], dict[int, dict[bytes, KnownItem]]]:
    folders = [
        KnownFolder(item, path_of(journal, item), folder.parent, *folder.marks)
        for item, folder in journal.items()
    ]
    entries = {
        item: {name: KnownItem(*message) for name, message in folder.messages.items()}
        for item, folder in journal.items()
    }
    return folders, entries


def path_of(journal: Journal, item: int) -> Path:
    if item == ACCOUNT:
        return ()
    return (*path_of(journal, journal[item].parent), journal[item].name)


def carry_out(made: AccountPlan, journal: Journal) -> Journal:
    """The journal after the plan, in the order in which a scan records it."""
    result = {
        item: folder._replace(messages={**folder.messages}) for item, folder in journal.items()
    }
    numbers = count(1 + max([ACCOUNT, *result, *numbers_of(result)]))
    items: dict[int, int] = {ACCOUNT: ACCOUNT}
    steps: list[NewFolder | FolderChange] = [*made.new_folders, *made.folder_changes]
    for step in sorted(steps, key=lambda step: step.path):
        parent = items.get(step.parent, step.parent)
        assert parent == ACCOUNT or parent in result, "a folder comes before its parent"
        if isinstance(step, NewFolder):
            items[step.ref] = next(numbers)
            result[items[step.ref]] = _Folder(parent, step.path[-1], {}, (frozenset(), b""))
        else:
            result[step.item] = result[step.item]._replace(parent=parent, name=step.path[-1])
    homes = {
        item: (folder, identity)
        for folder, content in result.items()
        for identity, (item, _) in content.messages.items()
    }
    for arrival in made.arrivals:
        messages = result[items.get(arrival.folder, arrival.folder)].messages
        assert arrival.source.identity not in messages or arrival.source.identity in {
            homes[item][1] for item in (*made.removals, *(move.item for move in made.moves))
        }
    leaving = {item: homes[item] for item in (*made.removals, *(m.item for m in made.moves))}
    for folder, identity in leaving.values():
        del result[folder].messages[identity]
    for move in made.moves:
        identity = move.identity
        target = result[items.get(move.folder, move.folder)].messages
        assert identity not in target
        target[identity] = (move.item, move.flags)
    for arrival in made.arrivals:
        target = result[items.get(arrival.folder, arrival.folder)].messages
        assert arrival.source.identity not in target
        target[arrival.source.identity] = (next(numbers), arrival.source.flags)
    for change in made.flag_changes:
        folder, identity = homes[change.item]
        result[folder].messages[identity] = (change.item, change.flags)
    for item in made.gone_folders:
        assert not result[item].messages, "a folder goes with messages in it"
        assert item not in {folder.parent for folder in result.values()}, "children go first"
        del result[item]
    for mark in made.marks:
        item = items.get(mark.folder, mark.folder)
        result[item] = result[item]._replace(marks=(mark.identities, mark.cursor))
    return result


def shown(journal: Journal) -> dict[Path, dict[bytes, tuple[str, ...]]]:
    found = {
        path_of(journal, item): {name: flags for name, (_, flags) in folder.messages.items()}
        for item, folder in journal.items()
    }
    assert len(found) == len(journal), "two folders have one path"
    return found


def numbers_of(journal: Journal) -> dict[int, bytes]:
    return {
        item: identity
        for folder in journal.values()
        for identity, (item, _) in folder.messages.items()
    }


@given(st.lists(mailboxes(), min_size=2, max_size=4))
def test_a_plan_comes_to_what_was_seen(history: list[list[SeenFolder]]) -> None:
    journal: Journal = {}
    for mailbox in history:
        before = numbers_of(journal)
        made = plan(ACCOUNT, *knowledge(journal), mailbox)
        journal = carry_out(made, journal)
        assert shown(journal) == {
            folder.path: {item.identity: item.flags for item in (folder.items or {}).values()}
            for folder in mailbox
        }
        after = numbers_of(journal)
        had, has = Counter(before.values()), Counter(after.values())
        assert Counter(after[item] for item in after.keys() & before.keys()) == had & has
        assert plan(ACCOUNT, *knowledge(journal), mailbox).empty


@given(mailboxes(), mailboxes(), st.sets(st.sampled_from(PATHS)))
def test_what_was_not_listed_stays(
    old: list[SeenFolder], new: list[SeenFolder], unlisted: set[str]
) -> None:
    journal = carry_out(plan(ACCOUNT, [], {}, old), {})
    folders, entries = knowledge(journal)
    known = {folder.path: folder for folder in folders}
    hidden = {split(path) for path in unlisted} & known.keys()
    found = [
        SeenFolder(folder.path, folder.identities, b"", None) if folder.path in hidden else folder
        for folder in new
    ]
    hidden &= {folder.path for folder in found}
    listed = {
        item: content for item, content in entries.items() if path_of(journal, item) not in hidden
    }
    after = carry_out(plan(ACCOUNT, folders, listed, found), journal)
    contents = shown(after)
    assert contents.keys() == {folder.path for folder in found}
    for folder in found:
        if folder.items is not None:
            expected = {item.identity: item.flags for item in folder.items.values()}
        else:
            expected = {n: item.flags for n, item in entries[known[folder.path].item].items()}
        assert contents[folder.path] == expected
