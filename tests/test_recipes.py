"""Attachments are stored once and decoded, and come back byte for byte, or not at all."""

from __future__ import annotations

import base64
import io
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import engine
from engine.blobs import BlobStore, DirectoryVolume, Form, Location, splitting
from engine.blobs import draft as drafts
from engine.blobs import pack as packs
from engine.blobs.lines import Layout, encode_lines, size_of_lines
from engine.blobs.recipe import (
    Piece,
    Recipe,
    decode_recipe,
    encode_recipe,
    follow_recipe,
    recipe_size,
)
from engine.blobs.splitting import Lines, TextPart, split, split_stream
from engine.blobs.verification import verify, wrong_content
from engine.blobs.writer import PackWriter
from engine.check import check
from engine.domain.errors import BlobDamaged, BlobMissing, ItemUnreadable
from tests.backups import SmallBackup

BACKUP = bytes(range(16))
HEADER = b"Content-Type: image/png\nContent-Transfer-Encoding: Base64\n\n"


def digest(content: bytes) -> bytes:
    return blake3(content).digest()


def lines_of(content: bytes, length: int = 76, ending: bytes = b"\n", ended: bool = True) -> bytes:
    text = base64.b64encode(content)
    lines = [text[start : start + length] for start in range(0, len(text), length)]
    return ending.join(lines) + (ending if ended else b"")


