"""An IMAP server in the manners of several makers, and faults in what it answers: see `Server`."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.imap_script import HANG_UP, Script


@dataclass(frozen=True)
class Manner:
    """How a maker's server speaks."""

    capability: bytes
    separator: bytes = b"/"
    quoting: bool = True
    """Whether it quotes all names, and not only those that need it; some quote none."""
    attributes: bytes = b"\\HasNoChildren"
    prefix: bytes = b""
    guid: bytes = b""
    """What it calls the GUIDs of messages."""
    trailing: bytes = b""
    """What it has at the end of lines."""
    spare: bytes = b""
    """What it has between them."""


MANNERS = {
    "dovecot": Manner(
        b"IMAP4rev1 ENABLE CONDSTORE QRESYNC ESEARCH LIST-EXTENDED LIST-STATUS SPECIAL-USE",
        quoting=False,
        guid=b"X-GUID",
    ),
    "cyrus": Manner(
        b"IMAP4rev1 ENABLE CONDSTORE QRESYNC ESEARCH OBJECTID NAMESPACE LITERAL+",
        guid=b"EMAILID",
    ),
    "gmail": Manner(b"IMAP4rev1 ENABLE CONDSTORE ESEARCH NAMESPACE LITERAL- UTF8=ACCEPT"),
    "exchange": Manner(b"IMAP4rev1 NAMESPACE LITERAL+", quoting=False, spare=b"* 0 RECENT\r\n"),
    "courier": Manner(b"IMAP4rev1 NAMESPACE", separator=b".", prefix=b"INBOX.", trailing=b" "),
    "zimbra": Manner(
        b"IMAP4rev1 ENABLE CONDSTORE QRESYNC ESEARCH LIST-EXTENDED LIST-STATUS ID",
        spare=b"* OK [ALERT] maintenance at noon\r\n",
    ),
}


@dataclass
class Letter:
    """A message in a folder."""

    uid: int
    content: bytes
    flags: set[bytes]
    modseq: int
    guid: bytes


@dataclass
class Folder:
    """A folder."""

    validity: int
    letters: list[Letter] = field(default_factory=list)
    next: int = 1
    modseq: int = 1
    gone: list[tuple[int, int]] = field(default_factory=list)
    """UID and mod-sequence of what was expunged."""

    def deliver(self, content: bytes, *flags: bytes) -> None:
        self.modseq += 1
        guid = b"g%d%d" % (self.validity, self.next)
        self.letters.append(Letter(self.next, content, set(flags), self.modseq, guid))
        self.next += 1

    def flag(self, letter: Letter, flag: bytes) -> None:
        self.modseq += 1
        letter.flags ^= {flag}
        letter.modseq = self.modseq

    def expunge(self, letter: Letter) -> None:
        self.modseq += 1
        self.letters.remove(letter)
        self.gone.append((letter.uid, self.modseq))


Rows = list[bytes]
Fault = Callable[[random.Random, Rows], Rows]
"""Does something to the lines of an answer; the last one has the tag."""


