"""What search and names need of a message: a few header fields out of its first bytes.

Strangers wrote these bytes: anything is accepted, and what can't be understood is shown as well as
it can be. Not for the structure or the body of a message, and not a validator.

A message is as mail stores hold it: perhaps an mbox `From ` line, then header fields (RFC 5322, 2.2
and 4.5) up to a blank line, with lines that end in LF, CRLF or CR. Lines that are no field are
passed over. Of a field that comes twice the first counts.
"""

from __future__ import annotations

import binascii
import re
from datetime import date
from functools import lru_cache

from engine.domain.model import Headers
from engine.domain.stored_form import stored_form

HEAD = 1 << 20
"""Bytes at the beginning of a message in which its header is looked for: some gateways put more
than 64 KiB before the subject."""
_USUAL_HEAD = 64 << 10
"""Bytes that hold nearly every header."""

_SUBJECT_LENGTH = 1000
_SENDER_LENGTH = 300
_ADDRESS_WITHIN = 2000
"""Characters in which an address is looked for."""
_RECIPIENTS_LENGTH = 1000
_MESSAGE_ID_LENGTH = 300
_RAW_LENGTH = 8192
"""Bytes of a field that are looked at: encoded, a letter takes some six bytes."""

# A field that is of interest, with its folds, or the blank line after the header. What repeats is
# possessive: a header of a million folds would take 100 MB to go back in.
_FIELD = re.compile(
    rb"\n(?=[fFtTcCsSmMdD\r\n])(?:\r*\n|(from|to|cc|subject|message-id|date)[ \t]*:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+))",
    re.IGNORECASE,
)
# The first Received of a header.
_RECEIVED = re.compile(
    rb"(?:\n(?!received[ \t]*:)[^\n]++)*+\nreceived[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE,
)
_CONTROLS = {code: " " for code in (*range(1, 32), *range(127, 160), 0x2028, 0x2029)} | {0: None}
_SURROGATES = re.compile("[\ud800-\udfff]")

# `=?charset*language?Q?text?=` (RFC 2047, 2; RFC 2231, 5). Some write question marks in the text;
# a few are let pass, for without a limit hostile input would take time in the square of its size.
_WORD = re.compile(
    rb"=\?([!-)+->@-~]{1,60})(?:\*[^?]*)?\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*){0,4})\?="
)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_CODEC_OF_PAGE = re.compile(r"(?:cp|win|windows|ibm)[-_]?([0-9]+)")
_CODECS = {
    "us-ascii": "",
    "ascii": "",
    "iso-8859-1": "cp1252",  # what Windows calls by this name is a superset; so with the next ones
    "latin1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "tis-620": "cp874",
    "iso-8859-8-i": "iso-8859-8",
    "utf-8-sig": "utf-8",
}
"""Charsets that another of Python's codecs reads better than the one of that name."""
_NOT_IN_MAIL = {"idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined"}
"""Python's own text codecs, lower case; some take long on hostile input, some warn."""

_DATE = re.compile(
    r"(?:[A-Za-z]{3}, *)?([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:([+-][0-9]{2})([0-9]{2})|GMT)(?: |$)"
)
_MONTH_NAMES = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES.split(), 1)}
_FIRST, _EPOCH, _END = (days * 86400 for days in (1, date(1970, 1, 1).toordinal(), 3652060))

# Quoted strings and comments are found too, so that nothing within them is.
_ANGLED = re.compile(r'"(?:[^"\\]|\\.)*"|\([^()]*\)|<([^<>]*)>(?=( *(?:[,;(]|$))?)')
_COMMENT = re.compile(r"\([^()]*\)")
_ADDRESS = re.compile(r'(?:"[^"]*"|[^\s"<>(),;:]+)@[^\s"<>(),;:]+')
_ROUTE = re.compile(r"^(?:@[^:]*|mailto):")


def parse_headers(head: bytes) -> Headers:
    """The header fields of the message that begins with `head` (see `HEAD`), also of one that its
    server keeps compressed. One that is encrypted has none. Never raises.

    Encoded words (RFC 2047) are decoded; other bytes are read as UTF-8, or else as windows-1252.
    No value has a control character or a lone surrogate. What is missing is empty, or 0.
    """
    if stored_form(head):
        from engine.domain.decompression import beginning  # most servers need none of it

        head = beginning(head, HEAD)
    fields, whole = _fields(head[:_USUAL_HEAD])
    if not whole and len(head) > _USUAL_HEAD:
        fields, _ = _fields(head[:HEAD])
    to, cc = fields.get(b"to", b""), fields.get(b"cc", b"")
    return Headers(
        _text(fields.get(b"subject", b""))[:_SUBJECT_LENGTH],
        _bounded_sender(_text(fields.get(b"from", b""))),
        (f"{_text(to)}, {_text(cc)}" if to and cc else _text(to or cc))[:_RECIPIENTS_LENGTH],
        _text(fields.get(b"message-id", b""))[:_MESSAGE_ID_LENGTH],
        _date(fields.get(b"date", b"")),
    )


def delivery_date(head: bytes) -> int:
    """When a message came, as its own header tells: the date of its uppermost `Received`, or else
    its `Date`, in microseconds since the epoch; 0 where neither is one. Never raises."""
    received = _RECEIVED.match(b"\n" + _with_newlines(head))
    came = received[1][-_RAW_LENGTH:].rpartition(b";")[2].strip() if received else b""
    date_ = _date(b" ".join(came.split())) if came else 0
    return max(0, date_ or parse_headers(head).date)