def message(*attachments: bytes, subject: bytes = b"x") -> bytes:
    """Lines of base64, with a header before each and a boundary behind."""
    parts = b"".join(HEADER + lines + b"\n--boundary\n" for lines in attachments)
    return b"Subject: " + subject + b"\n\nHello, here is something.\n--boundary\n" + parts


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that don't compress, the same for the same seed."""
    return blake3(b"%d" % seed).digest(size)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attachments from 60 bytes on, cut after 570, and blobs in parts from 4 KiB on."""
    monkeypatch.setattr(splitting, "LEAST", 60)
    monkeypatch.setattr(splitting, "MOST", 570)
    monkeypatch.setattr(splitting, "_AHEAD", 300)
    monkeypatch.setattr(packs, "PART_SIZE", 4096)


# Lines

layouts = st.builds(Layout, st.integers(1, 63).map(lambda n: 4 * n), st.booleans(), st.booleans())


@given(st.binary(min_size=1, max_size=700), layouts, st.data())
def test_any_range_of_lines(content: bytes, layout: Layout, data: st.DataObject) -> None:
    expected = lines_of(content, layout.length, layout.ending, layout.ended)
    assert encode_lines(content, layout) == expected
    assert size_of_lines(len(content), layout) == len(expected)
    start = data.draw(st.integers(0, len(expected)))
    end = data.draw(st.one_of(st.none(), st.integers(0, len(expected) + 5)))
    assert encode_lines(content, layout, start, end) == expected[start:end]


# Splitting


def joined(pieces: list[TextPart | Lines]) -> bytes:
    return b"".join(
        encode_lines(piece.content, piece.layout) if isinstance(piece, Lines) else piece.content
        for piece in pieces
    )


def attachments(pieces: list[TextPart | Lines]) -> list[bytes]:
    return [piece.content for piece in pieces if isinstance(piece, Lines)]


@pytest.mark.parametrize("length", [4, 60, 64, 72, 76, 252])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [5000, 57 * 100, 57 * 100 + 1])
@pytest.mark.parametrize("ended", [True, False])
def test_an_attachment_is_found(length: int, ending: bytes, size: int, ended: bool) -> None:
    content = noise(size)
    mail = b"text\n" + HEADER + lines_of(content, length, ending, ended)
    for behind in (b"", b"\n--boundary--\n") if ended else (b"",):
        found = split(mail + behind)
        assert joined(found) == mail + behind
        assert attachments(found) == [content]
        assert len(found) == 2 + bool(behind)


def test_several_attachments_are_found_each() -> None:
    contents = [noise(size, size) for size in (5000, 9000, 20_000)]
    found = split(message(*map(lines_of, contents)))
    assert attachments(found) == contents
    assert [type(piece) for piece in found] == [TextPart, Lines] * 3 + [TextPart]


GOOD = lines_of(noise(6000))


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        GOOD,
        HEADER.replace(b"Base64", b"8bit") + GOOD,
        HEADER.replace(b"\n\n", b"\n") + GOOD,
        HEADER + lines_of(noise(4000)),
        HEADER + lines_of(noise(6000), 74),
        HEADER + lines_of(noise(6000), 256),
        HEADER + GOOD[:3000] + b"\n" + GOOD[3000:],
        HEADER + GOOD[:3000] + b"-" + GOOD[3001:],
        HEADER + GOOD[:3000] + b" " + GOOD[3001:],
        HEADER + GOOD[:3002] + b"==" + GOOD[3004:],
        HEADER + GOOD.replace(b"\n", b"\r"),
        HEADER + GOOD.replace(b"\n", b" \n"),
        HEADER + b"x" * 5000 + b"\n",
        HEADER + b"\n" * 9000,
    ],
)
def test_what_would_not_come_back_stays_text(mail: bytes) -> None:
    assert joined(split(mail)) == mail
    assert attachments(split(mail)) == []


def test_bits_that_padding_hides_are_not_lost() -> None:
    """`AA==` and `AB==` are the same byte."""
    sound = lines_of(bytes(57 * 80 + 1))
    assert sound.endswith(b"AA==\n")
    crooked = sound[:-4] + b"B==\n"
    assert joined(split(HEADER + crooked)) == HEADER + crooked
    assert attachments(split(HEADER + crooked)) == [bytes(57 * 80)]


def test_a_long_attachment_is_cut_the_same_whatever_its_lines() -> None:
    content = noise(2 * splitting.MOST + 10_000)
    cuts = {
        tuple(map(digest, attachments(split(HEADER + lines_of(content, length)))))
        for length in (60, 64, 72, 76)
    }
    assert len(cuts) == 1
    assert list(map(len, cuts)) == [3]


run = st.builds(
    lines_of,
    st.binary(max_size=50).flatmap(lambda seed: st.integers(0, 40).map(lambda n: seed * n)),
    st.sampled_from([4, 16, 60, 62, 76, 77]),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
mails = st.lists(
    st.one_of(
        run,
        st.just(HEADER),
        st.just(HEADER.replace(b"\n", b"\r\n")),
        st.sampled_from([b"base64", b"\n\n", b"=", b"\r\n", b"AAAA\n", b"Hello\n", b"x" * 310]),
        st.binary(max_size=20),
    ),
    max_size=12,
).map(b"".join)


@given(mails, st.lists(st.integers(0, 3000), max_size=6), st.data())
def test_whatever_comes_comes_back(mail: bytes, cuts: list[int], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "LEAST", 60)
        patch.setattr(splitting, "MOST", 570)
        patch.setattr(splitting, "_AHEAD", 300)
        if mail:
            at = data.draw(st.integers(0, len(mail) - 1))
            flip = data.draw(st.sampled_from([b"", b"*", b"\n", b"A"]))
            mail = mail[:at] + flip + mail[at + 1 :]
        assert joined(split(mail)) == mail
        assert all(60 <= len(one) <= 570 for one in attachments(split(mail)))
        edges = [0, *sorted(cuts), len(mail)]
        windows = [mail[start:end] for start, end in pairwise(edges)]
        assert joined(list(split_stream(windows))) == mail


@pytest.mark.usefixtures("little")
def test_windows_may_be_cut_anywhere() -> None:
    mail = message(
        lines_of(noise(1500)), lines_of(noise(900, 1), 64, b"\r\n"), lines_of(noise(130, 2))
    )
    expected = attachments(split(mail))
    assert b"".join(expected) == noise(1500) + noise(900, 1) + noise(130, 2)
    for cut in range(len(mail)):
        found = list(split_stream([mail[:cut], mail[cut:]]))
        assert joined(found) == mail
        assert attachments(found) == expected


# Recipes

D = digest(b"piece")
PIECES = (
    Piece(3, D, 100, Layout(76, True, False)),
    Piece(0, D, 50, None),
    Piece(2, D, 7, Layout(4, False, True)),
)


def test_recipe_round_trip() -> None:
    data = encode_recipe(PIECES, b"one, two")
    size = sum(piece.length for piece in PIECES) + 8
    assert len(data) == recipe_size(3, 8)
    assert decode_recipe(data, size) == Recipe(PIECES, b"one, two")
    for length in range(len(data)):
        with pytest.raises(BlobDamaged):
            decode_recipe(data[:length], size)
    for wrong in (size - 1, size + 1):
        with pytest.raises(BlobDamaged, match="bytes it should have"):
            decode_recipe(data, wrong)


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        ((0, D, 0, 0, 0), "can't be"),
        ((0, D, 1000, 0, 0), "can't be"),
        ((0, D, packs.PART_SIZE + 1, 0, 0), "can't be"),
        ((0, D, 10, 6, 0), "can't be"),
        ((0, D, 10, 0, 1), "unknown form"),
        ((0, D, 10, 76, 4), "unknown form"),
        ((991, D, 10, 0, 0), "more text"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(
    piece: tuple[Any, ...], reason: str
) -> None:
    before, name, size, length, ending = piece
    data = (1).to_bytes(4, "big") + before.to_bytes(4, "big") + name + size.to_bytes(4, "big")
    data += bytes([length, ending]) + b"t" * 990
    with pytest.raises(BlobDamaged, match=reason):
        decode_recipe(data, 1000)


def test_any_range_of_a_recipe() -> None:
    content = {100: noise(100), 50: noise(50), 7: noise(7)}
    recipe = Recipe(PIECES, b"one, two")
    first, _, third = PIECES
    assert first.layout
    assert third.layout
    whole = b"one" + encode_lines(content[100], first.layout) + content[50] + b", "
    whole += encode_lines(content[7], third.layout) + b"two"
    asked: list[int] = []

    def fetch(piece: Piece) -> bytes:
        asked.append(piece.size)
        return content[piece.size]

    for start in range(len(whole) + 2):
        for end in range(len(whole) + 2):
            assert follow_recipe(recipe, start, end, fetch) == whole[start:end]
    asked.clear()
    follow_recipe(recipe, 0, 3, fetch)
    follow_recipe(recipe, len(whole) - 3, len(whole), fetch)
    assert asked == []


# Stored


class Desk:
    """Packs and an index in memory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.volume = DirectoryVolume(directory)
        self.rows: dict[bytes, Location] = {}
        self.lengths: dict[int, int] = {}

    def locate(self, name: bytes) -> Location:
        if name not in self.rows:
            raise BlobMissing(f"blob {name.hex()}: not in the index")
        return self.rows[name]

    def writer(self, **options: Any) -> PackWriter:
        options = {"threads": 0} | options
        known, committed = self.rows.__contains__, self.lengths.get
        return PackWriter(self.volume, BACKUP, known=known, committed=committed, **options)

    def commit(self, writer: PackWriter) -> None:
        flushed = writer.flush()
        self.rows |= dict(flushed.blobs)
        self.lengths |= flushed.lengths

    def add(self, *contents: bytes, **options: Any) -> None:
        with self.writer(**options) as writer:
            for content in contents:
                writer.add(content)
            self.commit(writer)

    @property
    def store(self) -> BlobStore:
        """One that remembers nothing."""
        return BlobStore(self.volume, self.locate)

    def read(self, content: bytes, *span: int) -> bytes:
        return self.store.read(digest(content), self.rows[digest(content)], *span)

    def form(self, content: bytes) -> Form:
        return self.rows[digest(content)].form

    @property
    def pieces(self) -> list[bytes]:
        return [name for name, place in self.rows.items() if place.form is Form.PIECE]

    @property
    def files(self) -> list[Path]:
        return sorted(self.volume.path.glob("*/*.pack"))

    def faults(self) -> list[str]:
        """What a deep check of all packs and all recipes finds."""
        faults = [
            verdict.reason
            for stored in self.volume.list()
            for verdict in verify(self.volume, stored.id, deep=True)
        ]
        faults += [
            wrong_content(self.store, name, place)
            for name, place in self.rows.items()
            if place.form is Form.RECIPE
        ]
        return [fault for fault in faults if fault]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "packs")
    yield desk
    desk.volume.close()