class Server(Script):
    """One account. `rules` say what is wrong: for commands that begin so, a fault, how often, and
    the seed that makes it the same each time."""

    def __init__(self, manner: Manner) -> None:
        super().__init__(capability=manner.capability)
        self.manner = manner
        self.folders: dict[bytes, Folder] = {}
        self.rules: list[list[object]] = []
        self.selected = Folder(0)

    def answer(self, command: bytes) -> bytes:
        self.commands.append(command)
        rows = self._rows(command)
        for rule in self.rules:
            start, fault, left, seed = rule
            assert isinstance(start, bytes)
            assert isinstance(left, int)
            if command == b"NAMESPACE":
                continue  # without it folders have other names, which nobody could compare
            if left and re.match(start, command):
                rule[2] = left - 1
                rows = fault(random.Random(f"{seed} {command!r}"), rows)  # type: ignore[operator]
        return b"".join(rows)

    def _rows(self, command: bytes) -> Rows:
        manner = self.manner
        end = manner.trailing + b"\r\n"
        ok = [b"%T OK done" + end]
        spare = [manner.spare] if manner.spare else []
        verb, _, rest = command.partition(b" ")
        if verb == b"CAPABILITY":
            return [b"* CAPABILITY " + self.capability + b"\r\n", *ok]
        if verb in (b"LIST", b"LSUB"):
            return [*spare, *self._listed(verb, rest, end), *ok]
        if verb == b"NAMESPACE":
            return [
                b'* NAMESPACE (("%s" "%s")) NIL NIL\r\n' % (manner.prefix, manner.separator),
                *ok,
            ]
        if verb in (b"STATUS", b"EXAMINE"):
            named = re.match(rb'(?:"((?:[^"\\]|\\.)*)"|([^ ]+))(?: \((.*)\))?$', rest, re.S)
            assert named
            name = re.sub(rb"\\(.)", rb"\1", named[1] if named[2] is None else named[2])
            folder = self.folders.get(name)
            if folder is None:
                return [b"%T NO [NONEXISTENT] no such folder\r\n"]
            if verb == b"STATUS":
                return [*spare, *self._status(name, folder, named[3], end), *ok]
            self.selected = folder
            return [*spare, *self._examined(folder, end), *ok]
        if command.startswith(b"UID FETCH"):
            return [*spare, *self._fetched(command), *ok]
        if command.startswith(b"UID SEARCH"):
            uids = [b"%d" % letter.uid for letter in self.selected.letters]
            if b"RETURN" in command:
                found = b" ALL " + b",".join(uids) if uids else b""
                return [b'* ESEARCH (TAG "%T") UID' + found + end, *ok]
            return [b"* SEARCH " + b" ".join(uids) + end, *ok]
        if verb == b"LOGIN" or verb in (b"ENABLE", b"NOOP", b"LOGOUT", b"ID"):
            return ok
        return [b"%T BAD what?\r\n"]

    def _name(self, name: bytes) -> bytes:
        odd = re.search(rb'[ ()"\\{%*]', name)
        return (
            b'"' + re.sub(rb'(["\\])', rb"\\\1", name) + b'"'
            if self.manner.quoting or odd
            else name
        )

    def _listed(self, verb: bytes, rest: bytes, end: bytes) -> Rows:
        asked = re.search(rb"STATUS \(([^()]*)\)", rest)
        rows = []
        for name, folder in self.folders.items():
            words = (self.manner.attributes, self.manner.separator, self._name(name))
            rows.append(b'* %s (%s) "%s" %s' % (verb, *words) + end)
            if asked:
                rows += self._status(name, folder, asked[1], end)
        return rows

    def _status(self, name: bytes, folder: Folder, items: bytes, end: bytes) -> Rows:
        if b"X-GUID" in items and self.manner.guid != b"X-GUID":
            return []
        known = {
            b"MESSAGES": b"%d" % len(folder.letters),
            b"UIDNEXT": b"%d" % folder.next,
            b"UIDVALIDITY": b"%d" % folder.validity,
            b"HIGHESTMODSEQ": b"%d" % folder.modseq,
            b"X-GUID": b"%032x" % folder.validity,
            b"MAILBOXID": b"(m%d)" % folder.validity,
        }
        told = b" ".join(item + b" " + known[item] for item in items.split())
        return [b"* STATUS %s (%s)" % (self._name(name), told) + end]

    def _examined(self, folder: Folder, end: bytes) -> Rows:
        counts = [b"* FLAGS (\\Seen)", b"* %d EXISTS" % len(folder.letters), b"* 0 RECENT"]
        counts += [b"* OK [UIDVALIDITY %d] UIDs valid" % folder.validity]
        counts += [b"* OK [UIDNEXT %d] Predicted next UID" % folder.next]
        if b"CONDSTORE" in self.capability:
            counts.append(b"* OK [HIGHESTMODSEQ %d] Highest" % folder.modseq)
        return [line + end for line in counts]

    def _fetched(self, command: bytes) -> Rows:
        _, _, sets, what = command.split(b" ", 3)
        wanted = []
        for part in sets.split(b","):
            low, _, high = part.partition(b":")
            wanted.append((int(low), int(high or low)))
        since = re.search(rb"CHANGEDSINCE (\d+)", what)
        rows = []
        if since and b"VANISHED" in what:
            gone = [b"%d" % uid for uid, modseq in self.selected.gone if modseq > int(since[1])]
            if gone:
                rows.append(b"* VANISHED (EARLIER) %s\r\n" % b",".join(gone))
        for number, letter in enumerate(self.selected.letters, 1):
            if not any(low <= letter.uid <= high for low, high in wanted):
                continue
            if since and letter.modseq <= int(since[1]):
                continue
            rows.append(self._row(number, letter, what, changed=bool(since)))
        return rows

    def _row(self, number: int, letter: Letter, what: bytes, *, changed: bool) -> bytes:
        header, _, _ = letter.content.partition(b"\r\n\r\n")
        header += b"\r\n\r\n"
        items = [b"UID %d" % letter.uid]
        if b"FLAGS" in what:
            items.append(b"FLAGS (%s)" % b" ".join(sorted(letter.flags)))
        if changed:
            items.append(b"MODSEQ (%d)" % letter.modseq)
        if b"X-GUID" in what:
            items.append(b"X-GUID " + letter.guid)
        if b"EMAILID" in what:
            items.append(b"EMAILID (%s)" % letter.guid)
        if b"RFC822.SIZE" in what:
            items.append(b"RFC822.SIZE %d" % len(letter.content))
        if b"INTERNALDATE" in what:
            items.append(b'INTERNALDATE "01-May-2024 12:00:00 +0200"')
        if b"ENVELOPE" in what:
            given = re.search(rb"Message-ID: (.*?)\r\n", header)
            message_id = b'"%s"' % given[1] if given else b"NIL"
            items.append(b'ENVELOPE ("x" "y" NIL NIL NIL NIL NIL NIL NIL %s)' % message_id)
        for name, content in ((b"BODY[HEADER]", header), (b"BODY[]", letter.content)):
            if name.replace(b"BODY", b"BODY.PEEK") in what:
                items.append(name + b" {%d}\r\n%s" % (len(content), content))
        return b"* %d FETCH (%s)\r\n" % (number, b" ".join(items))


