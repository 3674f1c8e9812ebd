"""Tests of `engine.settings.sources` and what edits them: tables of sources are read, refused with
their line, added, changed, and made of the earlier form."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine.connectors.registry import KINDS
from engine.connectors.sources import configured, open_source, parse_source
from engine.connectors.targets import open_target
from engine.domain.errors import UsageError
from engine.settings import config
from engine.settings.sources import SourceTable, is_origin, refuse_same
from engine.settings.table import Settings
from engine.settings.types import Value
from engine.system.clock import ManualClock
from tests.commands import engine
from tests.maildrop import Maildir

TWO = """\
[sources.mail]
kind = "imaps"
location = "old.example.com"
login = "backup"
password_file = "/etc/timefs/old"
accounts = ["alice@example.com"]

[sources.new]
kind = "imap"
location = "new.example.com:1143"
method = "authzid"
login = "cyrus"
password_command = "pass show cyrus"
accounts_file = "/etc/timefs/accounts"
timeout = 7
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def load(path: Path, text: str) -> Settings:
    path.write_text(text)
    return config.load(path, KINDS)


def test_sources_have_logins_of_their_own(path: Path) -> None:
    settings = load(path, TWO)
    mail, new = settings.source_tables
    assert (mail.name, mail.spec, mail.given["login"]) == (
        "mail",
        "imaps:old.example.com",
        "backup",
    )
    assert (new.name, new.spec, new.given["timeout"]) == ("new", "imap:new.example.com:1143", 7)
    first, second = (open_source(each, ManualClock(0), settings) for each in (mail, new))
    assert (first.options.login, first.options.method) == ("backup", "master")  # type: ignore[attr-defined]
    assert (second.options.login, second.options.endpoint.timeout) == ("cyrus", 7)  # type: ignore[attr-defined]