def test_an_attachment_of_several_messages_is_stored_once(desk: Desk) -> None:
    content = noise(300_000)
    mails = [
        message(lines_of(content), subject=b"first"),
        message(lines_of(content), subject=b"again"),
        message(lines_of(content, 72, b"\r\n"), subject=b"by another program"),
        message(lines_of(content, 60, ended=False), lines_of(content), subject=b"twice"),
    ]
    desk.add(*mails[:2])
    desk.add(*mails[2:])
    assert [desk.form(mail) for mail in mails] == [Form.RECIPE] * 4
    assert desk.pieces == [digest(content)]
    assert sum(file.stat().st_size for file in desk.files) < 305_000
    assert [desk.read(mail) for mail in mails] == mails
    assert desk.faults() == []
    store = desk.store
    last = desk.rows[digest(mails[3])]
    assert store.pieces(digest(mails[3]), last) == [digest(content)] * 2
    assert store.pieces(digest(content), desk.rows[digest(content)]) == []


@pytest.mark.usefixtures("little")
def test_any_range_of_a_stored_message(desk: Desk) -> None:
    mail = message(lines_of(noise(700)), lines_of(noise(100, 1), 64, b"\r\n"))
    desk.add(b"before", mail, b"after")
    assert desk.form(mail) is Form.RECIPE
    store, name = desk.store, digest(mail)
    for offset in range(len(mail) + 3):
        for size in (0, 1, 5, 76, 77, 78, 500, 5000):
            expected = mail[offset : offset + size]
            assert store.read(name, desk.rows[name], offset, size) == expected
        assert store.read(name, desk.rows[name], offset) == mail[offset:]


