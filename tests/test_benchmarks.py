"""What `scripts/bench` relies on: its mail, its histories, and what it says of its figures. Nothing
here measures time."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.backup import Backup
from engine.connectors.source import SourceItem
from engine.connectors.sources import open_source
from engine.domain.model import Kind
from engine.domain.paths import INBOX
from engine.journal.keys import MAX_SEQUENCE
from engine.scan.smart import NamedSource, Options, scan
from engine.system.clock import SystemClock
from engine.system.stop import Stop
from scripts.benchmarks import __main__ as bench
from scripts.benchmarks import corpus, delivery, growth, history, report
from scripts.benchmarks.chart import Bar, Group, chart
from scripts.benchmarks.contenders import Borg, Restic, Timefs, instant
from scripts.benchmarks.corpus import Corpus, renamed
from scripts.benchmarks.machine import Command, Failed, Watch, rss_anon, run
from scripts.benchmarks.madeup import MadeUp
from scripts.benchmarks.mailbox import ACCOUNT, Mailbox
from scripts.benchmarks.measures import MEASURES, Measure, Row
from scripts.benchmarks.mounts import is_mounted
from scripts.benchmarks.report import Result
from scripts.benchmarks.rounds import alternate
from scripts.benchmarks.workshop import Recipe, Workshop

LETTER = (
    b"From: a@example.com\r\nMESSAGE-id: <1@example.com>\r\n\r\nMessage-ID: <2@example.com>\r\n"
)


# Mail


def test_a_repeated_message_has_another_message_id() -> None:
    changed = renamed(LETTER, 3)
    assert changed == LETTER.replace(b"<1@", b"<r3.1@")


def test_a_message_without_an_id_gets_one_after_the_envelope_line() -> None:
    assert renamed(b"From x\nTo: b@example.com\n\nhi", 1).startswith(b"From x\nMessage-ID: <r1.")


@given(st.binary(), st.integers(1, 10**6), st.integers(1, 10**6))
def test_repetitions_differ(message: bytes, one: int, other: int) -> None:
    assert renamed(message, one) != message
    assert (renamed(message, one) == renamed(message, other)) == (one == other)


@given(st.lists(st.binary(max_size=4), min_size=1, unique=True), st.integers(0, 50))
def test_no_two_messages_are_the_same(messages: list[bytes], count: int) -> None:
    taken = list(Corpus(messages).take(count))
    assert len(taken) == count
    assert set(messages) >= set(taken[: len(messages)])
    assert len(set(taken)) >= min(count, len(messages))
    assert taken == list(Corpus(messages).take(count))


def test_real_letters_stay_different_when_repeated() -> None:
    made = corpus.generate(10)
    assert len(set(made.take(35))) == 35


def test_a_corpus_is_read_from_files_or_from_an_archive(tmp_path: Path) -> None:
    files = {"a.eml": b"1", "b/c": b"2", "b/same": b"2", "d.ics": b"3", "e.mbox": b"4"}
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    packed.mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            path = plain / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            archive.add(path, name)
    (packed / corpus.ARCHIVE).write_bytes(zstandard.compress(buffer.getvalue()))
    assert sorted(corpus.read(plain).messages) == sorted(corpus.read(packed).messages)
    assert sorted(corpus.read(plain).messages) == [b"1", b"2"]
    with pytest.raises(Failed, match="no messages"):
        corpus.read(plain / "b" / "c")


def test_the_mailbox_is_one_that_the_engine_reads(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, folders=3)
    mailbox.build(corpus.generate(7).take(7))
    source = open_source(f"maildir:{tmp_path}/{{domain}}/{{user}}/Maildir", SystemClock())
    assert source.accounts().names == (ACCOUNT,)

    def seen() -> dict[str, set[bytes]]:
        opened = source.mailbox(ACCOUNT)
        listed = {
            "/".join(folder.path): {item.identity for item in opened.listing(folder.path).items}
            for folder in opened.folders().folders
        }
        opened.close()
        return listed

    before = seen()
    assert {name: len(items) for name, items in before.items()} == {
        "INBOX": 3,
        "Project-01": 2,
        "Project-02": 2,
    }
    mailbox.deliver(5)
    mailbox.deliver(2)
    assert len(seen()["INBOX"]) == 5
    mailbox.take_back()
    assert seen() == before


# Histories


def test_a_history_is_what_it_claims_to_be(tmp_path: Path) -> None:
    made = history.make(tmp_path / "backup", 2000, lambda written: None)
    assert 2000 <= made.versions < 2200
    backup = Backup(tmp_path / "backup", write=True, clock=SystemClock(trusted=True))
    rng = Random(1)
    with backup.reader() as reader:
        for _ in range(20):
            at = reader.sequence_at(rng.randrange(made.first, made.last))
            assert len(reader.listing(made.inbox, at)) <= history.INBOX_SIZE
        inbox = reader.listing(made.inbox, MAX_SEQUENCE)
        kept = reader.listing(made.folders[-1], MAX_SEQUENCE)
        passed = sum(
            1
            for logged in reader.log(1, made.versions)
            if logged.transaction.action == 1
            and (version := reader.version(logged.transaction.item, logged.sequence))
            and version.folder == made.inbox
        )
    assert len(inbox) == history.INBOX_SIZE
    assert len(kept) > 100
    assert passed > 4 * history.INBOX_SIZE
    assert made.last <= SystemClock().now()

    items = [
        SourceItem(INBOX, e.version.identity, e.version.flags, "")
        for e in inbox
        if e.version.kind == Kind.MESSAGE
    ]
    source = MadeUp([history.folder_name(n) for n in range(len(made.folders))], items)
    for created in (0, 1):
        tally = scan(backup, [NamedSource(history.SOURCE, source)], Options(), Stop()).tally
        assert (tally.created, tally.changed, tally.deleted) == (created, 0, 0)
        assert not tally.problems
        source.deliver(LETTER)
    backup.close()


@pytest.mark.parametrize(
    ("largest", "sizes"), [(10_000, [10_000]), (10**6, [10**4, 10**5, 10**6]), (500, [500])]
)
def test_sizes_grow_by_tens(largest: int, sizes: list[int]) -> None:
    assert growth.sizes(largest) == sizes


# Machines and rounds


def test_a_command_that_fails_says_why() -> None:
    script = "import sys; print('first', file=sys.stderr); sys.exit('at last')"
    command = Command((sys.executable, "-c", script))
    with pytest.raises(Failed, match=r"at last$"):
        run(command)
    run(command, expected=1)
    assert run(Command(("echo", "well")), output=True).output == b"well\n"


def test_memory_is_that_of_a_process_and_its_children() -> None:
    here = rss_anon(os.getpid())
    assert here > 1_000_000
    grown = bytearray(os.urandom(1 << 20) * 32)
    assert rss_anon(os.getpid()) > here + len(grown) // 2
    assert rss_anon(2**22 + 1) == 0
    with Watch(lambda: 7) as watch:
        pass
    assert watch.peak == 7


def test_what_is_mounted_is_known(tmp_path: Path) -> None:
    assert is_mounted(Path("/proc"))
    assert not is_mounted(tmp_path)


def test_each_round_begins_with_another_and_failures_are_told(tmp_path: Path) -> None:
    done: list[str] = []

    def measured(workshop: Workshop, name: str) -> dict[str, float]:
        done.append(name)
        if name == "borg":
            raise Failed("broken")
        return {"speed": 1.0, "not asked for": 2.0}

    workshop = Workshop(tmp_path / "work", Recipe("", 1, 1), 2, {})
    samples = alternate(workshop, [Measure((Row("speed", "speed", "s"),), measured)], 2)
    assert done == ["restic", "borg", "timefs", "borg", "timefs", "restic"]
    assert samples.values == {"speed": {"restic": [1.0, 1.0], "timefs": [1.0, 1.0]}}
    assert samples.failures == ["speed: borg: broken"]


def test_a_directory_with_other_things_is_no_work_directory(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    with pytest.raises(Failed, match="holds other things"):
        Workshop(tmp_path, Recipe("", 1, 1), 2, {})
    assert (tmp_path / "mail").is_dir()


def test_views_have_the_paths_that_each_program_gives_them() -> None:
    assert instant(1_714_521_600_000_042) == "2024-05-01T00:00:00.000042Z"
    assert Timefs().folder("T", "INBOX") == "T/alice@example.com/INBOX"
    assert Borg().folder("p", "INBOX") == "p/example.com/alice/Maildir/cur"
    assert Restic().folder("ids/1", "Work") == "ids/1/example.com/alice/Maildir/.Work/cur"


# Reports


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234, "s", "1.23 s"),
        (0.0456, "s", "45.6 ms"),
        (0.000_007_89, "s", "7.89 µs"),
        (123.4, "s", "123 s"),
        (0.0, "s", "0.00 µs"),
        (599.6, "bytes", "600 bytes"),
        (78_900_000, "bytes", "78.9 MB"),
    ],
)
def test_quantities_have_three_digits(value: float, unit: str, text: str) -> None:
    assert report.quantity(value, unit) == text


def test_ratios_are_of_medians_to_the_better_of_the_others() -> None:
    samples = {"restic": [9.0, 4.0, 5.0], "borg": [8.0, 8.0], "timefs": [1.0, 100.0, 2.0]}
    result = Result(Row("speed", "speed", "s", aim=0.5), samples)
    assert result.best == 5.0
    assert result.ratio() == 0.4
    assert result.ratio("borg") == 1.6
    assert result.reached
    assert not result._replace(row=result.row._replace(aim=0.39)).reached
    assert not result._replace(row=result.row._replace(limit=1.9)).reached
    assert result._replace(row=result.row._replace(aim=None)).reached is None
    assert result._replace(samples={"timefs": [1.0]}).reached is None
    assert "| speed   | 5.00 s | 8.00 s | 2.00 s | 0.40x | <= 0.5x |     yes |" in report.table(
        [result]
    )


def test_charts_are_svg_with_a_ratio_on_every_bar() -> None:
    row = Row("speed", "a < b & c", "s", chart="scans")
    result = Result(row, {"restic": [2.0], "borg": [4.0], "timefs": [1.0]})
    drawn = report.charts([result, Result(Row("other", "-", "s", chart="reads"), {})])
    assert list(drawn) == ["scans"]
    texts = [element.text for element in ElementTree.fromstring(drawn["scans"]).iter()]
    for text in ("a < b & c", "4.00 s (2.00x)", "2.00 s (1.00x)", "1.00 s (0.50x)"):
        assert text in texts


def test_the_longest_bar_takes_the_whole_width() -> None:
    groups = [Group("g", [Bar("one", 1.0, ""), Bar("four", 4.0, ""), Bar("none", 0.0, "")])]
    root = ElementTree.fromstring(chart("title", "note", groups))
    widths = [float(e.get("width", "")) for e in root if e.tag.endswith("rect")]
    assert widths[0] * 4 == widths[1] == max(widths)
    assert widths[2] == 1.0


def test_the_growth_table_compares_the_largest_with_the_smallest() -> None:
    found = [
        growth.Size(versions, {row.name: value for row in growth.ROWS})
        for versions, value in ((10, 2e-3), (100, 5e-3))
    ]
    verdicts = {row.name: growth.reached(row, found) for row in growth.ROWS}
    assert verdicts["inbox-median"] is False
    assert verdicts["inbox-max"] is True
    assert verdicts["lookup"] is None
    assert "2.50x" in growth.table(found)
    ElementTree.fromstring(growth.picture(found))


def test_measures_have_names_and_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [row.name for measure in MEASURES for row in measure.rows]
    assert len(set(listed)) == len(listed)
    with pytest.raises(SystemExit) as ended:
        bench.main(["--only", "nonsense"])
    assert ended.value.code == 2


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert delivery.percentile(values, 99) == 99
    assert delivery.percentile(values, 50) == 50
    assert delivery.percentile([3.0], 99) == 3
    assert delivery.percentile([1.0, 2.0], 99) == 2