def address(sender: str) -> str:
    """The address in a From value: of `Bob <bob@example.com>` it is `bob@example.com`.

    Of several the first, in the first 2,000 characters. A value of one word is an address, as local
    ones are; empty if there is none.
    """
    sender = sender[:_ADDRESS_WITHIN]
    angled = [match for match in _ANGLED.finditer(sender) if match[1] is not None]
    whole = [match for match in angled if "@" in match[1]]
    # a decoded display name may hold another: the one meant is followed by a comma or nothing
    ending = [match for match in whole if match[2] is not None]
    if best := ending[:1] or whole[-1:] or angled[-1:]:
        return _ROUTE.sub("", "".join(best[0][1].split()), count=1)
    bare = _COMMENT.sub(" ", sender)
    if found := _ADDRESS.search(bare):
        return found[0]
    words = bare.split()
    return words[0] if len(words) == 1 else ""


def _fields(head: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The values of the fields of interest by name in lower case, as written, with their folds; and
    whether the header ends within `head`."""
    newline = head.find(b"\n")
    if newline < 0 or b"\r" in head[:newline].rstrip(b"\r"):
        head = _with_newlines(head)
    fields: dict[bytes, bytes] = {}
    for field in _FIELD.finditer(b"\n" + head):
        if field[1] is None:
            return fields, True
        name = field[1].lower()
        if name not in fields:
            fields[name] = field[2][:_RAW_LENGTH].strip()
    return fields, False


def _with_newlines(head: bytes) -> bytes:
    """`head` with LF at the ends of lines that have CRLF, some with a CR too many, or CR alone."""
    for _ in range(3):
        head = head.replace(b"\r\n", b"\n")
    return head.replace(b"\r", b"\n")


def _text(raw: bytes) -> str:
    """A field's value as people read it."""
    if b"\n" in raw:
        raw = b" ".join([line.strip() for line in raw.split(b"\n")])
    if b"=?" not in raw:
        text = _decode(raw, "")
    else:
        text = "".join(_decode(data, codec) for data, codec in _split_words(raw))
    return text if text.isprintable() else _in_one_line(text)


def plain(data: bytes) -> str:
    """Bytes of no known charset as text in one line: UTF-8, or else windows-1252."""
    text = _decode(data, "")
    return text if text.isprintable() else _in_one_line(text)


def _in_one_line(text: str) -> str:
    """A text without controls and lone surrogates."""
    return _SURROGATES.sub("\ufffd", text).translate(_CONTROLS).strip()


def _split_words(raw: bytes) -> list[tuple[bytes, str]]:
    """The bytes of encoded words and of what is between, each with the codec to read it by.

    Blanks between encoded words go. Neighbours of one codec are joined before they are decoded:
    some mailers cut within a letter.
    """
    pieces: list[tuple[bytes, str]] = []
    at, after_word = 0, False
    for word in _WORD.finditer(raw):
        between = raw[at : word.start()]
        if not after_word or between.strip():
            pieces.append((between, ""))
        codec = _codec(word[1])
        data = _base64(word[3]) if word[2] in b"bB" else binascii.a2b_qp(word[3], header=True)
        if codec and pieces[-1][1] == codec:
            data = pieces.pop()[0] + data
        pieces.append((data, codec))
        at, after_word = word.end(), True
    return [*pieces, (raw[at:], "")]


def _base64(text: bytes) -> bytes:
    """Decodes what can be decoded, whatever is in between or missing at the end."""
    digits = _NOT_BASE64.sub(b"", text)
    return binascii.a2b_base64(digits[: len(digits) - (len(digits) % 4 == 1)] + b"==")


@lru_cache(maxsize=256)
def _codec(charset: bytes) -> str:
    """Python's codec for a charset; empty if there is none."""
    name = charset.decode("ascii").lower().removeprefix("x-")
    page = _CODEC_OF_PAGE.fullmatch(name)
    name = f"cp{page[1]}" if page else _CODECS.get(name, name)
    try:
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        return ""
    return "" if name.replace("-", "_") in _NOT_IN_MAIL else name


def _decode(data: bytes, codec: str) -> str:
    if codec:
        return data.decode(codec, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _bounded_sender(sender: str) -> str:
    """`sender` cut to its bound, so that the address stays."""
    if len(sender) <= _SENDER_LENGTH:
        return sender
    kept = address(sender)
    room = _SENDER_LENGTH - len(kept) - len("… <>")
    if not kept or room < 0 or kept in sender[:_SENDER_LENGTH]:
        return sender[:_SENDER_LENGTH]
    return f"{sender[:room]}… <{kept}>"


def _date(raw: bytes) -> int:
    """A date-time (RFC 5322, 3.3 and 4.3) in microseconds since the epoch, 0 for none."""
    text = raw[:100].decode("ascii", "replace")
    written = _DATE.match(text)
    if written and written[2] in _MONTHS:
        day, month, year, hour, minute, second, east, more = written.groups()
        offset = (int(east) * 60 + int(east[0] + more)) * 60 if east else 0
        clock = int(hour), int(minute), int(second)
        return _moment(int(year), _MONTHS[month], int(day), *clock, offset)
    from email.utils import parsedate_tz  # loads sockets, which no scan of nothing new needs

    parsed = parsedate_tz(text)
    return _moment(*parsed[:6], parsed[9] or 0) if parsed else 0


def _moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int, offset: int
) -> int:
    """The microseconds since the epoch of a time `offset` seconds east of UTC, 0 for no such time.

    A leap second is the one after it. Times outside the years 1 to 9999 are none.
    """
    if hour > 23 or minute > 59 or second > 60:
        return 0
    try:
        days = date(year, month, day).toordinal()
    except (ValueError, OverflowError):
        return 0
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset
    return (seconds - _EPOCH) * 1_000_000 if _FIRST <= seconds < _END else 0