# Faults

_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
_VALUE = re.compile(rb'(?<= )(?:\d+|"[^"\r\n]*"|\([^()\r\n]*\))')
_BEFORE_NAME = re.compile(rb'(?<= )(?:"."|\([^()]*\))(?= )')
_UID = re.compile(rb"(?<=\(UID )\d+")
_PAIR = re.compile(
    rb" (?:FLAGS|MODSEQ|EMAILID) \([^()]*\)| RFC822\.SIZE \d+| X-GUID \w+"
    rb'| INTERNALDATE "[^"]*"|UID \d+ ?|(?:UIDNEXT|MESSAGES|UIDVALIDITY|HIGHESTMODSEQ) \d+ ?'
)
JUNK = (
    b"garbage\r\n",
    b"* \r\n",
    b"*\r\n",
    b"* (\r\n",
    b"* 7\r\n",
    b" FLAGS (\\Seen) RFC822.SIZE 9)\r\n",
    b"Warning: something in line 3\r\n",
    b"\xff\xfe\r\n",
    b"\r\n",
    b"+ go on\r\n",
    b"T99999 OK of whom?\r\n",
)
UNKNOWN = (
    b'* 1 X-THING (a "b" (c {3}\r\nabc))\r\n',
    b"* X-THING NIL\r\n",
    b"* OK [X-CODE (1)] said\r\n",
    b"* NO so what\r\n",
    b"* 1 FETCH (FLAGS (\\Flagged))\r\n",
    b"* FLAGS (a b)\r\n",
    b"* 0 RECENT\r\n",
)
WORDS = (b"FETCH", b"LIST", b"STATUS", b"EXISTS", b"UID", b"FLAGS", b"BODY", b"OK", b"SEARCH")


def _text(row: bytes) -> int:
    """Where a row's first literal begins: what is before it is the server's own."""
    match = _LITERAL.search(row)
    return match.end() if match else len(row)


def _own(change: Callable[[random.Random, bytes], bytes]) -> Fault:
    """A fault of what the server itself has in one row."""

    def fault(chance: random.Random, rows: Rows) -> Rows:
        if len(rows) < 2:
            return rows
        index = chance.randrange(len(rows) - 1)
        end = _text(rows[index])
        rows[index] = change(chance, rows[index][:end]) + rows[index][end:]
        return rows

    return fault


def _some(chance: random.Random, pattern: re.Pattern[bytes], text: bytes, new: bytes) -> bytes:
    found = list(pattern.finditer(text))
    if not found:
        return text
    match = chance.choice(found)
    return text[: match.start()] + new + text[match.end() :]


def _drop(chance: random.Random, rows: Rows) -> Rows:
    own = [index for index, row in enumerate(rows[:-1]) if not row.startswith(b"* LIST")]
    if own:
        del rows[chance.choice(own)]
    return rows


