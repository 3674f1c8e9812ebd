"""Tests of `engine.query.search`: what is found, and that every path it gives leads there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backup import Backup
from engine.domain.errors import RecordDamaged, UsageError
from engine.domain.model import ROOT, Headers, item_id
from engine.domain.timestamps import listed_second
from engine.journal import headers
from engine.journal.deleted import deleted_listing
from engine.journal.keys import pair_key
from engine.journal.reader import Reader
from engine.journal.writer import Content
from engine.query import search as module
from engine.query.search import Hit, Query, search
from tests.backups import SmallBackup, letter


def written(subject: str, *, sender: str = "Bob <bob@example.com>", to: str = "alice") -> bytes:
    head = f"From: {sender}\nTo: {to}@example.com\nSubject: {subject}\nMessage-ID: <{subject}>\n"
    return f"{head}\n{subject}\n".encode()


def found(backup: Backup, query: Query) -> list[Hit]:
    """What a search finds, where nothing is damaged; checks that every place shows its item."""
    damage: list[RecordDamaged] = []
    hits = list(search(backup, query, damage.append))
    assert not damage
    for hit in hits:
        assert hit.places
        for place in hit.places:
            with backup.reader() as reader:
                time = reader.horizon() if place.time is None else place.time
                assert shown(reader, place.path, reader.sequence_at(time)) == hit.item, place
    return hits


def shown(reader: Reader, path: str, sequence: int) -> int | None:
    """The item that a view shows at a path, looked up name by name as the mount does."""
    item, deleted = ROOT, False
    for name in path.split("/"):
        below: int | None
        if name == ".deleted":
            deleted = True
            continue
        if deleted:
            listing = deleted_listing(reader, item, sequence)
            rows = [(e.version.name, e.item) for e in listing.living]
            rows += [(e.name, e.item) for e in listing.dead]
            below = dict(rows).get(name)
            deleted = item != ROOT  # a deleted account is shown as it was
        else:
            entry = reader.lookup(item, name, sequence)
            below = entry.item if entry else None
        if below is None:
            return None
        item = below
    return item


def subjects(hits: list[Hit]) -> list[str]:
    return [hit.headers.subject for hit in hits]


def places(hit: Hit) -> list[tuple[int | None, str]]:
    return [(place.time, place.path) for place in hit.places]


# What is found


@pytest.mark.parametrize(
    "text",
    [
        "Grüße",
        "GRÜSSE",
        "gru\N{COMBINING DIAERESIS}ße",
        "aus KÖLN",
        "clara",
        "carol@",
        "_Grüße-aus",
    ],
)
def test_text_is_looked_for_in_headers_and_name_whatever_the_case(
    small: SmallBackup, text: str
) -> None:
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    sent = written("Grüße aus Köln", sender="Clara <clara@example.org>", to="carol")
    item = small.message(alice, inbox, sent)
    small.message(alice, inbox, written("Something else"))
    (hit,) = found(small.backup, Query(text=text))
    assert hit.item == item
    assert (hit.account, hit.folder, hit.deleted) == ("alice@example.com", "INBOX", None)
    assert places(hit) == [(None, f"alice@example.com/INBOX/{hit.version.name}")]
    assert hit.version.name.endswith(f"_{item_id(item)}.eml")


def test_all_that_is_given_must_fit(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    small.messages(
        alice,
        inbox,
        [
            written("Invoice 1", sender="Bob <bob@example.com>"),
            written("Invoice 2", sender="Carol <carol@example.com>"),
            written("Bob's offer", sender="Carol <carol@example.com>"),
        ],
    )
    backup = small.backup
    assert subjects(found(backup, Query())) == ["Invoice 1", "Invoice 2", "Bob's offer"]
    assert subjects(found(backup, Query(sender="BOB"))) == ["Invoice 1"]
    assert subjects(found(backup, Query(subject="bob"))) == ["Bob's offer"]
    assert subjects(found(backup, Query(text="bob"))) == ["Invoice 1", "Bob's offer"]
    assert subjects(found(backup, Query(text="bob", subject="invoice"))) == ["Invoice 1"]
    assert subjects(found(backup, Query(sender="carol", subject="invoice"))) == ["Invoice 2"]
    assert found(backup, Query(text="nothing of the kind")) == []


def test_a_folder_is_searched_with_what_is_below_it(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    work = small.folder(alice, "Work")
    apollo = small.folder(alice, "Apollo", work)
    other = small.folder(alice, "Workshop")
    for number, folder in enumerate((work, apollo, other, alice)):
        small.message(alice, folder, letter(number))
    assert subjects(found(small.backup, Query(folder="work"))) == ["Letter 0", "Letter 1"]
    assert subjects(found(small.backup, Query(folder="Work/Apollo/"))) == ["Letter 1"]
    assert subjects(found(small.backup, Query(folder="Apollo"))) == []
    hits = found(small.backup, Query())
    assert [hit.folder for hit in hits] == ["", "Work", "Work/Apollo", "Workshop"]


def test_accounts_are_chosen_by_name(small: SmallBackup) -> None:
    for name in ("bob@example.com", "alice@example.com", "carol@example.com"):
        account = small.account(name)
        small.message(account, account, written(f"For {name}"))
    backup = small.backup
    assert [hit.account for hit in found(backup, Query())] == [
        "alice@example.com",
        "bob@example.com",
        "carol@example.com",
    ]
    names = ("carol@example.com", "bob@example.com")
    hits = found(backup, Query(accounts=names))
    assert subjects(hits) == ["For bob@example.com", "For carol@example.com"]
    with pytest.raises(UsageError, match=r"'dave@example\.com'"):
        found(backup, Query(accounts=("bob@example.com", "dave@example.com")))


def test_dates_are_those_of_the_items_both_ends_included(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    small.messages(alice, alice, [letter(number) for number in range(4)])
    dates = [hit.version.date for hit in found(small.backup, Query())]
    assert dates == sorted(set(dates))
    query = Query(since=dates[1], until=dates[2])
    assert subjects(found(small.backup, query)) == ["Letter 1", "Letter 2"]


def test_an_item_without_headers_is_found_by_its_name(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    item = small.message(alice, alice, b"no header at all")
    assert [hit.item for hit in found(small.backup, Query(text=item_id(item)))] == [item]
    assert found(small.backup, Query(sender="a")) == []


def test_what_is_recorded_meanwhile_is_not_found(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    alice = small.account("alice@example.com")
    items = small.messages(alice, alice, [letter(number) for number in range(5)])
    damage: list[RecordDamaged] = []
    hits = search(small.backup, Query(), damage.append)
    first = next(hits)
    small.delete(alice, items[0], items[4])
    small.message(alice, alice, letter(9))
    assert [first.item, *(hit.item for hit in hits)] == items
    assert not damage


# Where it is


def test_a_deleted_item_is_shown_where_it_was_listed_last(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    gone, stays = small.messages(alice, inbox, [letter(1), letter(2)])
    small.scan_end()
    end = small.scan_end()
    small.delete(alice, gone)
    deleted = small.clock.now()
    small.scan_end()
    hits = found(small.backup, Query())
    assert [(hit.item, hit.deleted) for hit in hits] == [(stays, None), (gone, deleted)]
    path = f"INBOX/{hits[1].version.name}"
    assert places(hits[1]) == [
        (listed_second(end), f"alice@example.com/{path}"),
        (None, f"alice@example.com/.deleted/{path}"),
    ]
    assert [hit.item for hit in found(small.backup, Query(deleted=True))] == [gone]


def test_without_a_listed_view_it_is_the_last_microsecond(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    small.scan_end()
    item = small.message(alice, alice, letter(1))
    small.delete(alice, item)
    (hit,) = found(small.backup, Query())
    assert hit.places[0].time == small.clock.now() - 1


def test_a_listed_second_at_which_it_was_gone_already_is_not_given(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    item = small.message(alice, alice, letter(1))
    small.clock.advance(1)  # the scan ends within a second, and is listed at the next one
    end = small.scan_end()
    small.clock.advance(-59_999_000)
    small.delete(alice, item)
    (hit,) = found(small.backup, Query())
    assert hit.deleted is not None
    assert end < hit.deleted < listed_second(end)
    assert hit.places[0].time == hit.deleted - 1


def test_a_view_of_other_content_is_not_given(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    item, other = small.messages(alice, alice, [letter(1), letter(2)])
    small.scan_end()
    with small.backup.reader() as reader:
        digest = reader.version_before(other, 99).digest
    small.change(alice, item, content=Content(digest, len(letter(2)), 5))
    small.delete(alice, item)
    (hit,) = found(small.backup, Query(deleted=True))
    assert hit.places[0].time == small.clock.now() - 1


def test_paths_have_the_names_of_their_time(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    folder = small.folder(alice, "Work")
    item = small.message(alice, folder, letter(1))
    small.scan_end()
    small.change(alice, folder, name="Projects", identity=b"Projects")
    small.change(alice, alice, name="a@example.com", identity=b"a@example.com")
    small.delete(alice, item)
    (hit,) = found(small.backup, Query(folder="projects"))
    assert hit.account == "a@example.com"
    assert [place.path.rpartition("/")[0] for place in hit.places] == [
        "alice@example.com/Work",
        "a@example.com/.deleted/Projects",
    ]


def test_of_deleted_folders_of_one_name_the_last_keeps_it(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    folders = []
    for number in range(2):
        folder = small.folder(alice, "Work")
        below = small.folder(alice, "Apollo", folder)
        item = small.message(alice, below, letter(number))
        small.delete(alice, item)
        small.delete(alice, below)
        small.change(alice, folder, identity=b"another one")  # so that it doesn't return
        small.delete(alice, folder)
        folders.append(folder)
    hits = found(small.backup, Query(folder="Work/Apollo"))
    assert {hit.headers.subject: hit.places[1].path.split("/")[2] for hit in hits} == {
        "Letter 0": f"Work~{item_id(folders[0])}",
        "Letter 1": "Work",
    }


def test_items_of_a_deleted_account_are_deleted_with_it(small: SmallBackup) -> None:
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    before, until_then = small.messages(alice, inbox, [letter(1), letter(2)])
    small.delete(alice, before)
    early = small.clock.now()
    end = small.scan_end()
    small.delete(alice, alice)
    hits = {hit.item: hit for hit in found(small.backup, Query(deleted=True))}
    assert {item: hit.deleted for item, hit in hits.items()} == {
        before: early,
        until_then: small.clock.now(),
    }
    name = hits[until_then].version.name
    assert places(hits[until_then]) == [
        (listed_second(end), f"alice@example.com/INBOX/{name}"),
        (None, f".deleted/alice@example.com/INBOX/{name}"),
    ]
    name = hits[before].version.name
    assert hits[before].places[1].path == f".deleted/alice@example.com/.deleted/INBOX/{name}"


def test_a_name_means_who_has_it_now_and_the_others_are_searched_by_id(small: SmallBackup) -> None:
    old = small.account("alice@example.com")
    small.message(old, old, letter(1))
    small.delete(old, old)
    new = small.account("alice@example.com")
    small.message(new, new, letter(2))

    def subjects(*accounts: str) -> list[str]:
        return [hit.headers.subject for hit in found(small.backup, Query(accounts=accounts))]

    assert subjects("alice@example.com") == ["Letter 2"]
    assert subjects(item_id(old)) == ["Letter 1"]
    assert subjects() == subjects("alice@example.com", item_id(old)) == ["Letter 1", "Letter 2"]
    small.delete(new, new)
    assert subjects("alice@example.com") == ["Letter 1", "Letter 2"], "nobody has it now"


# Whatever happens


def put(backup: Backup, table: str, key: bytes, value: bytes) -> None:
    environment = backup.journal.environment
    with environment.write() as txn:
        txn.put(key, value, db=getattr(environment.tables, table))


def test_a_block_of_headers_is_unpacked_once_for_all_folders_that_share_it(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = small.account("alice@example.com")
    folders = [small.folder(account, f"Folder {number}") for number in range(20)]
    items = small.messages(account, folders[0], [written(f"{n} of many") for n in range(20)])
    for folder, item in zip(folders[1:], items[1:], strict=True):
        small.change(account, item, folder=folder)
    unpacked = []
    unpack_block = headers.unpack_block

    def counted(payload: bytes) -> dict[int, Headers]:
        unpacked.append(payload)
        return unpack_block(payload)

    monkeypatch.setattr(headers, "unpack_block", counted)
    assert len(found(small.backup, Query(text="of many"))) == 20
    assert len(unpacked) == 1


@pytest.mark.parametrize("table", ["versions", "timeline"])
def test_a_damaged_record_is_told_and_the_rest_found(small: SmallBackup, table: str) -> None:
    alice = small.account("alice@example.com")
    folders = [small.folder(alice, name) for name in ("A", "B")]
    items = [small.message(alice, folder, letter(n)) for n, folder in enumerate(folders)]
    with small.backup.reader() as reader:
        recorded = reader.recorded(items[0], reader.last_sequence())
    assert recorded is not None
    owner = items[0] if table == "versions" else folders[0]
    put(small.backup, table, pair_key(owner, recorded.sequence), b"not what was written")
    damage: list[RecordDamaged] = []
    hits = list(search(small.backup, Query(), damage.append))
    assert [hit.item for hit in hits] == [items[1]]
    assert len(damage) == 1
    assert table in str(damage[0])


WHAT = ["deliver", "deliver", "delete", "move", "folder", "rmdir", "scan", "quit"]
STEPS = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 7)), max_size=14)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_every_message_that_ever_was_is_found_once_and_where_it_is_said_to_be(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    small = SmallBackup(tmp_path_factory.mktemp("random") / "backup")
    alice = small.account("alice@example.com")
    folders = [small.folder(alice, "INBOX")]
    ever, living = set[int](), set[int]()
    for number, (step, choice) in enumerate(steps):
        folder = folders[choice % len(folders)]
        if step == "deliver":
            item = small.message(alice, folder, letter(number))
            ever.add(item)
            living.add(item)
        elif step == "folder":
            folders.append(small.folder(alice, f"F{choice}", folder))
        elif step == "scan":
            small.scan_end()
        elif step == "move" and living:
            item = sorted(living)[choice % len(living)]
            small.change(alice, item, folder=folder)
        elif step == "delete" and living:
            item = sorted(living)[choice % len(living)]
            small.delete(alice, item)
            living.discard(item)
        elif step == "rmdir" and len(folders) > 1:
            with small.backup.reader() as reader:
                entries = reader.listing(folder, reader.last_sequence())
            if not any(entry.version.container for entry in entries):
                small.delete(alice, *(entry.item for entry in entries), folder)
                living -= {entry.item for entry in entries}
                folders.remove(folder)
        elif step == "quit":
            small.delete(alice, alice)
            living.clear()
            break
    try:
        hits = found(small.backup, Query())
        assert sorted(hit.item for hit in hits) == sorted(ever)
        assert {hit.item for hit in hits if hit.deleted is None} == living
    finally:
        small.close()
