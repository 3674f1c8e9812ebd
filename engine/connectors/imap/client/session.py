"""A connection that is logged in: the commands of IMAP that a backup needs, as methods.

None of them changes anything at the server: folders are opened with EXAMINE, and content is read
with BODY.PEEK. All raise Refused where the server says NO or BAD, and Lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine import __version__
from engine.connectors.imap.client.connection import (
    Command,
    CommandRefused,
    Connection,
    Response,
    Upload,
)
from engine.connectors.imap.client.overview import (
    Counts,
    CountsTaker,
    Overview,
    OverviewTaker,
)
from engine.connectors.imap.client.responses import MOST, ResponseLimits
from engine.connectors.imap.client.wire import (
    MAX_NUMBER,
    Data,
    ProtocolError,
    StatusResponse,
    UidSet,
    Value,
    count,
    pairs,
    quoted,
)

TakeRow = Callable[[int, dict[str, Value]], None]
"""Takes a UID and what was fetched of that message."""

INTRODUCTION = b'ID ("name" "timefs" "version" "%s")' % __version__.encode()
"""Who we are (RFC 2971)."""

_HEADER = 64 << 10
"""Bytes that headers have on average, at most."""

_POSITION = b"UIDVALIDITY UIDNEXT MESSAGES"

_PROBES = 3

_GONE = ("Mailbox doesn't exist", "Mailbox does not exist", "Mailbox was deleted under us")


class Bounds(NamedTuple):
    """How much of anything an account may have."""

    folders: int = 100_000
    messages: int = 2_000_000
    """In one folder."""
    largest: int = 1 << 30
    """Bytes of a message."""


BOUNDS = Bounds()


class Session:
    """A logged-in connection, used by one thread at a time."""

    def __init__(
        self,
        connection: Connection,
        capabilities: frozenset[str],
        xguid: bool | None = None,
        bounds: Bounds = BOUNDS,
    ) -> None:
        """`capabilities` are in capitals. `xguid` tells whether the server is known to have
        Dovecot's X-GUID; None: `overview` finds out."""
        self._connection = connection
        self._bounds = bounds
        self._messages = 0
        """How many there may be in the open folder."""
        self._counted = 0
        """How many the server said there are."""
        self._capabilities = capabilities
        self._enabled = False
        self.xguid = False if "OBJECTID" in capabilities else xguid
        self.selected: bytes | None = None
        """The folder that is open."""
        self.validity = 0
        """And its UIDVALIDITY."""
        self.disturbed = False
        """Whether messages came to it or went since it was opened. What was fetched before and
        after that were never together in it."""
        self.reader: object = None
        """Who knows that it leads to the mailbox that he reads."""
        connection.literals = "LITERAL+" in capabilities
        connection.patient = True

    @property
    def connection(self) -> Connection:
        """For commands that aren't here."""
        return self._connection

    def has(self, *capabilities: str) -> bool:
        """Whether the server offers one of these."""
        return not self._capabilities.isdisjoint(capabilities)

    @property
    def qresync(self) -> bool:
        """Whether the server tells what vanished (RFC 7162)."""
        return self.has("QRESYNC") and self.has("ENABLE", "IMAP4REV2")

    @property
    def condstore(self) -> bool:
        """Whether the server counts changes (RFC 7162)."""
        return self.has("CONDSTORE", "QRESYNC")

    # The account

    def overview(self) -> Overview:
        """All folders, subscriptions and namespaces; the folders' counts, too, in the same round
        trip with LIST-STATUS (RFC 5819), else in one more."""
        if self.xguid is None:
            self.xguid = self._probe()
        if self.selected is not None:  # else Dovecot counts it as it was when it was last looked at
            self.wait_for_news()
        extended = self.has("LIST-EXTENDED", "IMAP4REV2")
        at_once = extended and self.has("LIST-STATUS", "IMAP4REV2")
        commands: list[Command] = self._enabling()
        asks = len(commands)
        commands.append([self._list(extended, at_once)])
        if not extended:
            commands.append([b'LSUB "" "*"'])
        elif at_once and self.has("OBJECTID"):
            commands.append([b'LIST "" "*" RETURN (STATUS (MAILBOXID))'])
        if self.has("NAMESPACE", "IMAP4REV2"):
            commands.append([b"NAMESPACE"])
        found = OverviewTaker()
        most = self._most_folders()
        ended = self._connection.run_all(commands, found.take, most)
        if ended[asks].word != "OK" and extended:  # it said that it knows this form
            at_once = False
            plain: list[Command] = [[b'LIST "" "*"'], [b'LSUB "" "*"']]
            ended[asks] = self._connection.run_all(plain, found.take, most)[0]
        if ended[asks].word != "OK":
            raise CommandRefused(ended[asks])
        asked = [name for name in found.folders if found.folders[name].selectable]
        if at_once:
            asked = [name for name in asked if name not in found.counts]
        more: list[Command] = [[b"STATUS ", *argument(name), self._items()] for name in asked]
        if not at_once and self.has("OBJECTID"):
            more += [[b"STATUS ", *argument(name), b" (MAILBOXID)"] for name in asked]
        if more:
            for name, status in zip(
                asked, self._connection.run_all(more, found.take, most), strict=False
            ):
                if says_gone(status):
                    found.is_gone(name)
        return found.result()

    def inbox(self) -> Counts:
        """What the account's inbox is recognised by. Raises Nonsense where that isn't told."""
        if self.xguid is None:
            self.xguid = self._probe()
        commands = self._enabling()
        commands.append([b"STATUS INBOX", self._items()])
        if self.has("OBJECTID"):
            commands.append([b"STATUS INBOX (MAILBOXID)"])
        told = OverviewTaker()
        self._connection.run_all(commands, told.take)
        found = told.counts.get(b"INBOX", Counts())
        if not found.validity:
            found = self.examine(b"INBOX")._replace(guid=found.guid)
        if not (found.validity or found.guid):
            raise ProtocolError("it doesn't say which mailbox the inbox is")
        return found

    def answers(self, name: bytes) -> bool:
        """Whether there is a folder that the server knows by this name, listed so or not."""
        found = OverviewTaker()
        self._connection.run_all([[b"STATUS ", *argument(name), b" (MESSAGES)"]], found.take)
        return any(name.upper() == told.upper() for told in found.counts)

    def rights(self, names: Sequence[bytes]) -> dict[bytes, dict[str, str]]:
        """Who may do what in each folder (GETACL, RFC 4314), where we may know."""
        found: dict[bytes, dict[str, str]] = {}

        def take(response: Response) -> None:
            if isinstance(response, Data) and response.name == "ACL":
                name, *rest = [value for value in response.values if isinstance(value, bytes)]
                texts = [value.decode("utf-8", "backslashreplace") for value in rest]
                found[name] = dict(zip(texts[::2], texts[1::2], strict=False))

        self._connection.run_all([[b"GETACL ", *argument(name)] for name in names], take)
        return found

    # A folder

    def examine(self, name: bytes) -> Counts:
        """Opens a folder, for reading only."""
        commands = self._enabling()
        asks = b""
        if self.condstore and not self.has("ENABLE", "IMAP4REV2"):
            asks = b" (CONDSTORE)"
        commands.append([b"EXAMINE ", *argument(name), asks])
        self.selected = None
        self.disturbed = False
        counts = CountsTaker()
        status = self._connection.run_all(commands, counts.take)[-1]
        if status.word != "OK":
            raise CommandRefused(status)
        found = counts.found
        self._messages = found.messages if counts.counted else self._bounds.messages
        self._counted = found.messages
        if not counts.counted or not found.validity:
            found = self._asked_again(name, counts)
        self.selected, self.validity = name, found.validity
        return found

    def _asked_again(self, name: bytes, examined: CountsTaker) -> Counts:
        """What a folder that is open holds, where that wasn't told when it was opened. Raises
        Nonsense where it isn't told now."""
        other = OverviewTaker()
        self._connection.run_all([[b"STATUS ", *argument(name), self._items()]], other.take)
        said = next(iter(other.counts.values()), Counts())
        found = examined.found
        if not examined.counted:
            present = self.present()
            if present is None:
                raise ProtocolError("it doesn't say how many messages there are")
            found = found._replace(messages=present.count(MAX_NUMBER))
        return found._replace(validity=found.validity or said.validity)

    def fetch(
        self,
        sets: Iterable[bytes],
        items: bytes,
        take: TakeRow,
        since: int | None = None,
        *,
        vanished: list[bytes] | None = None,
    ) -> None:
        """Fetches items (`UID` is added) of the messages in sets of UIDs, of those that changed
        after the mod-sequence `since` if it is given. `vanished` then gets the UIDs that are gone
        (RFC 7162, section 3.2.6).

        Rows may come for other messages, too, and with less in them: servers tell of changes when
        they like.
        """

        def took(response: Response) -> None:
            if not isinstance(response, Data):
                return
            self._note(response)
            if response.name == "FETCH" and response.values:
                try:
                    row = pairs(response.values[0])
                except ProtocolError:
                    return
                uid = count(row.get("UID"))
                if uid:  # else nobody knows whose row it is
                    take(uid, row)
            elif response.name == "VANISHED" and vanished is not None:
                uids = response.values[-1] if response.values else None
                if isinstance(uids, bytes):
                    vanished.append(uids)

        modifier = b""
        if since is not None:
            more = b" VANISHED" if vanished is not None else b""
            modifier = b" (CHANGEDSINCE %d%s)" % (since, more)
        commands = [[b"UID FETCH %s (UID %s)%s" % (uids, items, modifier)] for uids in sets]
        for status in self._connection.run_all(
            commands, took, self._most(content=b"BODY" in items)
        ):
            if status.word != "OK":
                raise CommandRefused(status)

    def present(self) -> UidSet | None:
        """The UIDs of all messages in the open folder; None where the server says OK and doesn't
        tell, or not in a way that can be understood."""
        found: list[bytes] = []
        told = False

        def take(response: Response) -> None:
            nonlocal told
            if not isinstance(response, Data):
                return
            self._note(response)
            told = told or response.name in ("SEARCH", "ESEARCH")
            values = [value for value in response.values if isinstance(value, bytes)]
            if response.name == "SEARCH":
                found.extend(value for value in values if value.isdigit())
            elif response.name == "ESEARCH" and b"ALL" in values[:-1]:
                found.append(values[values.index(b"ALL") + 1])

        how = b"RETURN (ALL) " if self.has("ESEARCH", "IMAP4REV2") else b""
        self._connection.run(b"UID SEARCH %sALL" % how, take=take, most=self._most())
        try:
            return UidSet(found) if told else None
        except ProtocolError:
            return None

    def lacks(self, present: UidSet | None, uid: int) -> bool:
        """Whether the open folder has no such message, by what `present` told: not where that was
        of fewer than the server counted, and of none that went since."""
        if present is None or uid in present:
            return False
        return self.disturbed or present.count(MAX_NUMBER) >= self._counted

    def wait_for_news(self) -> bool:
        """Gives the server the occasion to tell what came or went, and says whether it did, or had
        before."""
        self._connection.run_all([[b"NOOP"]], self._news)
        return self.disturbed

    def _news(self, response: Response) -> None:
        if isinstance(response, Data):
            self._note(response)

    def _most_folders(self) -> ResponseLimits:
        folders = self._bounds.folders
        return MOST._replace(
            rows=MOST.rows + 2 * folders,
            octets=MOST.octets + 512 * folders,
            setting="most_folders",
        )

    def _most(self, *, content: bool = False) -> ResponseLimits:
        """What may come of the open folder: a row for each message, and what nobody asked for."""
        messages = min(self._messages, self._bounds.messages)
        return MOST._replace(
            rows=MOST.rows + messages,
            octets=MOST.octets + 512 * messages,
            content=self._bounds.largest + _HEADER * messages if content else 0,
            literal=self._bounds.largest,
            setting="most_messages",
        )

    def _note(self, response: Data) -> None:
        """Sees whether a server tells that messages came or went."""
        if response.name == "VANISHED":  # else that was asked for (RFC 7162, section 3.2.10)
            earlier = bool(response.values) and isinstance(response.values[0], list)
            self.disturbed = self.disturbed or not earlier
        elif response.name in ("EXISTS", "EXPUNGE"):
            self.disturbed = True

    def _probe(self) -> bool:
        """Whether the server has X-GUID. Others say BAD. Asked again where the server says OK and
        nothing else: with another kind of GUID all messages would seem to be others."""
        told: list[bool] = []

        def take(response: Response) -> None:
            if isinstance(response, Data) and response.name == "STATUS" and response.values:
                told.append("X-GUID" in pairs(response.values[-1]))

        for _ in range(_PROBES):
            (status,) = self._connection.run_all([[b"STATUS INBOX (X-GUID)"]], take)
            if told or status.word != "OK":
                break
        return any(told)

    def _enabling(self) -> list[Command]:
        """What is to be said once in a session, before the first folder is asked for."""
        if self._enabled:
            return []
        self._enabled = True
        commands: list[Command] = []
        if self.has("ID"):  # some servers want it after the login
            commands.append([INTRODUCTION])
        if self.condstore and self.has("ENABLE", "IMAP4REV2"):
            commands.append([b"ENABLE QRESYNC" if self.has("QRESYNC") else b"ENABLE CONDSTORE"])
        return commands

    def _items(self) -> bytes:
        more = b" HIGHESTMODSEQ" if self.condstore else b""
        return b" (%s%s%s)" % (_POSITION, more, b" X-GUID" if self.xguid else b"")

    def _list(self, extended: bool, at_once: bool) -> bytes:
        if not extended:
            return b'LIST "" "*"'
        roles = b" SPECIAL-USE" if self.has("SPECIAL-USE", "IMAP4REV2") else b""
        status = b" STATUS%s" % self._items() if at_once else b""
        return b'LIST "" "*" RETURN (SUBSCRIBED%s%s)' % (roles, status)


def argument(name: bytes) -> list[bytes | Upload]:
    """A string as an argument of a command, in whatever form it needs."""
    form = quoted(name)
    return [Upload(name, len(name)) if form is None else form]


def says_gone(status: StatusResponse) -> bool:
    """Whether a refusal says that there is no such folder (RFC 5530). Dovecot 2.3 and Cyrus say so
    in words; in Dovecot a folder that was deleted stays in the list while others are below it."""
    if status.code:
        return status.code == "NONEXISTENT"
    return status.word == "NO" and status.text.startswith(_GONE)


def refusal(status: StatusResponse) -> str:
    """What a NO or BAD means to an administrator."""
    busy = {"UNAVAILABLE", "LIMIT", "INUSE", "OVERQUOTA"}
    hint = "; if that lasts, lower imap.connections" if status.code in busy else ""
    return f"the server said {status.said}{hint}"