def _double(chance: random.Random, rows: Rows) -> Rows:
    if len(rows) > 1:
        rows.insert(chance.randrange(len(rows)), chance.choice(rows[:-1]))
    return rows


def _shuffle(chance: random.Random, rows: Rows) -> Rows:
    first = rows[:-1]
    chance.shuffle(first)
    return [*first, rows[-1]]


def _insert(lines: tuple[bytes, ...]) -> Fault:
    def fault(chance: random.Random, rows: Rows) -> Rows:
        rows.insert(chance.randrange(len(rows)), chance.choice(lines))
        return rows

    return fault


def _cut(chance: random.Random, rows: Rows) -> Rows:
    whole = b"".join(rows)
    return [whole[: chance.randrange(len(whole))] + HANG_UP]


def _refuse(chance: random.Random, rows: Rows) -> Rows:
    word = chance.choice((b"NO [UNAVAILABLE] later", b"NO some are gone", b"BAD what?"))
    kept = rows[: chance.choice((0, len(rows) - 1, chance.randrange(len(rows))))]
    return [*kept, b"%T " + word + b"\r\n"]


def _length(chance: random.Random, rows: Rows) -> Rows:
    long = [index for index, row in enumerate(rows) if _LITERAL.search(row)]
    if long:
        index = chance.choice(long)
        by = chance.choice((-40, -9, -4, -2, -1, 1, 2, 3, 5, 30))
        rows[index] = _LITERAL.sub(
            lambda match: b"{%d}\r\n" % max(0, int(match[1]) + by), rows[index], count=1
        )
    return rows


def _blank_after(chance: random.Random, rows: Rows) -> Rows:
    return [row[:-3] + b"\r\n)\r\n" if _LITERAL.search(row) else row for row in rows]


def _mangled(chance: random.Random, text: bytes) -> bytes:
    marks = [index for index, byte in enumerate(text) if byte in b'()" ' and index > 8]
    if not marks:
        return text
    index = chance.choice(marks)
    new = chance.choice((b"", b"(", b")", b'"', b"  ", b"NIL"))
    return text[:index] + new + text[index + 1 :]


def _nil(chance: random.Random, text: bytes) -> bytes:
    listed = text.startswith(b"* LIST")  # of which the name makes another folder
    return _some(chance, _BEFORE_NAME if listed else _VALUE, text, b"NIL")


def _strange_uid(chance: random.Random, text: bytes) -> bytes:
    return _some(
        chance, _UID, text, chance.choice((b"0", b"NIL", b"-1", b"1", b"99999999999999999999"))
    )


def _strange_number(chance: random.Random, text: bytes) -> bytes:
    if (
        text.startswith(b"* LIST")
        or b"UID " in text
        or b"UIDVALIDITY" in text
        or b"UIDNEXT" in text
    ):
        return text
    new = chance.choice((b"-1", b"0", b"3.5e6", b"x", b"18446744073709551616"))
    return _some(chance, re.compile(rb"(?<= )\d+"), text, new)


def _recased(chance: random.Random, rows: Rows) -> Rows:
    out = []
    for row in rows:
        end = _text(row)
        text = row[:end]
        for word in WORDS:
            text = text.replace(b" " + word, b" " + word.lower())
        out.append(text + row[end:])
    return out


def _flagged(chance: random.Random, rows: Rows) -> Rows:
    odd = chance.choice(
        (b"a(b)", b"a(b", b"a)", b"{x}", b"{3}", b"x[y", b'"a b"', b'a"b', b"[x] y]")
    )
    return [row.replace(b"FLAGS (", b"FLAGS (" + odd + b" ", 1) for row in rows]


FAULTS: dict[str, Fault] = {
    "drop": _drop,
    "double": _double,
    "shuffle": _shuffle,
    "junk": _insert(JUNK),
    "unknown": _insert(UNKNOWN),
    "cut": _cut,
    "refuse": _refuse,
    "length": _length,
    "blank after": _blank_after,
    "nil": _own(_nil),
    "pair": _own(lambda chance, text: _some(chance, _PAIR, text, b"")),
    "mangled": _own(_mangled),
    "uid": _own(_strange_uid),
    "number": _own(_strange_number),
    "case": _recased,
    "flags": _flagged,
}
STARTS = (
    *(b"UID FETCH", b"UID FETCH .*BODY", b"UID FETCH .*FLAGS", b"UID SEARCH", b"EXAMINE"),
    *(b"LIST", b"STATUS", b"NAMESPACE", b"UID", b""),
)
