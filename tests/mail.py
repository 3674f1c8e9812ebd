"""Made-up mail for tests and the demo, of the kinds and sizes that mailboxes hold.

Everything is derived from a seed, so the same call gives the same bytes. The people, their words
and their domains (example.com, .org and .net) are invented. Messages that break rules are in
`tests.oddities`.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import NamedTuple
from urllib.parse import quote


class Person(NamedTuple):
    """Somebody who writes mail."""

    name: str
    address: str


class Letter(NamedTuple):
    """A message and what a mailbox knows of it."""

    raw: bytes
    delivered: int
    """Microseconds since the epoch."""
    folder: str
    """Nested folders are separated by slashes."""
    flags: str
    """Maildir letters, sorted; empty for one that no client has seen."""
    keywords: tuple[str, ...]
    subject: str
    sender: Person


PEOPLE = [
    Person("Alice Archer", "alice@example.com"),
    Person("Bob Baker", "bob@example.com"),
    Person("Carla Costa", "carla@example.org"),
    Person("Zoë Müller", "zoe.mueller@example.net"),
    Person("Łukasz Żak", "lukasz@example.org"),
    Person("Ольга Белова", "olga@example.net"),
    Person("田中 花子", "hanako@example.com"),
    Person("Dr. O'Neill, Sean", "sean.oneill@example.org"),
    Person("", "no-reply@example.net"),
]

FOLDERS = ["INBOX", "INBOX", "INBOX", "INBOX", "Sent", "Work", "Work/Apollo", "Lists", "Trash"]
"""Where letters go, the more often the more likely."""

SUBJECTS = [
    "Quarterly numbers",
    "Minutes of {day}'s meeting",
    "Offer {number}",
    "Re-design of the {thing}",
    "Lunch on {day}?",
    "Invoice {number} for the {thing}",
    "Your order {number} has left our warehouse",
    "Grüße aus Köln: die Pläne für {number}",
    "Déjeuner de {number} personnes, c'est noté",
    "会議の資料 {number}",
    "Отчёт за квартал {number}",
    "☀ Summer party, room {number}",
    "A question about the {thing}, the {thing} next to it, what {person} said of both on {day}, "
    "and whether it still holds now that the {thing} is to be moved before the end of the month",
]

SENTENCES = [
    "I have looked at the {thing} again, and I think that we should wait until {day}.",
    "{person} says that {number} of them are left, which will do for this year.",
    "Could you send me the list that we talked about on {day}?",
    "The {thing} came back from repair yesterday and works as it should.",
    "Nobody was at the desk, so I left the key with {person}.",
    "We sold {number} last month, after {number} in the month before.",
    "Please have a look at the second page and tell me whether the figures are right.",
    "If the {thing} is late again we shall have to ask somebody else.",
    "My train leaves at half past six, so let us begin early.",
    "There is a draft in the shared folder; the older one can be thrown away.",
    "It rained all {day}, and the cellar is dry, which is good news for the archive.",
    "The price is {number} for one and less for ten or more.",
    "I am away from {day} on; {person} has all the papers.",
    "Thank you for the {thing}, it was just what we needed.",
    "Das Angebot über {number} Stück gilt bis {day}; größere Mengen bitte anfragen.",
    "Pourriez-vous vérifier le numéro {number} avant la fin de la semaine ?",
    "Мы получили {number} писем и ответим на них завтра.",
    "資料は{number}ページあります。",
    "As {person} put it: whoever moves the {thing} owns it.",
    "We agreed on three things: the {thing}, the {thing}, and to meet again on {day}.",
    "What I don't understand is why the numbers of {day} differ from those of the week before.",
    "The new colleague starts on {day} and needs a desk, a chair and a {thing}.",
    "Until then, please don't touch the {thing} in room {number}.",
    "All in all it went better than the last time, and nobody had to stay late.",
]

THINGS = ["printer", "contract", "north wing", "coffee machine", "catalogue", "projector", "budget"]
THINGS += ["bicycle shed", "phone list", "display", "ladder", "plan", "garden", "second floor"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
KEYWORDS = ["$Forwarded", "$Junk", "todo", "Größe"]

_START = int(datetime(2024, 1, 8, 7, 30, tzinfo=UTC).timestamp()) * 1_000_000


def letters(
    seed: int,
    count: int,
    *,
    start: int = _START,
    folders: Sequence[str] = FOLDERS,
    owner: Person = PEOPLE[0],
) -> Iterator[Letter]:
    """`count` letters to `owner`, one after the other, some minutes apart from `start` on.

    About 20,000 can be made in ten seconds. The median is near 4.5 KB, nine of ten under 16 KB.
    """
    rng = Random(seed)
    kinds: list[Callable[[Random, Person], _Draft]] = [_plain, _hypertext, _list_post, _files]
    delivered, recent = start, [_plain(rng, PEOPLE[1])]
    for number in range(count):
        delivered += rng.randrange(1_000_000, 3_600_000_000)
        sender = rng.choice(PEOPLE)
        if rng.random() < 0.25:
            draft = _reply(rng, sender, rng.choice(recent))
        else:
            draft = rng.choices(kinds, (40, 40, 13, 7))[0](rng, sender)
        draft = draft._replace(identity=f"{seed}.{number}.{rng.getrandbits(48):x}@mail.example.org")
        recent = [*recent[-9:], draft]
        raw = _letter(rng, draft, owner, delivered)
        flags = "".join(flag for flag in "FRS" if rng.random() < (0.8 if flag == "S" else 0.1))
        yield Letter(
            raw=raw.replace(b"\n", b"\r\n") if rng.random() < 0.05 else raw,
            delivered=delivered,
            folder=rng.choice(folders),
            flags=flags,
            keywords=(rng.choice(KEYWORDS),) if flags and rng.random() < 0.1 else (),
            subject=draft.subject,
            sender=sender,
        )


def compose(
    sender: Person,
    to: Person,
    subject: str,
    text: str,
    *,
    delivered: int,
    files: Sequence[tuple[str, bytes]] = (),
    seed: int = 0,
) -> bytes:
    """One message of given words, with `files` (name, content) attached."""
    rng = Random(f"{seed} {delivered} {subject}")
    body = _mixed(rng, _text(text), [_part(name, content) for name, content in files])
    identity = f"{rng.getrandbits(64):x}@mail.example.org"
    return _letter(rng, _Draft(subject, sender, body, text, identity), to, delivered)


class _Draft(NamedTuple):
    """A message before it gets its envelope."""

    subject: str
    sender: Person
    body: str
    """MIME headers of the body, an empty line, the body."""
    text: str
    """What an answer quotes."""
    identity: str = ""
    headers: tuple[str, ...] = ()


def _plain(rng: Random, sender: Person) -> _Draft:
    text = _prose(rng, int(rng.lognormvariate(7.3, 0.9)))
    return _Draft(_subject(rng), sender, _text(text), text)


def _reply(rng: Random, sender: Person, answered: _Draft) -> _Draft:
    quoted = "\n".join(f"> {line}".rstrip() for line in answered.text.splitlines())
    text = f"{answered.sender.name or 'You'} wrote:\n{quoted}\n\n{_prose(rng, 400)}"
    headers = (f"In-Reply-To: <{answered.identity}>", f"References: <{answered.identity}>")
    subject = f"Re: {answered.subject.removeprefix('Re: ')}"
    return _Draft(subject, sender, _text(text), text, headers=headers if answered.identity else ())


def _list_post(rng: Random, sender: Person) -> _Draft:
    draft = _plain(rng, sender)
    headers = (
        "List-Id: Friends of old lifts <lifts.example.org>",
        "List-Post: <mailto:lifts@example.org>",
        "List-Unsubscribe: <mailto:lifts-leave@example.org>",
        "Precedence: list",
    )
    return draft._replace(subject=f"[lifts] {draft.subject}", headers=headers)


def _hypertext(rng: Random, sender: Person) -> _Draft:
    text = _prose(rng, int(rng.lognormvariate(7.3, 0.8)))
    rows = "\n".join(
        f'<tr><td style="padding:8px 0;font-family:sans-serif;color:#333">{paragraph}</td></tr>'
        for paragraph in text.split("\n\n")
    )
    page = f'<html><body><table width="600" align="center">\n{rows}\n</table></body></html>\n'
    mark = _mark(rng)
    return _Draft(
        _subject(rng),
        sender,
        f'Content-Type: multipart/alternative; boundary="{mark}"\n\n'
        f"--{mark}\n{_text(text)}\n--{mark}\n{_text(page, 'html')}\n--{mark}--\n",
        text,
    )


def _files(rng: Random, sender: Person) -> _Draft:
    text = _prose(rng, 500)
    parts = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        size = min(int(rng.lognormvariate(10, 1.2)), 2_000_000)
        name = rng.choice(("plan.pdf", "photo.jpg", "Übersicht.zip", "数字.csv", "notes (2).txt"))
        if name.endswith((".csv", ".txt")):
            line = f"{rng.choice(THINGS)};{rng.randrange(10**6)};{rng.choice(DAYS)}\n"
            content = (line * (size // len(line) + 1)).encode()
        else:
            content = rng.randbytes(size)
        parts.append(_part(name, content))
    return _Draft(_subject(rng), sender, _mixed(rng, _text(text), parts), text)


def _letter(rng: Random, draft: _Draft, to: Person, delivered: int) -> bytes:
    """The whole message, as a server would store it: with LF, and raw UTF-8 in some headers."""
    date = datetime.fromtimestamp(delivered // 1_000_000, UTC)
    encode = _raw_header if rng.random() < 0.1 else _encoded_header
    seal = base64.b64encode(rng.randbytes(256)).decode()
    lines = [
        f"Return-Path: <{draft.sender.address}>",
        f"Delivered-To: {to.address}",
        *(
            f"Received: from {relay}.example.net ({relay} [192.0.2.{rng.randrange(254)}])"
            f"\n\tby mx.example.com with ESMTPS id {rng.getrandbits(40):010x}"
            f"\n\tfor <{to.address}>; {format_datetime(date)}"
            for relay in rng.sample(("mail", "out", "relay", "gate"), rng.randrange(1, 4))
        ),
        "DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=2024;\n\tb="
        + "\n\t ".join(textwrap.wrap(seal, 70)),
        encode("From", draft.sender.name, draft.sender.address),
        encode("To", to.name, to.address),
        encode("Subject", draft.subject),
        f"Date: {format_datetime(date)}",
        f"Message-ID: <{draft.identity}>",
        *draft.headers,
        "MIME-Version: 1.0",
    ]
    return ("\n".join(lines) + "\n" + draft.body).encode()


def _encoded_header(name: str, text: str, address: str = "") -> str:
    """A header in ASCII: what isn't is in encoded words (RFC 2047), long ones are folded."""
    if text.isascii():
        if address and text:
            text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        folded = textwrap.wrap(text, 76 - len(name), break_long_words=False) or [""]
    else:
        folded = [""]
        for character in text:
            if len((folded[-1] + character).encode()) > 42:
                folded.append("")
            folded[-1] += character
        folded = [f"=?utf-8?b?{base64.b64encode(word.encode()).decode()}?=" for word in folded]
    if address:
        folded[-1] = f"{folded[-1]} <{address}>".lstrip()
    return f"{name}: " + "\n ".join(folded)


