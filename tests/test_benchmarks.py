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
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.system.clock import SystemClock
from engine.system.stop import Stop
from scripts.benchmarks import __main__ as bench
from scripts.benchmarks import corpus, delivery, growth, history, pairs, readme, report
from scripts.benchmarks.chart import Bar, Group, chart
from scripts.benchmarks.contenders import PROJECT, Borg, Restic, Timefs, instant
from scripts.benchmarks.corpus import Corpus, renamed
from scripts.benchmarks.machine import Command, Failed, Watch, rss_anon, run, shell
from scripts.benchmarks.madeup import MadeUp
from scripts.benchmarks.mailbox import ACCOUNT, EACH, Mailbox, build_many, build_several
from scripts.benchmarks.measures import MEASURES
from scripts.benchmarks.mounts import is_mounted
from scripts.benchmarks.report import Result
from scripts.benchmarks.rounds import alternate
from scripts.benchmarks.rows import BEFORE, OURS, PLAIN, Measure, Missing, Row
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


def test_many_accounts_are_ones_that_the_engine_reads(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "one", folders=25)
    mailbox.build(corpus.generate(50).take(50))
    build_several(tmp_path / "several", mailbox)
    build_many(tmp_path / "many", 3)

    def contents(root: Path) -> list[list[bytes]]:
        spec = f"maildir:{root}/{{domain}}/{{user}}/Maildir"
        names = open_source(spec, SystemClock()).accounts().names
        places = [root / name.partition("@")[2] / name.partition("@")[0] for name in names]
        return [[file.read_bytes() for file in place.rglob("cur/*")] for place in places]

    (whole,), several = contents(tmp_path / "one"), contents(tmp_path / "several")
    assert len(several) == 20
    assert sorted(whole) == sorted(raw for account in several for raw in account)
    many = contents(tmp_path / "many")
    assert [len(account) for account in many] == [EACH] * 3
    assert len({raw for account in many for raw in account}) == 3 * EACH


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
        tally = scan(backup, [NamedSource(history.SOURCE, source)], ScanOptions(), Stop()).tally
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


def test_programs_that_are_missing_are_named_and_others_may_be_left_out(tmp_path: Path) -> None:
    def measured(workshop: Workshop, name: str) -> dict[str, float]:
        if name == "borg":
            raise Missing(name)
        return {"speed": 1.0}

    workshop = Workshop(tmp_path / "work", Recipe("", 1, 1), 2, {})
    measure = Measure((Row("speed", "speed", "s", plain="cat"),), measured)
    samples = alternate(workshop, [measure], 2)
    assert samples.values == {"speed": {n: [1.0, 1.0] for n in ("restic", PLAIN, OURS)}}
    assert (samples.missing, samples.failures) == (["borg"], [])
    samples = alternate(workshop, [measure], 2, only=(BEFORE, OURS))
    assert samples.values == {"speed": {BEFORE: [1.0, 1.0], OURS: [1.0, 1.0]}}


def test_a_line_for_the_shell_fails_where_any_command_does(tmp_path: Path) -> None:
    run(shell('pwd >"$OUT"', tmp_path, tmp_path / "out"))
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"
    with pytest.raises(Failed):
        run(shell("false | true", tmp_path))


def test_what_is_made_once_is_made_again_only_if_that_failed(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "work", Recipe("", 1, 1), 2, {})

    def fail(path: Path) -> None:
        path.mkdir()
        raise Failed("half done")

    with pytest.raises(Failed):
        workshop.made("thing", fail)
    assert workshop.made("thing", Path.mkdir).is_dir()
    assert workshop.made("thing", fail).is_dir()


def test_a_checkout_runs_its_own_code(tmp_path: Path) -> None:
    here = Timefs()
    here.prepare()
    assert here.version().startswith("timefs ")
    assert here.engine(tmp_path, "scan").environment["PYTHONPATH"] == str(PROJECT)
    with pytest.raises(Failed, match="no checkout"):
        Timefs(tmp_path).prepare()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(Failed, match="no checkout"):  # it has no engine, so another one would run
        Timefs(tmp_path).prepare()


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


def test_the_limit_is_no_peer() -> None:
    row = Row("speed", "speed", "s", plain="cat")
    result = Result(row, {"restic": [4.0], PLAIN: [0.5], OURS: [2.0]})
    assert (result.best, result.ratio(), result.above) == (4.0, 0.5, 4.0)
    assert report.table([result]).splitlines()[-1].endswith("| 500 ms: cat |    4.00x |")
    assert report.document([result], {})["rows"][0]["above"] == 4.0


def test_the_readme_gets_the_figures_that_were_measured() -> None:
    rows = [
        Result(
            Row("first-scan", "-", "s", plain="tar"),
            {"restic": [4.0], "borg": [5.0], PLAIN: [1.0], OURS: [2.0]},
        ),
        Result(Row("imap-restore", "-", "s", against=("mbsync",)), {"mbsync": [1.0], OURS: [3.0]}),
        Result(Row("search", "-", "s", against=()), {}),
    ]
    made = readme.table(report.document(rows, {}))
    assert made.splitlines()[2:] == [
        "| first scan, cold | 4.00 s | 5.00 s |  | 2.00 s (0.50) | 1.00 s (tar) |",
        "| restore over IMAP |  |  | mbsync 1.00 s | 3.00 s (3.00) |  |",
    ]
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    replaced = readme.replaced(text, made)
    assert made in replaced
    assert replaced.startswith(text.partition(readme.BEGIN)[0])
    assert replaced.endswith(text.partition(readme.END)[2])
    assert readme.replaced(replaced, made) == replaced
    with pytest.raises(ValueError, match="no lines"):
        readme.replaced("# Another one\n", made)


def test_the_readme_names_rows_that_there_are() -> None:
    assert set(readme.ROWS) <= {row.name for measure in MEASURES for row in measure.rows}


# Before and after


def test_an_interval_is_that_of_students_t() -> None:
    found = pairs.interval([1.10, 1.12, 1.08, 1.11, 1.09, 1.10, 1.10])
    assert found is not None
    assert (round(found.low, 4), round(found.mean, 4), round(found.high, 4)) == (
        1.0881,
        1.0999,
        1.1119,
    )
    assert pairs.interval([2.0, 2.0]) == pytest.approx((2.0, 2.0, 2.0))
    assert pairs.interval([2.0]) is None


@pytest.mark.parametrize(
    ("after", "slower"),
    [
        ([1.10, 1.12, 1.08, 1.11, 1.09, 1.10, 1.10], True),
        ([1.02, 1.03, 1.02, 1.03, 1.02, 1.03, 1.02], False),
        ([0.5, 2.0, 1.0, 3.0, 0.7, 2.0, 1.5], False),
        ([1.0], False),
    ],
)
def test_slower_is_what_lies_above_the_bound_as_a_whole(after: list[float], slower: bool) -> None:
    rows = [Row("speed", "speed", "s")]
    values = {"speed": {BEFORE: [1.0] * len(after), OURS: after}}
    (pair,) = pairs.pairs(rows, values)
    assert pair.slower(pairs.BOUND) is slower
    assert pairs.document([pair], {}, pairs.BOUND)["rows"][0]["slower"] is slower


def test_rounds_of_which_one_side_failed_are_no_pairs() -> None:
    values = {"speed": {BEFORE: [1.0, 1.0], OURS: [5.0, 5.0, 5.0]}, "other": {}}
    rows = [Row("speed", "speed", "s"), Row("other", "other", "s")]
    found = pairs.pairs(rows, values)
    assert [pair.interval for pair in found] == [None, None]
    assert pairs.table(found, 1.03).count("not known") == 2


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
