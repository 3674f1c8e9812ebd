"""Tests of `engine.settings.config`: what is written is read, what is wrong is named, edits are
small."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from engine.connectors.registry import KINDS
from engine.domain.errors import BackupUnusable, UsageError
from engine.settings import config, positions
from engine.settings.declared import declared
from engine.settings.sources import SourceTable
from engine.settings.table import Settings

SOURCE = "maildir:/var/vmail/{domain}/{user}/Maildir"
MAIL = SourceTable("mail", "maildir", "/var/vmail/{domain}/{user}/Maildir")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    config.write(path, config.template([MAIL], KINDS))
    return path


def refused(path: Path, text: str | bytes) -> str:
    """What `load` says of a file that isn't right, without the file's name."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError) as caught:
        config.load(path, KINDS)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_a_new_file_says_and_explains_every_setting(path: Path) -> None:
    text = path.read_text()
    assert config.load(path, KINDS) == Settings(source_tables=(MAIL,))
    for row in config.describe():
        table, _, name = row.key.rpartition(".")
        start = text.index(f"\n[{table}]\n") if table else 0
        above = text[: text.index(f"\n{name} = ", start)].rpartition("\n\n")[2]
        above = above.replace("\n# ", " ")
        assert row.comment in above
        assert row.allowed[1:] in above
        assert not row.default or f"default {row.default}." in above
    assert max(map(len, text.splitlines())) <= 100


def test_sources_of_any_text_are_read_as_they_were_given(path: Path) -> None:
    locations = ['/a "b" \\c\n\x7f', "user@example.com", "/ä/{account}"]
    given = tuple(SourceTable(f"m{n}", "maildir", text) for n, text in enumerate(locations))
    path.write_text(config.template(given, KINDS))
    assert config.load(path, KINDS).source_tables == given


def test_every_setting_has_a_field_and_every_field_a_setting() -> None:
    settings = Settings(sources=(SOURCE,))
    values = [config.get(settings, row.key, KINDS) for row in config.describe()]
    assert values == [
        getattr(settings, field.name)
        for field in fields(Settings)
        if field.name not in ("sources", "source_tables", "earlier")
    ]


def test_every_default_is_allowed() -> None:
    options = (*declared(Settings).values(), *declared(KINDS["imap"].options).values())
    for _, setting, default in options:
        if default:
            written = tomllib.loads(f"value = {setting.type.write(default)}")["value"]
            assert setting.type.check(written) == default


def test_nobody_asks_for_the_lines_of_a_file_that_is_right(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "statements", None)
    assert config.load(path, KINDS) == Settings(source_tables=(MAIL,))


def test_what_is_missing_has_its_default(path: Path) -> None:
    path.write_text(f'sources = ["{SOURCE}"]')
    assert config.load(path, KINDS) == Settings(
        sources=(SOURCE,), workers=2, level=3, frame_kib=128
    )


def test_hand_written_layouts_are_read(path: Path) -> None:
    path.write_text(
        'scan.workers = 3\r\nsources = [\r\n"a:b", # x\r\n]\r\ncompression={level=0}\r\n'
    )
    assert config.load(path, KINDS) == Settings(sources=("a:b",), workers=3, level=0)


S = 'sources = ["a:b"]\n'
KNOWN = f"there are sources, {', '.join(row.key for row in config.describe())}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (S + "[scan]\nwrkers = 3", f", line 3: there is no setting scan.wrkers; {KNOWN}"),
        (S + "\n[scans]\n", f", line 3: there is no setting scans; {KNOWN}"),
        (S + "scan = 3", f", line 2: there is no setting scan; {KNOWN}"),
        (S + "[[scan]]\nworkers = 3", f", line 2: there is no setting scan; {KNOWN}"),
        (S + '"scan.workers" = 3', f', line 2: there is no setting "scan.workers"; {KNOWN}'),
        (S + "scan = { new = 1 }", f", line 2: there is no setting scan.new; {KNOWN}"),
    ],
)
def test_an_unknown_setting_is_refused_with_its_line(path: Path, text: str, message: str) -> None:
    assert refused(path, text) == message


@pytest.mark.parametrize("value", ["0", "65", "-1", "true", "2.0", '"2"', "[2]", "9" * 100])
def test_a_bad_number_is_refused_with_its_line(path: Path, value: str) -> None:
    message = refused(path, f"# mine\n{S}[scan]\nworkers = {value}\n")
    assert message.startswith(", line 4: scan.workers can't be ")
    assert message.endswith("; it takes a whole number from 1 to 64")


@pytest.mark.parametrize(
    "value", ["[]", '"a:b"', '["a"]', '[":b"]', '["a:"]', "[1]", '["a:b", "a:b"]', '["A:b"]']
)
def test_bad_sources_are_refused_with_their_line(path: Path, value: str) -> None:
    message = refused(path, f"\nsources = {value}\n")
    assert message.startswith(", line 2: sources can't be ")
    assert "KIND:LOCATION" in message


def test_a_huge_value_is_cut_in_the_message(path: Path) -> None:
    assert len(refused(path, f"sources = {['x'] * 9999}")) < 300


