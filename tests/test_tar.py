"""Archives from strangers: what is in them is told or refused, and never costs more than it is.

What is measured is memory and the number of bytes read, which are the same on any machine.
"""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.exchange.imports.tar import BLOCK, TarError, TarMember, TarReader

MEMORY = 4 << 20
"""What reading any archive may take, in bytes, but for what is asked for."""


class Stream:
    """Bytes, then zeros without end if `endless`; counts what was read."""

    def __init__(self, raw: bytes, *, endless: bool = False, step: int = 1 << 30) -> None:
        self._file = io.BytesIO(raw)
        self._endless = endless
        self._step = step
        self.count = 0

    def read(self, limit: int) -> bytes:
        assert limit > 0
        data = self._file.read(min(limit, self._step))
        if not data and self._endless:
            data = bytes(min(limit, self._step))
        self.count += len(data)
        return data


def members(stream: Stream) -> Iterator[tuple[TarMember, bytes]]:
    reader = TarReader(stream.read)
    while (member := reader.next()) is not None:
        yield member, b"".join(iter(lambda: reader.read(1000), b""))


def told(raw: bytes, step: int = 1 << 30) -> list[tuple[TarMember, bytes]]:
    return list(members(Stream(raw, step=step)))


def packed(*files: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in files:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def info(name: str, **changes: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def header(name: bytes, size: bytes = b"00000000000", kind: bytes = b"0") -> bytes:
    """A block with a right checksum, whatever is in it."""
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\00000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def filled(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


END = bytes(2 * BLOCK)
LONG = "directory/" * 30 + "file"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("step", [1, 7, 512, 1 << 20])
def test_what_programs_write_is_read(form: int, step: int) -> None:
    names = ["a", "d/b", "x" * 100, "p" * 90 + "/" + "q" * 90]
    names += [] if form == tarfile.USTAR_FORMAT else [LONG, "é" * 60]
    files = [(info(name), name.encode() * 30) for name in names]
    directory = info("d/e/", type=tarfile.DIRTYPE)
    raw = packed(*files, (directory, b""), form=form)
    found = told(raw, step=step)
    assert found[:-1] == [
        (TarMember(name, len(name.encode()) * 30, False), name.encode() * 30) for name in names
    ]
    assert found[-1] == (TarMember("d/e", 0, True), b"")


def test_what_is_not_read_is_passed_over() -> None:
    reader = TarReader(Stream(packed((info("a"), b"x" * 5000), (info("b"), b"y"))).read)
    assert reader.next() == TarMember("a", 5000, False)
    assert reader.read(10) == b"x" * 10
    assert reader.next() == TarMember("b", 1, False)
    assert reader.read(10) == b"y"
    assert reader.read(10) == b""
    assert reader.next() is None


def test_a_length_in_base_256_and_one_in_a_pax_header() -> None:
    large = packed((info("a"), b"xyz"), form=tarfile.GNU_FORMAT)
    base256 = header(b"a", b"\x80" + (3).to_bytes(11, "big")) + large[BLOCK:]
    assert told(base256) == [(TarMember("a", 3, False), b"xyz")]
    pax = header(b"x", b"00000000010", b"x") + filled(b"8 size=3") + header(b"a") + large[BLOCK:]
    with pytest.raises(TarError, match="can't be read"):
        told(pax)
    pax = header(b"x", b"00000000011", b"x") + filled(b"9 size=3\n") + header(b"a") + large[BLOCK:]
    assert told(pax) == [(TarMember("a", 3, False), b"xyz")]


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    content = b"".join(records)
    return header(b"pax", b"%011o" % len(content), kind) + filled(content)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (header(b"s", kind=b"S") + END, "'s', which is no plain file: it is a sparse file"),
        (pax(record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.name", b"s")), "'s'.*sparse"),
        (pax(record(b"GNU.sparse.map", b"0,1"), record(b"path", b"t")), "'t'.*sparse"),
        (pax(record(b"GNU.sparse.major", b"1"), kind=b"g"), "sparse"),
        (header(b"l", kind=b"1") + END, "'l'.*hard link"),
        (header(b"l", kind=b"2") + END, "'l'.*symbolic link"),
        (header(b"c", kind=b"3") + END, "'c'.*device"),
        (header(b"b", kind=b"4") + END, "'b'.*device"),
        (header(b"p", kind=b"6") + END, "'p'.*pipe"),
        (header(b"m", kind=b"M") + END, "'m'.*another archive"),
        (header(b"v", kind=b"V") + END, "'v'.*unknown kind"),
        (header(b"d", b"00000000001", b"5") + END, "directory that has bytes"),
        (header(b"a", b"-0000000001") + END, "impossible number"),
        (header(b"a", b"\xff" * 12) + END, "impossible number"),
        (header(b"a", b"\x80" + b"\xff" * 11) + END, "impossible number"),
        (header(b"a", b"\xc0" + b"\0" * 11) + END, "impossible number"),
        (header(b"a", b"00000000009") + END, "impossible number"),
        (header(b"a", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7) + END, "cut short"),
        (pax(record(b"size", b"-1")) + header(b"a") + END, "impossible number"),
        (pax(record(b"size", b"9" * 19)) + header(b"a") + END, "impossible number"),
        (pax(record(b"size", b"9" * 4000)) + header(b"a") + END, "impossible number"),
        (pax(record(b"size", b"1.5")) + header(b"a") + END, "impossible number"),
        (pax(record(b"path", b"\xff")) + header(b"a") + END, "isn't UTF-8"),
        (header(b"\xff") + END, "isn't UTF-8"),
        (pax(b"0 a=b\n") + END, "can't be read"),
        (pax(b"999999 a=b\n") + END, "can't be read"),
        (pax(b"5 ab\n") + END, "can't be read"),
        (pax(b"1 \n") + END, "can't be read"),
        (pax(record(b"a", b"b")) * 9 + header(b"a") + END, "too many headers"),
        (header(b"x", b"00000400000", b"x") + bytes(1 << 20), "too long"),
        (header(b"x", b"\x80" + (6 << 30).to_bytes(11, "big"), b"x"), "6,442,450,944 bytes.*long"),
        (header(b"x", b"\x80" + (6 << 30).to_bytes(11, "big"), b"L"), "6,442,450,944 bytes.*long"),
        (header(b"x", b"\x80" + (6 << 30).to_bytes(11, "big"), b"K"), "6,442,450,944 bytes.*long"),
        (header(b"x", b"\x80" + (6 << 30).to_bytes(11, "big"), b"g"), "6,442,450,944 bytes.*long"),
        (b"x" * BLOCK, "number|checksum"),
        (header(b"a")[:-1] + b"x" + END, "checksum"),
        (header(b"a")[:100], "cut short"),
        (END + header(b"a") + END, "goes on after its end"),
    ],
)
def test_what_no_export_holds_is_refused_by_name(raw: bytes, what: str) -> None:
    tracemalloc.start()
    with pytest.raises(TarError, match=what):
        told(raw)
    assert tracemalloc.get_traced_memory()[1] < MEMORY
    tracemalloc.stop()


@pytest.mark.parametrize(
    "raw",
    [
        header(b"x", b"\x80" + (6 << 30).to_bytes(11, "big"), b"x"),
        header(b"x", b"\x80" + (6 << 30).to_bytes(11, "big"), b"L"),
        END,
    ],
)
def test_a_stream_without_end_is_not_read_to_its_end(raw: bytes) -> None:
    stream = Stream(raw, endless=True)
    with pytest.raises(TarError):
        list(members(stream))
    assert stream.count < 16 << 20


def costs_little(raw: bytes) -> None:
    """Reads an archive as far as it goes: it is told, or refused, and nothing else."""
    stream = Stream(raw)
    tracemalloc.start()
    try:
        for _ in members(stream):
            pass
    except TarError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert stream.count <= len(raw)
    assert peak < MEMORY


def sample() -> bytes:
    files = [(info(name), name.encode()) for name in ("a", LONG, "é" * 60)]
    gnu = packed((info(LONG), b"x" * 600), form=tarfile.GNU_FORMAT)
    others = packed(*files, (info("d", type=tarfile.DIRTYPE), b""))
    return filled(others.rstrip(b"\0")) + gnu


def mutated(random: Random, raw: bytes) -> bytes:
    """An archive with a few bytes, blocks or numbers changed, and checksums put right."""
    blocks = [bytearray(raw[at : at + BLOCK]) for at in range(0, len(raw), BLOCK)]
    for _ in range(random.randint(1, 4)):
        block = random.choice(blocks)
        act = random.randrange(6)
        if act == 0:
            block[random.randrange(len(block))] = random.randrange(256)
        elif act == 1:
            block[124:136] = random.choice(
                [b"\x80" + random.randbytes(11), b"7" * 12, b"\xff" * 12]
            )
        elif act == 2:
            block[156] = random.choice(b"0123456789xgLKSMVDA\0")
        elif act == 3:
            blocks.insert(random.randrange(len(blocks)), bytearray(random.choice(blocks)))
        elif act == 4:
            del blocks[random.randrange(len(blocks)) :]
        else:
            at = random.randrange(len(block))
            block[at : at + 9] = random.choice(
                [b"999999999", b"GNU.spars", b"path=../x", b"\0" * 9]
            )
        if not blocks:
            return b""
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(map(bytes, blocks))


def test_damaged_archives_cost_little() -> None:
    raw = sample()
    assert len(told(raw)) == 5
    for seed in range(400):
        costs_little(mutated(Random(seed), raw))


@pytest.mark.slow
def test_many_damaged_archives_cost_little() -> None:
    raw = sample()
    for seed in range(400, 5_000):
        costs_little(mutated(Random(seed), raw))


@given(st.binary(max_size=3 * BLOCK))
def test_bytes_that_are_no_archive_cost_little(raw: bytes) -> None:
    costs_little(raw)
