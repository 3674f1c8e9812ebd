"""The names that items have in views, made from what strangers wrote.

Pure. Not for who bears which name in a folder at what time (that is the journal's), and not for the
names of a Maildir tree.

A message's name is `2024-04-30T0912_bob@example.com_Quarterly-numbers_k3f9q2.eml`: delivery in UTC,
sender, subject, the item's ID. It sorts by date, and the ID after the last `_` makes it unique
whatever the case. Events and contacts are named likewise: `2024-05-01T0900_Team-meeting_k3f9q2.ics`
with the time as it is written, and `Bob-Baker_k3f9q2.vcf`. Folders, documents and accounts keep the
name that they have, as far as a file system, and who reads a listing, can bear it; what can't stay
is escaped as `%XX`, its bytes in hexadecimal. No name is longer than 200 bytes of UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date as _date
from itertools import count
from unicodedata import category, normalize

from blake3 import blake3

from engine.domain.kinds import traits
from engine.domain.messages import address
from engine.domain.model import MAX_ITEM, item_id

LONGEST = 200
"""Bytes of UTF-8 in a name."""

_SENDER_LENGTH = 64
_STEM_LENGTH = LONGEST - len(f"_{item_id(MAX_ITEM)}.eml")

_MINUTE = 60_000_000
_EPOCH = _date(1970, 1, 1).toordinal()

_INVISIBLE = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0]
).union(range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Letters and marks that show nothing: Default_Ignorable_Code_Point of Unicode."""


class _Slug(dict[int, str | None]):
    """A table for `str.translate`: letters, marks and numbers stay, and `others` that are named.

    What is invisible goes, for it often stands within words; everything else becomes a blank.
    """

    def __init__(self, others: str) -> None:
        super().__init__({ord(character): character for character in others})

    def __missing__(self, code: int) -> str | None:
        kind = category(chr(code))
        if kind == "Cf" or code in _INVISIBLE:
            value = None
        else:
            value = chr(code) if kind[0] in "LMN" else " "
        if len(self) < 20_000:  # plenty for real mail, and bounded for hostile
            self[code] = value
        return value


_SUBJECT = _Slug("")
_SENDER = _Slug("@.+-_=")

_UNSAFE = re.compile(
    "[\0-\x1f\x7f-\x9f/\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    "|%(?=[0-9A-Fa-f]{2})"
)
_CUT = re.compile(r"~[0-9a-f]{8}$")
_CUT_LENGTH = len("~") + 8
_HALF_ESCAPE = re.compile(r"%[0-9A-F]?$")
_SUFFIX = re.compile(r"(?<=.)\.(?=[0-9]*[A-Za-z])[0-9A-Za-z]{1,8}$", re.DOTALL)

IN_VIEW = frozenset(
    (
        ".",
        "..",
        ".calendar",
        ".contacts",
        ".deleted",
        ".maildir",
        ".own",
        ".server",
        ".time",
        "readme.txt",
    )
)
"""Names, caseless, that no account has in a view: they mean something there."""
IN_ACCOUNT = frozenset((".", "..", ".deleted", "account.json"))
"""Names, caseless, that nothing in an account has."""