def test_a_target_has_the_login_of_the_source_whose_server_it_is(path: Path) -> None:
    settings = load(path, TWO)
    for target, login in (
        ("imaps:old.example.com:993", "backup"),
        ("imap:new.example.com:1143", "cyrus"),
        ("new", "cyrus"),
    ):
        opened = open_target(target, ManualClock(0), settings)
        assert opened._options.login == login  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="login is missing"):
        open_target("imaps:third.example.com", ManualClock(0), settings)
    with pytest.raises(UsageError, match="neither KIND:LOCATION nor of mail, new"):
        open_target("third", ManualClock(0), settings)
    twice = TWO.replace("new.example.com:1143", "old.example.com:993")
    with pytest.raises(UsageError, match="of several sources: name one of mail, new"):
        open_target("imaps:old.example.com", ManualClock(0), load(path, twice))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[sources.mail]\nlocation = '/x'\n", 1, "sources.mail.kind is missing; it takes one of"),
        ("[sources.mail]\nkind = 'maildir'\n", 1, "sources.mail.location is missing; it takes"),
        ("[sources.mail]\nkind = 'mbox'\nlocation = '/x'\n", 2, "sources.mail.kind can't be \"mb"),
        ("[sources.mail]\nkind = 'imaps'\nlocation = 'a b'\n", 3, "sources.mail.location can't be"),
        (TWO + "colour = 1\n", 16, "there is no setting sources.new.colour; there are pass"),
        (TWO + "sieve_port = 'x'\n", 16, 'sources.new.sieve_port can\'t be "x"; it takes a whole'),
        (TWO + "password_file = '/x'\n", 13, "give one of sources.new.password_file"),
        (TWO + "[imap]\nlogin = 'x'\n", 16, "[imap] holds for no source any more: write it in"),
        ("[sources.'a b']\nkind = 'maildir'\nlocation = '/x'\n", 1, "a source can't be called"),
        ("[sources]\nmail = 1\n", 2, "sources.mail is no table"),
        (TWO + TWO.replace("mail]", "m]").partition("\n\n")[0], 16, "reads the same as sources.ma"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(
    path: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(path, text)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert message in str(caught.value)


class Compared(dict[str, Value]):
    """Options that count how often any are compared."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)

    __hash__ = None


def test_only_sources_of_the_same_place_are_compared() -> None:
    """So the time that settings take grows with the number of sources, not its square."""
    tables = [
        SourceTable(f"s{number}", "maildir", f"/v/s{number}", Compared()) for number in range(500)
    ]
    refuse_same(tables)
    assert Compared.times == 0
    with pytest.raises(UsageError, match=r"sources\.t reads the same as sources\.s7: keep"):
        refuse_same([*tables, SourceTable("t", "maildir", "/v/s7", Compared())])
    assert Compared.times == 1


def test_an_option_on_a_command_line_is_refused_where_it_is_not_utf_8() -> None:
    with pytest.raises(UsageError, match="account: is not UTF-8 where it has %"):
        parse_source("maildir:/x?account=%ff")


def test_a_command_line_names_a_source(path: Path) -> None:
    table = parse_source("work=imaps:host:1993?login=a%26b&accounts=x,y&timeout=5")
    assert table == SourceTable(
        "work",
        "imaps",
        "host:1993",
        {"login": "a&b", "accounts": ("x", "y"), "timeout": 5},
    )
    one = parse_source("maildir:/home/?/Maildir?account=alice@example.com")
    assert (one.location, one.given) == ("/home/?/Maildir", {"account": "alice@example.com"})
    assert parse_source("maildir:/srv/?/{user}").location == "/srv/?/{user}"
    with pytest.raises(UsageError, match="a source can't be called 'a b'"):
        parse_source("a b=maildir:/x")


def test_an_origin_is_a_name_or_where_it_was_before_it_had_one() -> None:
    assert is_origin("mail", "mail", "imaps:host")
    assert is_origin("imaps:host", "mail", "imaps:host")
    assert is_origin("imaps:host?login=x", "mail", "imaps:host")
    assert not is_origin("imaps:other?login=x", "mail", "imaps:host")
    assert not is_origin("", "mail", "imaps:host")


def test_one_setting_of_a_source_is_changed_where_it_stands_as_a_comment(path: Path) -> None:
    path.write_text(config.template([SourceTable("mail", "imaps", "host")], KINDS))
    before = path.read_text()
    settings = config.set_value(path, "sources.mail.login", "backup", KINDS)
    assert config.get(settings, "sources.mail.login", KINDS) == "backup"
    assert config.get(settings, "sources.mail.timeout", KINDS) == 60
    assert path.read_text() == before.replace('#login = ""\n', 'login = "backup"\n')
    config.set_value(path, "sources.old", "maildir:/srv/{user}", KINDS)
    assert path.read_text().startswith(before.replace('#login = ""\n', 'login = "backup"\n'))
    assert [table.name for table in config.load(path, KINDS).source_tables] == ["mail", "old"]
    for key, message in (
        ("sources.third.login", "there is no source third; there are mail, old"),
        ("sources.old.login", "there is no setting login of such a source; there are account"),
        ("sources.old", "sources.old is there: set sources.old.location"),
    ):
        with pytest.raises(UsageError, match=message):
            config.set_value(path, key, "maildir:/x", KINDS)


EARLIER = """\
# Our backup. Ask Dana before you change anything.
# Where the items come from. A list of one or more different "KIND:LOCATION", as in
# ["maildir:/var/vmail/{user}"].
sources = [
    "imaps:one.example.com", # the old one
    "imaps:two.example.com:1993?login=other&password_variable=TWO",
    # this was slow:
    "maildir:/srv/{user}",
]

[scan]
workers = 3 # not more

[imap]
# The administrator's name at the IMAP server. A name, or nothing; default "".
login = "backup"
# since March
password_file = "/etc/timefs/password" # by puppet
accounts_command = "doveadm user '*'"
timeout = 60

[log]
level = "debug"
"""


def test_the_earlier_form_is_read_as_before_and_made_into_tables(path: Path) -> None:
    settings = load(path, EARLIER)
    before = configured(settings)
    assert [table.name for table in before] == list(settings.sources)
    assert before[1].given["password_variable"] == "TWO"
    assert "password_file" not in before[1].given
    assert before[1].given["accounts_command"] == "doveadm user '*'"
    assert config.get(settings, "imap.login", KINDS) == "backup"
    assert config.set_value(path, "imap.login", "b2", KINDS).earlier["imap"]["login"] == "b2"
    path.write_text(EARLIER)
    tables = config.upgrade(path, KINDS)
    assert [table.name for table in tables] == ["mail", "mail2", "mail3"]
    after = config.load(path, KINDS)
    assert after.source_tables == tables
    assert (after.workers, after.log_level, after.sources, after.earlier) == (3, "debug", (), {})
    for old, new in zip(before, tables, strict=True):
        assert old.spec == new.spec
        assert new.fills(old.name)
        assert {k: v for k, v in old.given.items() if v != 60} == new.given
    text = path.read_text()
    for comment in (
        "# Our backup. Ask Dana before you change anything.",
        "# the old one",
        "# this was slow:",
        "# not more",
        "# since March",
        "# by puppet",
    ):
        assert text.count(comment) == 1
    assert text.count("The administrator's name at the IMAP server.") == 2
    assert "Where the items come from" not in text
    assert set(tomllib.loads(text)) == {"scan", "log", "sources"}
    assert config.upgrade(path, KINDS) == ()
    assert path.read_text() == text


def test_a_new_file_in_the_earlier_form_loses_its_explanations(path: Path) -> None:
    path.write_text("sources = ['imaps:host']\nimap.login = 'x'\n[imap.a]\n")
    with pytest.raises(UsageError, match=r"line 3: there is no setting imap\.a"):
        config.upgrade(path, KINDS)
    path.write_text("sources = ['maildir:/x/{user}']\n[imap]\nlogin = 'x'\n")
    config.upgrade(path, KINDS)
    assert config.load(path, KINDS).earlier == {"imap": {"login": "x"}}, "for targets"


def test_a_key_of_the_earlier_form_is_that_of_the_only_source_of_its_kind(path: Path) -> None:
    settings = load(path, TWO.partition("\n\n")[0])
    assert config.of_its_source(settings, "imap.login", KINDS) == "sources.mail.login"
    assert config.get(settings, "imap.login", KINDS) == "backup"
    settings = load(path, TWO)
    assert config.of_its_source(settings, "imap.login", KINDS) == "imap.login"


def test_the_commands_say_which_form_it_is(tmp_path: Path) -> None:
    Maildir(tmp_path / "vmail" / "alice@example.com").deliver(b"Subject: x\n\n", unique="1")
    where = ("-b", tmp_path / "backup")
    spec = f"maildir:{tmp_path}/vmail/{{account}}"
    made = engine("init", *where, "--source", f"work={spec}", "--json")
    assert [source["name"] for source in made.json["sources"]] == ["work"]
    engine("scan", *where)
    (tmp_path / "backup" / "config.toml").write_text(f'sources = ["{spec}"]\n')
    ran = engine("scan", *where, "--json")
    assert (ran.json["created"], ran.json["account_events"]) == (0, [])
    assert "engine config upgrade" in ran.err
    assert engine("config", *where, "upgrade").out == f"{spec} is [sources.mail] now\n"
    ran = engine("scan", *where, "--json")
    assert (ran.err, ran.json["account_events"]) == ("", [])
    assert engine("config", *where, "get", "sources.mail.kind").out == "maildir\n"


def test_what_was_taken_for_a_password_is_not_told() -> None:
    with pytest.raises(UsageError, match="there is no setting password") as told:
        parse_source("imaps:mail.example.com?login=backup&password=geheim")
    assert "geheim" not in str(told.value)