def _raw_header(name: str, text: str, address: str = "") -> str:
    """A header in one line of raw UTF-8 (RFC 6532)."""
    if address:
        return f'{name}: "{text}" <{address}>' if text else f"{name}: {address}"
    return f"{name}: {text}"


def _text(text: str, subtype: str = "plain") -> str:
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        + text.rstrip("\n")
        + "\n"
    )


def _part(name: str, content: bytes) -> str:
    """An attachment. A name that isn't ASCII is written as RFC 2231 says."""
    named = f'filename="{name}"' if name.isascii() else f"filename*=utf-8''{quote(name)}"
    kind = {"pdf": "application/pdf", "jpg": "image/jpeg", "csv": "text/csv", "txt": "text/plain"}
    return (
        f"Content-Type: {kind.get(name.rpartition('.')[2], 'application/octet-stream')}\n"
        f"Content-Disposition: attachment; {named}\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(content).decode()
    )


def _mixed(rng: Random, first: str, parts: list[str]) -> str:
    if not parts:
        return first
    mark = _mark(rng)
    inner = "".join(f"--{mark}\n{part}\n" for part in [first, *parts])
    return f'Content-Type: multipart/mixed; boundary="{mark}"\n\n{inner}--{mark}--\n'


def _mark(rng: Random) -> str:
    return f"=_{rng.getrandbits(96):024x}"


def _subject(rng: Random) -> str:
    return _filled(rng, rng.choice(SUBJECTS))


def _prose(rng: Random, length: int) -> str:
    """Paragraphs of about `length` characters in all, with a signature."""
    paragraphs, size = ["Hello,"], 0
    while size < length:
        sentences = [_filled(rng, rng.choice(SENTENCES)) for _ in range(rng.randrange(2, 6))]
        paragraphs.append("\n".join(textwrap.wrap(" ".join(sentences), 72)))
        size += len(paragraphs[-1])
    return "\n\n".join(paragraphs) + "\n\n-- \nsent from a desk with a view\n"


def _filled(rng: Random, template: str) -> str:
    """`template` with every slot filled, each anew."""
    text = template
    for slot, choices in (("{thing}", THINGS), ("{day}", DAYS)):
        while slot in text:
            text = text.replace(slot, rng.choice(choices), 1)
    while "{person}" in text:
        text = text.replace("{person}", rng.choice(PEOPLE[:-1]).name, 1)
    while "{number}" in text:
        text = text.replace("{number}", str(rng.randrange(2, 10**4)), 1)
    return text