def test_missing_sources_are_named(path: Path) -> None:
    assert refused(path, "[scan]\nworkers = 2").startswith(": sources are missing: write a table")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (S + S, ", line 2: sources stands in line 1 already: keep one of them"),
        (
            S + "[scan]\nworkers = 1\n[compression]\n[scan]\n",
            ", line 5: scan stands in line 2 already: keep one of them",
        ),
        (
            S + '[sources.mail]\nkind = "maildir"\n',
            ", line 2: sources is no table, for line 1 gives it a value: keep one of them",
        ),
        (
            S + "[scan]\nworkers = 1\nworkers.x = 1\n",
            ", line 4: scan.workers is no table, for line 3 gives it a value: keep one of them",
        ),
        (S + "[scan\n", ", line 2: not valid TOML: "),
        (S + "level = 'x", ": not valid TOML: "),
        (S + "level = " + "9" * 5000, ": not valid TOML: a number in it has too many"),
        (b"# ok\n# \xff", ", line 2: not UTF-8, which a TOML file must be"),
    ],
)
def test_what_is_not_toml_is_refused(path: Path, text: str | bytes, message: str) -> None:
    assert refused(path, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (S + "level = " + "[" * 100_000, ", line 2: nested more than 32 deep"),
        (S + "level = [\n" + "{a=" * 100_000 + "}" * 100_000, ", line 3: nested more than 32 deep"),
        (S + "a" + ".a" * 100_000 + " = 1\n", ", line 2: nested more than 32 deep"),
        (S + "[a" + ".a" * 100_000 + "]\n", ", line 2: nested more than 32 deep"),
        (S + "x = {a" + ".a" * 100_000 + " = 1}\n", ", line 2: nested more than 32 deep"),
        (S + 'x = """' + ' \\"""' * 100_000, ": not valid TOML: "),
        (S + "[a]\nb = 1\n" * 50_000, ", line 4: a stands in line 2 already"),
        (S + "#" * config.LARGEST, ": larger than 1,024 KiB, which no settings are"),
    ],
)
def test_a_file_that_nobody_wrote_is_refused_in_no_time_and_memory(
    path: Path, text: str, message: str
) -> None:
    assert refused(path, text).startswith(message)
    with pytest.raises(UsageError, match="sources can't be"):
        config.set_value(path.with_name("other"), "sources", "[" * 100_000, KINDS)


def test_signs_in_texts_and_comments_do_not_nest(path: Path) -> None:
    source = "maildir:/var/" + "[{a.b." * 100
    lines = f"# {'[' * 100}\nsources = [\n" + "".join(
        f"{q}{source}{number}{q}, # {'{' * 100}\n" for number, q in enumerate(('"', "'", '"""'))
    )
    path.write_text(lines + "]\n[scan]\nworkers = 3 # 1.2.3\n")
    settings = config.load(path, KINDS)
    assert settings.sources == tuple(f"{source}{number}" for number in range(3))
    assert settings.workers == 3


def test_a_file_that_cannot_be_read_makes_the_backup_unusable(tmp_path: Path) -> None:
    with pytest.raises(BackupUnusable, match=r"config\.toml is missing: put it back"):
        config.load(tmp_path / "config.toml", KINDS)
    with pytest.raises(BackupUnusable, match=r"can't read .*: Is a directory"):
        config.load(tmp_path, KINDS)


def test_get_gives_values_and_refuses_unknown_keys() -> None:
    settings = Settings(sources=(SOURCE,), workers=9)
    assert config.get(settings, "scan.workers", KINDS) == 9
    assert config.get(settings, "sources", KINDS) == (SOURCE,)
    with pytest.raises(UsageError, match=f"there is no setting workers; {KNOWN}"):
        config.get(settings, "workers", KINDS)


def test_set_changes_one_value_and_nothing_else(path: Path) -> None:
    before = path.read_text()
    assert config.set_value(path, "compression.level", "19", KINDS).level == 19
    assert path.read_text() == before.replace("level = 3\n", "level = 19\n")
    key = "sources.mail.location"
    assert config.set_value(path, key, "/x y", KINDS).source_tables[0].spec == "maildir:/x y"
    config.set_value(path, key, MAIL.location, KINDS)
    config.set_value(path, "compression.level", "3", KINDS)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scan.worker", "2", "there is no setting scan.worker; "),
        ("scan.workers", "many", 'scan.workers can\'t be "many"; it takes a whole number'),
        ("scan.workers", "65", "scan.workers can't be 65; it takes a whole number"),
        ("scan.workers", "", 'scan.workers can\'t be ""; it takes a whole number'),
        ("sources", "/var/mail", 'sources can\'t be ["/var/mail"]; it takes a list'),
        ("sources", '["a:b"', "sources can't be "),
        ("sources", "maildir:/\udcff", "sources can't be "),
    ],
)
def test_set_refuses_what_is_not_allowed_and_leaves_the_file(
    path: Path, key: str, value: str, message: str
) -> None:
    before = path.read_text()
    with pytest.raises(UsageError) as caught:
        config.set_value(path, key, value, KINDS)
    assert str(caught.value).startswith(message)
    assert path.read_text() == before