def test_a_message_that_is_attached_to_another(desk: Desk) -> None:
    """Its blob is a recipe already, or becomes one of the pieces first."""
    inner = message(lines_of(noise(9000)))
    outer = message(lines_of(inner), subject=b"forwarded")
    outermost = message(lines_of(outer), subject=b"and again")
    desk.add(inner, outer, outermost)
    assert [desk.form(mail) for mail in (inner, outer, outermost)] == [Form.RECIPE] * 3
    assert [desk.read(mail) for mail in (inner, outer, outermost)] == [inner, outer, outermost]
    assert desk.faults() == []
    other = message(lines_of(noise(9000, 1)))
    desk.add(message(lines_of(other)))
    desk.add(other)
    assert desk.form(other) is Form.PIECE
    assert desk.read(other) == other


@pytest.mark.usefixtures("little")
def test_every_flipped_byte_is_found_and_never_served(desk: Desk) -> None:
    mails = [
        message(lines_of(noise(200))),
        b"without attachments",
        message(lines_of(noise(200)), lines_of(noise(90, 1)), subject=b"y"),
    ]
    desk.add(*mails)
    (path,) = desk.files
    sound = path.read_bytes()
    for position in range(packs.HEADER_SIZE, len(sound)):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        desk.volume.close()
        assert desk.faults()
        served = 0
        for mail in mails:
            try:
                found = desk.read(mail)
            except BlobDamaged as error:
                told = str(error)
            else:
                assert found == mail
                served += 1
                continue
            assert digest(mail).hex() in told
        assert served < len(mails)


