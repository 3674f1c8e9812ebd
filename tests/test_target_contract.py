"""What `engine.connectors.target` says, sentence by sentence, of every target that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from blake3 import blake3

from engine.connectors.source import Mailbox, SourceItem
from engine.connectors.target import (
    Delivery,
    OwnNames,
    Subscribing,
    Target,
    TargetMailbox,
    Wanted,
)
from engine.domain.errors import Damaged, DeliveryFailed, SourceUnavailable
from engine.domain.kinds import MAIL, TABLE, Kind
from engine.domain.paths import INBOX, FolderPath
from tests.connectors import SERVERS, Owner, Server
from tests.deliveries import DATE, delivery

WORK = ("Work",)
APOLLO = ("Work", "Apollo")


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param]() as started:
        yield started


@pytest.fixture
def owner(server: Server) -> Owner:
    return server.owner()


@pytest.fixture
def target(server: Server, owner: Owner) -> Target:
    return server.target()


@pytest.fixture
def mailbox(target: Target, owner: Owner) -> Iterator[TargetMailbox]:
    with closing(target.mailbox(owner.account)) as opened:
        yield opened


Look = Callable[..., dict[bytes, SourceItem]]


@pytest.fixture
def look(server: Server, owner: Owner) -> Look:
    """What a folder holds by content, as a source sees it; of an item the date, too."""

    def looking(path: FolderPath = INBOX) -> dict[bytes, SourceItem]:
        with closing(server.source(owner.account).mailbox(owner.account)) as source:
            source.folders()
            return {_read(source, item)[0]: item for item in source.listing(path).items}

    return looking


def _read(source: Mailbox, item: SourceItem) -> tuple[bytes, int]:
    with source.fetch(item) as fetched:
        return fetched.file.read(), fetched.date


def letter(subject: object) -> bytes:
    return f"Subject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n\r\nText.\r\n".encode()


def put(mailbox: TargetMailbox, *deliveries: Delivery, path: FolderPath = INBOX) -> list[str]:
    """Delivers one after the other. Returns what the place knows them by."""
    mailbox.make_folder(path)
    flags = {flag for each in deliveries for flag in each.flags}
    with closing(mailbox.open_folder(path, flags)) as folder:
        names = [folder.deliver(each) for each in deliveries]
        folder.sync()
    return names


def reading(digest: bytes) -> Iterable[bytes]:
    return [contents[digest]]


contents = {blake3(letter(number)).digest(): letter(number) for number in range(10)}


def counted(mailbox: TargetMailbox, *raws: bytes, path: FolderPath = INBOX) -> dict[bytes, int]:
    """How often each of these is in a folder, as the target says."""
    wanted = {Wanted(blake3(raw).digest(), len(raw)) for raw in raws}
    found = mailbox.contents(path, wanted, lambda identity: None, reading)
    return {contents[digest]: number for digest, number in found.items()}


class TestMailbox:
    def test_one_that_cant_be_opened_is_unavailable(self, server: Server) -> None:
        _, away = server.away()
        with pytest.raises(SourceUnavailable):
            away.mailbox("alice")

    def test_it_is_recognised_as_its_source_has_it(
        self, server: Server, owner: Owner, mailbox: TargetMailbox
    ) -> None:
        with closing(server.source(owner.account).mailbox(owner.account)) as source:
            source.folders()
            assert mailbox.identity().marks == source.identity().marks
            assert mailbox.identity().guid == source.identity().guid

    def test_its_place_is_one_line(self, mailbox: TargetMailbox) -> None:
        assert mailbox.where.isprintable()

    def test_a_kind_that_it_has_no_place_for_is_refused_and_said_why(
        self, mailbox: TargetMailbox
    ) -> None:
        taken = {kind for kind in Kind if not mailbox.refuses(kind, "")}
        assert taken == {kind for kind in TABLE if kind in MAIL}

    def test_closing_twice_does_no_harm(self, target: Target, owner: Owner) -> None:
        opened = target.mailbox(owner.account)
        opened.close()
        opened.close()


class TestFolders:
    def test_one_is_made_once(self, mailbox: TargetMailbox, look: Look) -> None:
        assert mailbox.has_folder(INBOX)
        assert not mailbox.has_folder(APOLLO)
        assert mailbox.make_folder(APOLLO)
        assert mailbox.has_folder(APOLLO)
        assert not mailbox.make_folder(APOLLO)
        assert look(APOLLO) == {}

    def test_one_of_the_owners_is_left_as_it_is(
        self, owner: Owner, target: Target, look: Look
    ) -> None:
        owner.create(WORK)
        owner.deliver(letter(1), WORK)
        with closing(target.mailbox(owner.account)) as mailbox:
            assert not mailbox.make_folder(WORK)
        assert set(look(WORK)) == {letter(1)}

    def test_one_that_isnt_there_cant_be_opened(self, mailbox: TargetMailbox) -> None:
        with pytest.raises(DeliveryFailed):
            mailbox.open_folder(("Nowhere",), ())

    def test_closing_twice_does_no_harm(self, mailbox: TargetMailbox) -> None:
        folder = mailbox.open_folder(INBOX, ())
        folder.close()
        folder.close()


class TestContents:
    def test_each_counts_as_often_as_it_is_there(self, mailbox: TargetMailbox) -> None:
        put(mailbox, delivery(letter(1)), delivery(letter(2)), delivery(letter(1)))
        assert counted(mailbox, letter(1), letter(3)) == {letter(1): 2}

    def test_what_the_owner_has_counts(self, owner: Owner, target: Target) -> None:
        owner.deliver(letter(1))
        with closing(target.mailbox(owner.account)) as mailbox:
            assert counted(mailbox, letter(1)) == {letter(1): 1}

    def test_what_changes_meanwhile_is_seen(self, owner: Owner, mailbox: TargetMailbox) -> None:
        owner.deliver(letter(1))
        assert counted(mailbox, letter(1)) == {letter(1): 1}
        owner.expunge(letter(1))
        assert counted(mailbox, letter(1)) == {}

    def test_of_a_folder_that_isnt_there_there_are_none(self, mailbox: TargetMailbox) -> None:
        assert counted(mailbox, letter(1), path=("Nowhere",)) == {}

    def test_another_content_of_the_same_length_is_another(self, mailbox: TargetMailbox) -> None:
        put(mailbox, delivery(letter(1)))
        assert len(letter(1)) == len(letter(2))
        assert counted(mailbox, letter(2)) == {}


class TestDelivery:
    def test_content_date_and_flags_are_those_that_came(
        self, server: Server, owner: Owner, mailbox: TargetMailbox, look: Look
    ) -> None:
        put(mailbox, delivery(letter(1), "\\Seen", "\\Flagged", "todo"), path=WORK)
        item = look(WORK)[letter(1)]
        assert item.flags == ("\\Flagged", "\\Seen", "todo")
        with closing(server.source(owner.account).mailbox(owner.account)) as source:
            source.folders()
            (again,) = source.listing(WORK).items
            assert _read(source, again) == (letter(1), DATE)

    def test_nothing_comes_marked_as_deleted(self, mailbox: TargetMailbox, look: Look) -> None:
        with closing(mailbox.open_folder(INBOX, {"\\Deleted", "\\Seen"})) as folder:
            folder.deliver(delivery(letter(1), "\\Deleted", "\\Seen"))
            folder.sync()
            assert folder.lost == frozenset()
        assert look()[letter(1)].flags == ("\\Seen",)

    def test_it_returns_what_the_place_knows_the_item_by(
        self, mailbox: TargetMailbox, look: Look
    ) -> None:
        names = put(mailbox, delivery(letter(1)), delivery(letter(2)))
        known = {raw: item.identity.decode() for raw, item in look().items()}
        for raw, name in zip((letter(1), letter(2)), names, strict=True):
            if name:
                assert name.replace("/", ".") in known[raw].replace("/", ".")

    def test_it_only_adds(self, owner: Owner, mailbox: TargetMailbox, look: Look) -> None:
        owner.deliver(letter(1), INBOX, "\\Seen")
        before = look()[letter(1)]
        put(mailbox, delivery(letter(2)), delivery(letter(3)))
        after = look()
        assert set(after) == {letter(1), letter(2), letter(3)}
        assert (after[letter(1)].identity, after[letter(1)].flags) == (
            before.identity,
            before.flags,
        )

    def test_what_isnt_what_its_digest_says_is_damaged_and_nothing_is_left(
        self, mailbox: TargetMailbox, look: Look
    ) -> None:
        with closing(mailbox.open_folder(INBOX, ())) as folder:
            with pytest.raises(Damaged):
                folder.deliver(delivery(letter(1))._replace(chunks=[letter(2)]))
            folder.deliver(delivery(letter(3)))
            folder.sync()
        assert set(look()) == {letter(3)}

    def test_what_cant_be_read_is_damaged_and_nothing_is_left(
        self, mailbox: TargetMailbox, look: Look
    ) -> None:
        def breaking() -> Iterator[bytes]:
            yield letter(1)[:10]
            raise Damaged("the disk has lost it")

        with closing(mailbox.open_folder(INBOX, ())) as folder:
            with pytest.raises(Damaged, match="the disk has lost it"):
                folder.deliver(delivery(letter(1))._replace(chunks=breaking()))
            folder.sync()
        assert look() == {}

    def test_threads_may_deliver_at_once(self, mailbox: TargetMailbox, look: Look) -> None:
        wanted = [letter(number) for number in range(10)]
        with closing(mailbox.open_folder(INBOX, ())) as folder:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda raw: folder.deliver(delivery(raw)), wanted))
            folder.sync()
        assert set(look()) == set(wanted)


class TestSubscriptions:
    def test_folders_are_added_once(
        self, server: Server, owner: Owner, mailbox: TargetMailbox
    ) -> None:
        if not isinstance(mailbox, Subscribing):
            return  # a place without such a list
        mailbox.make_folder(WORK)
        mailbox.make_folder(APOLLO)
        assert mailbox.subscribe([WORK], begin=True) == 1
        assert mailbox.subscribe([WORK, APOLLO]) == 1
        assert mailbox.subscribe([WORK, APOLLO], begin=True) == 0
        with closing(server.source(owner.account).mailbox(owner.account)) as source:
            source.folders()
            assert {"Work", "Work/Apollo"} <= set(source.metadata()["subscriptions"])


class TestOwnNames:
    def test_items_and_their_contents_are_those_of_the_source(
        self, owner: Owner, target: Target, look: Look
    ) -> None:
        owner.deliver(letter(1))
        with closing(target.mailbox(owner.account)) as mailbox:
            if not isinstance(mailbox, OwnNames):
                return  # a place that gives names of its own
            (item,) = mailbox.items()
            assert item.identity == look()[letter(1)].identity
            assert mailbox.digest(item, [len(letter(1))]) == blake3(letter(1)).digest()
            assert mailbox.digest(item, [1]) == b"", "of another size nothing is read"

    def test_a_message_comes_under_the_name_that_it_had(
        self, mailbox: TargetMailbox, look: Look
    ) -> None:
        if not isinstance(mailbox, OwnNames):
            return
        mailbox.replace({})
        assert put(mailbox, delivery(letter(1), identity=b"its.own")) == ["its.own"]
        assert look()[letter(1)].identity == b"its.own"
