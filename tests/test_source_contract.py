"""What `engine.connectors.source` says, sentence by sentence, of every source that there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from engine.connectors.source import (
    Fingerprinted,
    Likeness,
    Likening,
    Mailbox,
    RewrittenItems,
    SourceItem,
)
from engine.domain.errors import ItemVanished, SourceEmpty, SourceUnavailable
from engine.domain.identity import guid
from engine.domain.paths import INBOX, FolderPath
from tests.connectors import DELIVERED, SERVERS, Owner, Server

WORK, NOWHERE = ("Work",), ("Nowhere",)


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param]() as started:
        yield started


@pytest.fixture
def owner(server: Server) -> Owner:
    return server.owner()


@pytest.fixture
def mailbox(server: Server, owner: Owner) -> Iterator[Mailbox]:
    with closing(server.source(owner.account).mailbox(owner.account)) as opened:
        opened.folders()
        yield opened


def letter(subject: object) -> bytes:
    head = f"From: bob@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.com>"
    return f"{head}\r\n\r\nText of {subject}.\r\n".encode()


def read(mailbox: Mailbox, item: SourceItem) -> bytes:
    with mailbox.fetch(item) as fetched:
        return fetched.file.read()


def held(mailbox: Mailbox, path: FolderPath = INBOX) -> dict[bytes, SourceItem]:
    """What a folder holds, by content."""
    return {read(mailbox, item): item for item in mailbox.listing(path).items}


class TestAccounts:
    def test_names_are_in_order_each_once(self, server: Server) -> None:
        names = sorted((server.owner().account, server.owner().account))
        listed = server.source(*reversed(names)).accounts()
        assert list(listed.names) == names
        assert listed.complete
        assert not listed.errors

    def test_a_source_without_accounts_is_an_error(self, server: Server) -> None:
        with pytest.raises((SourceEmpty, SourceUnavailable)):
            server.source().accounts()

    def test_a_source_that_cant_be_reached_is_unavailable(self, server: Server) -> None:
        def reach() -> None:
            """Some need no connection to know which accounts there are."""
            away, _ = server.away()
            away.accounts()
            with closing(away.mailbox("alice")) as opened:
                opened.folders()

        with pytest.raises(SourceUnavailable):
            reach()

    def test_an_account_that_isnt_there_is_unavailable(self, server: Server, owner: Owner) -> None:
        with pytest.raises(SourceUnavailable):
            server.source(owner.account).mailbox("nobody")


class TestIdentity:
    def test_it_is_the_same_each_time_and_anothers_is_another(self, server: Server) -> None:
        one, other = server.owner().account, server.owner().account
        source = server.source(one, other)
        found = []
        for account in (one, one, other):
            with closing(source.mailbox(account)) as opened:
                opened.folders()
                found.append(opened.identity())
        assert found[0] == found[1]
        assert found[0].guid or found[0].directory
        assert (found[0].guid, found[0].directory) != (found[2].guid, found[2].directory)

    def test_metadata_is_json(self, mailbox: Mailbox) -> None:
        metadata = mailbox.metadata()
        assert json.loads(json.dumps(metadata)) == metadata


class TestFolders:
    def test_they_are_in_order_of_paths_each_once_with_those_that_hold_them(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        for path in (("Zoo",), ("Work", "Apollo"), ("Art",)):
            owner.create(path)
        found = mailbox.folders()
        paths = [folder.path for folder in found.folders]
        assert paths == sorted(set(paths))
        assert {INBOX, ("Zoo",), ("Work", "Apollo"), ("Art",)} <= set(paths)
        assert {path[:-1] for path in paths if len(path) > 1} <= set(paths)
        assert found.complete
        for folder in found.folders:
            assert json.loads(json.dumps(folder.meta)) == folder.meta

    def test_an_implied_folder_lists_as_empty(self, owner: Owner, mailbox: Mailbox) -> None:
        owner.create(("Work", "Apollo"))
        for folder in mailbox.folders().folders:
            if not folder.real:
                assert mailbox.listing(folder.path).items == []

    def test_a_renamed_folder_keeps_an_identity(self, owner: Owner, mailbox: Mailbox) -> None:
        owner.create(WORK)
        before = {folder.path: folder.identities for folder in mailbox.folders().folders}
        owner.rename(WORK, ("Play",))
        after = {folder.path: folder.identities for folder in mailbox.folders().folders}
        assert WORK not in after
        assert set(before[WORK]) & set(after[("Play",)])

    def test_two_folders_never_have_an_identity_in_common(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.create(WORK)
        owner.create(("Play",))
        found = [folder.identities for folder in mailbox.folders().folders]
        assert len(set().union(*found)) == sum(map(len, found))


class TestCursor:
    def test_that_of_a_listing_holds_as_long_as_nothing_changes(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.deliver(letter(1))
        listing = mailbox.listing(INBOX)
        assert listing.cursor
        assert mailbox.cursor(INBOX) in (listing.cursor, None)
        assert mailbox.listing(INBOX).cursor == listing.cursor

    @pytest.mark.parametrize("change", ["arrival", "flags", "removal"])
    def test_a_change_is_seen(self, owner: Owner, mailbox: Mailbox, change: str) -> None:
        owner.deliver(letter(1))
        before = mailbox.listing(INBOX).cursor
        if change == "arrival":
            owner.deliver(letter(2))
        elif change == "flags":
            owner.flag(letter(1), "\\Flagged")
        else:
            owner.expunge(letter(1))
        mailbox.folders()
        assert mailbox.cursor(INBOX) != before

    def test_of_a_folder_that_isnt_there_it_is_none(self, mailbox: Mailbox) -> None:
        assert mailbox.cursor(NOWHERE) is None


class TestListing:
    def test_items_have_their_folder_identity_and_flags(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.deliver(letter(1), INBOX, "\\Seen", "\\Flagged", "todo")
        owner.deliver(letter(2), INBOX)
        listing = mailbox.listing(INBOX)
        assert not listing.errors
        assert listing.hidden is None
        identities = [item.identity for item in listing.items]
        assert all(identities)
        assert len(set(identities)) == len(identities) == 2
        assert {item.folder for item in listing.items} == {INBOX}
        items = held(mailbox)
        assert items[letter(1)].flags == ("\\Flagged", "\\Seen", "todo")
        assert items[letter(2)].flags == ()

    def test_an_identity_stays_and_isnt_used_again(self, owner: Owner, mailbox: Mailbox) -> None:
        owner.deliver(letter(1))
        owner.deliver(letter(2))
        before = {raw: guid(item.identity) for raw, item in held(mailbox).items()}
        owner.flag(letter(1), "\\Seen")
        owner.expunge(letter(2))
        owner.deliver(letter(3))
        after = {raw: guid(item.identity) for raw, item in held(mailbox).items()}
        assert after[letter(1)] == before[letter(1)]
        assert after[letter(3)] not in before.values()

    def test_a_folder_that_is_gone_has_vanished(self, owner: Owner, mailbox: Mailbox) -> None:
        owner.create(WORK)
        mailbox.folders()
        assert mailbox.listing(WORK).items == []
        owner.remove(WORK)
        with pytest.raises(ItemVanished):
            mailbox.listing(WORK)

    def test_so_has_one_that_was_never_there(self, mailbox: Mailbox) -> None:
        with pytest.raises(ItemVanished):
            mailbox.listing(NOWHERE)


class TestChanges:
    def test_they_come_to_the_same_as_a_listing(self, owner: Owner, mailbox: Mailbox) -> None:
        for number in range(4):
            owner.deliver(letter(number))
        listing = mailbox.listing(INBOX)
        known = {item.identity: item.flags for item in listing.items}
        owner.expunge(letter(0))
        owner.flag(letter(1), "\\Flagged")
        owner.deliver(letter(9))
        found = mailbox.changes(INBOX, listing.cursor)
        now = mailbox.listing(INBOX)
        if found is None:  # only a listing can tell
            return
        gone = found.gone or (lambda identity: False)
        known = {identity: flags for identity, flags in known.items() if not gone(identity)}
        known |= {item.identity: item.flags for item in found.items}
        assert known == {item.identity: item.flags for item in now.items}
        assert found.cursor == now.cursor

    def test_where_nothing_did_there_are_none(self, owner: Owner, mailbox: Mailbox) -> None:
        owner.deliver(letter(1))
        listing = mailbox.listing(INBOX)
        found = mailbox.changes(INBOX, listing.cursor)
        if found is not None:
            assert (found.items, found.gone) == ([], None)
            assert found.cursor == listing.cursor

    def test_nothing_is_named_as_written_where_it_was_never_asked(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.deliver(letter(1))
        mailbox.listing(INBOX)
        assert mailbox.written(INBOX, 0) == RewrittenItems(mailbox.written(INBOX, 0).looked)


class TestFetch:
    def test_content_size_and_date_are_those_of_the_message(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.deliver(letter(1))
        (item,) = mailbox.listing(INBOX).items
        with mailbox.fetch(item) as fetched:
            assert fetched.file.tell() == 0
            assert fetched.file.read() == letter(1)
            assert fetched.size == len(letter(1))
            assert fetched.date == DELIVERED
        fetched.close()  # closing twice does no harm

    def test_it_follows_a_change_of_flags(self, owner: Owner, mailbox: Mailbox) -> None:
        owner.deliver(letter(1))
        (item,) = mailbox.listing(INBOX).items
        owner.flag(letter(1), "\\Seen")
        assert read(mailbox, item) == letter(1)

    def test_what_is_gone_has_vanished_and_the_rest_has_not(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.deliver(letter(1))
        owner.deliver(letter(2))
        items = held(mailbox)
        owner.expunge(letter(1))
        with pytest.raises(ItemVanished):
            mailbox.fetch(items[letter(1)])
        assert read(mailbox, items[letter(2)]) == letter(2)

    def test_threads_may_fetch_at_once(self, owner: Owner, mailbox: Mailbox) -> None:
        wanted = {letter(number) for number in range(12)}
        for raw in wanted:
            owner.deliver(raw)
        items = mailbox.listing(INBOX).items
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda item: read(mailbox, item), items)) == wanted

    def test_reading_changes_nothing(self, server: Server, owner: Owner, mailbox: Mailbox) -> None:
        owner.deliver(letter(1))
        before = mailbox.listing(INBOX)
        assert read(mailbox, before.items[0]) == letter(1)
        with closing(server.source(owner.account).mailbox(owner.account)) as again:
            again.folders()
            now = again.listing(INBOX)
        assert [(item.identity, item.flags) for item in now.items] == [
            (item.identity, item.flags) for item in before.items
        ]


class TestWhatSomeCanDo:
    def test_a_fingerprint_holds_as_long_as_the_mailbox_is_the_same(self, mailbox: Mailbox) -> None:
        identity = mailbox.identity()
        if not isinstance(mailbox, Fingerprinted):
            return
        fingerprint = mailbox.fingerprint()
        assert not mailbox.unchanged(identity, b"another")
        assert not mailbox.unchanged(identity, b"")
        assert mailbox.unchanged(identity, fingerprint) == bool(fingerprint)

    def test_a_likeness_is_what_other_servers_tell_of_the_message_too(
        self, owner: Owner, mailbox: Mailbox
    ) -> None:
        owner.deliver(letter(1))
        if isinstance(mailbox, Likening):
            expected = Likeness("<1@example.com>", len(letter(1)), DELIVERED // 1_000_000)
            assert mailbox.likenesses(INBOX) == {expected}


def test_closing_twice_does_no_harm(server: Server, owner: Owner) -> None:
    opened = server.source(owner.account).mailbox(owner.account)
    opened.folders()
    opened.close()
    opened.close()


def test_whether_a_path_lies_where_a_source_reads_is_known(server: Server, owner: Owner) -> None:
    assert not server.source(owner.account).contains("/nonexistent/backup")