def test_a_piece_that_is_not_there_or_another(desk: Desk) -> None:
    mail = message(lines_of(noise(9000)))
    desk.add(mail)
    (piece,) = desk.pieces
    right = desk.rows.pop(piece)
    with pytest.raises(BlobDamaged, match=f"{digest(mail).hex()}.*not in the index"):
        desk.read(mail)
    with pytest.raises(BlobDamaged, match="no index"):
        BlobStore(desk.volume).read(digest(mail), desk.rows[digest(mail)])
    for wrong in (
        replace(right, size=9001),
        replace(right, record=right.record + 1),
        replace(right, form=Form.WHOLE),
        replace(right, form=Form.RECIPE),
        desk.rows[digest(mail)],
        replace(desk.rows[digest(mail)], size=9000),
    ):
        desk.rows[piece] = wrong
        with pytest.raises(BlobDamaged, match="piece"):
            desk.read(mail)
    desk.rows[piece] = right
    assert desk.read(mail) == mail
    for form in (Form.WHOLE, Form.PIECE):
        desk.rows[digest(mail)] = replace(desk.rows[digest(mail)], form=form)
        with pytest.raises(BlobDamaged, match="doesn't hold it"):
            desk.read(mail)


# Crashes


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("threads", [0, 2])
def test_a_torn_tail_of_any_length(desk: Desk, threads: int) -> None:
    """A recipe is adopted only with its pieces, and what isn't adopted is stored anew."""
    mails = [message(lines_of(noise(300, n), 64), subject=b"%d" % n) for n in range(4)]
    desk.add(mails[0])
    (path,) = desk.files
    start = path.stat().st_size
    with desk.writer(frame_size=500, threads=threads) as writer:
        for mail in mails:
            writer.add(mail)
        writer.flush()
    whole = path.read_bytes()
    for length in range(start, len(whole) + 1, 3):
        path.write_bytes(whole[:length])
        desk.volume.close()
        later = Desk(desk.volume.path)
        later.rows |= desk.rows
        later.lengths |= desk.lengths
        later.add(mails[3])
        assert [later.read(mail) for mail in mails if digest(mail) in later.rows]
        assert later.faults() == []
        assert later.read(mails[3]) == mails[3]
        later.volume.close()


LISTING = DirectoryVolume.list


@pytest.mark.usefixtures("little")
def test_a_recipe_whose_piece_never_became_durable_is_left_alone(desk: Desk) -> None:
    """The power fails when one pack is on the disk, and not yet the one before."""
    mail = message(lines_of(noise(500)))
    with desk.writer(pack_size=300) as writer:
        writer.add(mail)
        flushed = writer.flush()
    first = dict(flushed.blobs)[digest(noise(500))].pack
    second = dict(flushed.blobs)[digest(mail)].pack
    assert first != second
    paths = {int(path.stem, 16): path for path in desk.files}
    lost = paths[first].read_bytes()
    left = paths[second].read_bytes()
    os.truncate(paths[first], packs.HEADER_SIZE)
    with desk.writer() as writer:
        writer.add(b"other")
        assert digest(mail) not in dict(writer.flush().blobs)
    assert paths[second].read_bytes() == left
    desk.add(mail)
    assert desk.read(mail) == mail
    assert paths[second].read_bytes() == left

    # Where nothing is lost, it doesn't matter which pack is looked at first.
    desk.volume.close()
    for path in desk.files:
        path.unlink()
    for pack, data in ((first, lost), (second, left)):
        paths[pack].write_bytes(data)
    for order in (sorted, lambda found, key: sorted(found, key=key, reverse=True)):
        again = Desk(desk.volume.path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                DirectoryVolume,
                "list",
                lambda volume, by=order: iter(by(LISTING(volume), key=lambda one: one.id)),
            )
            again.add(b"another")
        assert again.read(mail) == mail
        again.volume.close()
        for pack, data in ((first, lost), (second, left)):
            paths[pack].write_bytes(data)