def message_stem(date: int, sender: str, subject: str) -> str:
    """What a message's name begins with: `2024-04-30T0912_bob@example.com_Quarterly-numbers`.

    `date` is the delivery in microseconds, `sender` and `subject` are decoded header fields (see
    `messages.Headers`). The sender is an address, else a display name, else `unknown`; a subject
    without a letter or digit is left out. Only letters, marks, numbers and `@.+-_=` are in it, in
    NFC. Dates outside the years 1 to 9999 are taken for the nearest within.
    """
    days, minutes = divmod(date // _MINUTE, 24 * 60)
    if not 0 < days + _EPOCH <= _date.max.toordinal():
        days, minutes = (1 - _EPOCH, 0) if date < 0 else (_date.max.toordinal() - _EPOCH, 1439)
    when = f"{_date.fromordinal(days + _EPOCH).isoformat()}T{minutes // 60:02}{minutes % 60:02}"
    who = _words(address(sender), _SENDER) or _words(sender, _SENDER)
    who = _shorten(who, _SENDER_LENGTH)
    if not any(map(str.isalnum, who)):
        who = "unknown"
    what = _words(subject[: 2 * LONGEST], _SUBJECT)
    stem = f"{when}_{who}"
    return _shorten(f"{stem}_{what}" if what else stem, _STEM_LENGTH)


def event_stem(when: str, summary: str) -> str:
    """What the name of an event, a task or a note begins with: `2024-05-01T0900_Team-meeting`.
    `when` is as written, and empty where nothing tells."""
    words = _words(summary[: 2 * LONGEST], _SUBJECT)
    return _shorten("_".join(filter(None, (when, words))) or "unnamed", _STEM_LENGTH)


def contact_stem(name: str) -> str:
    """What a contact's name begins with: `Bob-Baker`."""
    return _shorten(_words(name[: 2 * LONGEST], _SENDER) or "unnamed", _STEM_LENGTH)


def entry_name(kind: int, name: str, item: int) -> str:
    """An item's name in a view: of a described kind made from its stem, else its own."""
    row = traits(kind)
    return described_name(name, item, row.suffix) if row.described else name


def described_name(stem: str, item: int, suffix: str = ".eml") -> str:
    """A described item's name from its stem. Keeps to 200 bytes with a longer suffix, too."""
    tail = f"_{item_id(item)}{suffix}"
    return _shorten(stem, LONGEST - len(tail.encode())) + tail


def folder_name(raw: str) -> str:
    """A folder's or document's own name, fit for an entry of an account or a folder in a view.

    `raw` may be of any bytes, decoded as `os.fsdecode` does. Names with different bytes have
    different results, but for collisions of a 32-bit digest among names that are too long. Escaped
    are: a slash, controls, what reverses the direction of a line or ends it, bytes that are not
    UTF-8, a `%` that would look like an escape, and the first character of a name that has a
    meaning of its own, in any case: `.`, `..`, `.deleted`, `account.json`. An empty name is `%20`.
    A name that is too long is cut, and ends in `~` and eight digits of the BLAKE3 of the whole.
    """
    return _safe(raw, IN_ACCOUNT)


def account_name(raw: str) -> str:
    """An account's own name, fit for an entry of a view: like `folder_name`, but that `.maildir`,
    `README.txt` and the like have or will have a meaning there, and `account.json` has none."""
    return _safe(raw, IN_VIEW)


def with_id(name: str, item: int, *, container: bool = False) -> str:
    """`name` told apart from others by the item's ID: `report~k3f9q2.txt`.

    The name of a container has no suffix that would have to stay: `alice@example.com~k3f9q2`.
    """
    return _insert(name, f"~{item_id(item)}", container)


def unique(name: str, item: int, taken: Callable[[str], bool], *, container: bool = False) -> str:
    """`name` if it isn't taken, else `with_id`; if that is taken too, with a number after the ID.

    `taken` decides whether case matters. It must say no sooner or later.
    """
    if not taken(name):
        return name
    mark = f"~{item_id(item)}"
    tries = (_insert(name, f"{mark}-{n}" if n > 1 else mark, container) for n in count(1))
    return next(candidate for candidate in tries if not taken(candidate))


def name_hash(name: str) -> bytes:
    """8 bytes that are equal for names that differ only in the case of ASCII letters: BLAKE3 of the
    name in UTF-8 with A-Z as a-z. Part of the on-disk format, so it leans on no table of Unicode,
    which grows; what must be unique whatever the case, an ID, is ASCII."""
    return blake3(name.encode("utf-8", "surrogatepass").lower()).digest(length=8)


def _words(text: str, table: _Slug) -> str:
    """What `table` keeps of `text`, in NFC, with one hyphen for each run of other things."""
    text = text.translate(table)
    if text.isascii():
        return "-".join(text.split())
    words = normalize("NFC", text).split()
    return "-".join(filter(None, map(_without_leading_marks, words)))


def _without_leading_marks(word: str) -> str:
    """A mark would attach itself to the hyphen before the word."""
    while word and category(word[0])[0] == "M":
        word = word[1:]
    return word


def _shorten(text: str, limit: int) -> str:
    """As much of `text` as fits in `limit` bytes of UTF-8; a letter goes with its marks."""
    data = text.encode()
    if len(data) <= limit:
        return text
    kept = len(data[:limit].decode("utf-8", "ignore"))
    while kept and category(text[kept])[0] == "M":
        kept -= 1
    return text[:kept].rstrip("-_.")


def _safe(raw: str, reserved: frozenset[str]) -> str:
    name = _UNSAFE.sub(_escape, raw) or "%20"
    if name.casefold() in reserved:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    data = name.encode()
    # A name that looks like the result of a cut is cut as well, lest it be another's. A cut may
    # leave out three bytes of a letter and two of an escape.
    looks_cut = len(data) >= LONGEST - 3 - 2 and _CUT.search(name)
    if len(data) <= LONGEST and not looks_cut:
        return name
    kept = data[: LONGEST - _CUT_LENGTH].decode("utf-8", "ignore")
    return f"{_HALF_ESCAPE.sub('', kept)}~{blake3(data).hexdigest(length=4)}"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", errors))


def _insert(name: str, mark: str, container: bool) -> str:
    """`name` with `mark` before its suffix, cut to the limit before the mark."""
    suffix = None if container else _SUFFIX.search(name)
    root, tail = (name[: suffix.start()], suffix[0]) if suffix else (name, "")
    limit = LONGEST - len((mark + tail).encode())
    data = root.encode()
    if len(data) > limit:
        root = _HALF_ESCAPE.sub("", data[:limit].decode("utf-8", "ignore"))
    return f"{root}{mark}{tail}"