def test_set_refuses_a_file_in_which_something_else_is_wrong(path: Path) -> None:
    path.write_text(f"{S}[compression]\nlevel = 99\n")
    with pytest.raises(UsageError, match=r"line 3: compression\.level can't be 99"):
        config.set_value(path, "scan.workers", "4", KINDS)
    assert config.set_value(path, "compression.level", "9", KINDS).level == 9


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('sources = [\n  "a:b", # old\n]', "sources", "line 1: there are comments in the value"),
        (S + "scan = {}", "scan.workers", "line 2: the table is written in one line"),
        (
            '[sources]\nmail = {kind = "maildir", location = "/"}\n',
            "sources.mail.location",
            "line 2: ",
        ),
    ],
)
def test_set_refuses_an_edit_that_would_lose_something(
    path: Path, text: str, key: str, message: str
) -> None:
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        config.set_value(path, key, "4" if key == "scan.workers" else "a:c", KINDS)
    assert path.read_text() == text


LAYOUTS = [
    [S],
    [S, "# mine\n"],
    [S.rstrip()],
    ["# first\n", S, "scan.workers = 5 # dotted\n", "\n# last"],
    [S, "[scan]\n", "workers = 5 # five\n", "\n", "# end\n"],
    [S, "[scan] # empty\n", "# workers = 9\n", "[compression]\n", "level = 1"],
    [S, "\r\n", "[compression]\r\n", "level = 1\r\n", "frame_kib = 512\r\n", "[scan]"],
    [S, "compression . level = 0x05\n", "[scan]\n", '"workers" = 5\n'],
    [S, "[compression]\n", "frame_kib = 64\n", "# workers = 5\n", "[scan]\n", "#workers = 5\n"],
]
CHANGES = {
    "scan.workers": (1, 64),
    "compression.level": (0, 19),
    "compression.frame_kib": (16, 1024),
}


@settings(deadline=None, max_examples=40)  # every change waits for the disk
@given(
    st.sampled_from(LAYOUTS),
    st.lists(
        st.sampled_from(list(CHANGES)).flatmap(
            lambda key: st.tuples(st.just(key), st.integers(*CHANGES[key]))
        ),
        max_size=4,
    ),
)
def test_set_holds_and_keeps_comments_and_other_settings(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], changes: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes("".join(lines).encode())
    expected = {
        row.key: config.get(config.load(path, KINDS), row.key, KINDS) for row in config.describe()
    }
    for key, value in changes:
        changed = config.set_value(path, key, str(value), KINDS)
        expected[key] = value
        assert changed == config.load(path, KINDS)
        assert {key: config.get(changed, key, KINDS) for key in expected} == expected
    text = path.read_bytes().decode()
    touched = {key.rpartition(".")[2] for key, _ in changes}
    for line in lines:
        name = line.partition("=")[0].strip().strip('"').rpartition(".")[2].strip()
        if name not in touched:
            assert line.rstrip("\n") in text
        if "#" in line:
            assert line.partition("#")[2].strip() in text


def test_a_new_setting_goes_to_its_table(path: Path) -> None:
    path.write_text(S + "[compression]\nlevel = 5 # five\n\n[scan]")
    config.set_value(path, "compression.frame_kib", "64", KINDS)
    config.set_value(path, "scan.workers", "4", KINDS)
    text = path.read_text()
    assert tomllib.loads(text)["compression"] == {"level": 5, "frame_kib": 64}
    assert (
        text.index("level = 5 # five\n") < text.index("frame_kib = 64\n") < text.index("[scan]\n")
    )
    assert text.count("# How many accounts are scanned at once.") == 1


def test_sources_can_be_set_where_they_are_missing(path: Path) -> None:
    path.write_text("[scan]\nworkers = 5\n")
    assert config.set_value(path, "sources", SOURCE, KINDS) == Settings(
        source_tables=(MAIL,), workers=5
    )


def test_a_new_file_is_readable_for_its_group_only(path: Path) -> None:
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_replaced_file_keeps_mode_and_place(path: Path) -> None:
    real = path.with_name("real.toml")
    path.rename(real)
    path.symlink_to(real.name)
    real.chmod(0o600)
    config.set_value(path, "scan.workers", "3", KINDS)
    assert path.is_symlink()
    assert real.stat().st_mode & 0o7777 == 0o600
    assert "workers = 3" in real.read_text()
    assert sorted(os.listdir(path.parent)) == ["config.toml", "real.toml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_replaced_file_keeps_its_owner(path: Path) -> None:
    os.chown(path, 1234, 5678)
    config.set_value(path, "scan.workers", "3", KINDS)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


def test_a_failed_write_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackupUnusable, match=r"can't write .*: No space left on device"):
        config.set_value(path, "scan.workers", "3", KINDS)
    assert path.read_text() == before
    assert os.listdir(path.parent) == ["config.toml"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupUnusable, match=r"can't write .*: No such file or directory"):
        config.write(tmp_path / "none" / "config.toml", "")