# Streams


def large(count: int, seed: int = 0) -> bytes:
    return message(*(lines_of(noise(900, seed + n)) for n in range(count)), subject=b"large")


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("add", [PackWriter.add, lambda w, mail: w.add_stream(io.BytesIO(mail))])
def test_a_large_message_is_a_recipe_too(
    desk: Desk, add: Callable[[PackWriter, bytes], object]
) -> None:
    mail = large(15)
    assert len(mail) > 4 * packs.PART_SIZE
    with desk.writer(pack_size=10_000) as writer:
        add(writer, mail)
        add(writer, mail)
        desk.commit(writer)
        add(writer, mail)
        assert writer.flush().blobs == []
    assert desk.form(mail) is Form.RECIPE
    assert len(desk.pieces) == 30
    assert len(desk.files) > 1
    assert desk.read(mail) == mail
    assert desk.read(mail, 9000, 5000) == mail[9000:14_000]
    store = desk.store
    assert b"".join(store.chunks(digest(mail), desk.rows[digest(mail)])) == mail
    assert desk.faults() == []


@pytest.mark.usefixtures("little")
def test_much_text_and_many_attachments_become_pieces(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "MAX_TEXT", 1000)
    monkeypatch.setattr(drafts, "MAX_PIECES", 20)
    mail = large(8) + b"text " * 4000 + large(20, 50)
    with desk.writer() as writer:
        writer.add_stream(io.BytesIO(mail))
        desk.commit(writer)
    assert desk.read(mail) == mail
    ((_, place),) = [row for row in desk.rows.items() if row[1].form is Form.RECIPE]
    assert max(desk.rows[piece].size for piece in desk.pieces) == packs.PART_SIZE
    assert len(desk.store.pieces(digest(mail), place)) < 40
    monkeypatch.setattr(packs, "PART_SIZE", 300)
    with desk.writer() as writer, pytest.raises(ItemUnreadable, match="can't be stored"):
        writer.add_stream(io.BytesIO(large(9, 100)))


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("text", [0, 512, 513, 990])
def test_a_recipe_fits_into_a_record(monkeypatch: pytest.MonkeyPatch, text: int) -> None:
    """85 pieces and 522 bytes of text are 4096 bytes."""
    monkeypatch.setattr(drafts, "MAX_TEXT", 1000)
    draft = drafts.RecipeDraft(digest, whole=False)
    for _ in range(85):
        draft.add(Lines(noise(60), Layout(76, False, True)))
    draft.add(TextPart(bytes(text)))
    draft.add(TextPart(b"ten bytes."))
    if text <= 512:
        assert len(draft.encode()) == recipe_size(85, text + 10) <= packs.PART_SIZE
    else:
        with pytest.raises(ItemUnreadable, match="can't be stored"):
            draft.encode()


class Failing(io.RawIOBase):
    """A file that can't be read after some bytes."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        if not data:
            raise ItemUnreadable("the source is gone")
        return data


@pytest.mark.usefixtures("little")
def test_a_stream_that_fails_adds_no_message_and_loses_none(desk: Desk) -> None:
    mail = large(20)
    with desk.writer() as writer:
        writer.add(b"before")
        with pytest.raises(ItemUnreadable):
            writer.add_stream(Failing(mail))  # type: ignore[arg-type]
        desk.commit(writer)
    assert {place.form for place in desk.rows.values()} == {Form.WHOLE, Form.PIECE}
    pieces = set(desk.pieces)
    assert len(pieces) > 10
    desk.add(mail)
    assert set(desk.pieces) > pieces
    assert desk.read(mail) == mail


class Endless(io.RawIOBase):
    """A message with one attachment of zeros, as long as wanted."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._rest = HEADER

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size and self._left:
            count = min(self._left, 50_000)
            self._rest += (b"A" * 76 + b"\n") * count
            self._left -= count
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def test_a_stream_takes_bounded_memory(desk: Desk) -> None:
    lines = 700_000
    source: BinaryIO = Endless(lines)  # type: ignore[assignment]
    with desk.writer() as writer:
        tracemalloc.start()
        try:
            name, size = writer.add_stream(source)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        desk.commit(writer)
    assert size == len(HEADER) + 77 * lines
    assert peak < 40 << 20
    assert len(desk.pieces) == 2  # all but the last are the same
    middle = desk.store.read(name, desk.rows[name], len(HEADER) + 77 * 400_000 - 3, 80)
    assert middle == b"AA\n" + b"A" * 76 + b"\n"


# The check


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallBackup]:
    """Two messages with the same attachment, and others without any."""
    small = SmallBackup(tmp_path / "backup")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    small.messages(alice, inbox, [MAIL, TWIN, b"Subject: plain\n\nHello\n"])
    small.scan_end()
    yield small
    small.close()


MAIL = message(lines_of(noise(200_000)))
TWIN = message(lines_of(noise(200_000), 72), subject=b"twin")
PIECE = digest(noise(200_000))


def test_a_damaged_piece_names_the_messages_that_need_it(small: SmallBackup) -> None:
    place = small.backup.location(PIECE)
    (path,) = (small.path / "packs").rglob("*.pack")
    data = bytearray(path.read_bytes())
    data[place.record + 1000] ^= 1
    for deep in (False, True):
        assert check(small.backup, deep=deep).ok
    path.write_bytes(data)
    for deep in (False, True):
        report = check(small.backup, deep=deep)
        assert report.kinds() == {"blob-damaged"}
        told = " ".join(problem.what for problem in report.problems)
        assert all(name.hex() in told for name in (PIECE, digest(MAIL), digest(TWIN)))


def test_a_piece_that_the_index_lost_is_found_again(small: SmallBackup) -> None:
    environment = small.backup.journal.environment
    with environment.write() as txn:
        txn.delete(PIECE, db=environment.tables.blobs)
    for deep in (False, True):
        assert check(small.backup, deep=deep).kinds() >= {"index", "piece"}
    assert check(small.backup, repair=True).ok
    assert small.backup.read_blob(digest(TWIN)) == TWIN


def test_the_index_is_made_anew_from_packs_alone(small: SmallBackup) -> None:
    environment = small.backup.journal.environment
    with environment.write() as txn:
        before = list(txn.cursor(environment.tables.blobs))
        txn.drop(environment.tables.blobs, delete=False)
    assert check(small.backup, repair=True, deep=True).ok
    with small.backup.reader() as reader:
        assert list(reader.txn.cursor(reader.tables.blobs)) == before
    assert small.backup.read_blob(digest(MAIL)) == MAIL


# The specification


def test_the_example_is_what_the_specification_says() -> None:
    text = (Path(engine.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
    dump = re.search(r"<!-- example: recipe -->\n```\n(.*?)```", text, re.S)
    assert dump
    data = bytes.fromhex("".join(line[6:53] for line in dump[1].splitlines()))
    content = b"Hello, attachment!"
    layout = Layout(12, True, True)
    recipe = Recipe((Piece(18, digest(content), 18, layout),), b"Subject: Hello\r\n\r\nBye.\r\n")
    mail = b"Subject: Hello\r\n\r\nSGVsbG8sIGF0\r\ndGFjaG1lbnQh\r\nBye.\r\n"
    assert decode_recipe(data, len(mail)) == recipe
    assert encode_recipe(*recipe) == data
    assert follow_recipe(recipe, 0, len(mail), lambda piece: content) == mail
