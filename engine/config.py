"""The settings of a backup path: the file `config.toml` and what may stand in it.

`Settings` is the whole table: a setting is one line there. The file is written by people, so what
is wrong in it is told with file, line and what is allowed, and a change by command leaves every
other line as it is. Secrets are not for this file: a setting names a file or a variable.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from engine import space, tomltext
from engine.allowed import (
    LOG_FORMATS,
    LOG_LEVELS,
    MAIL_ADDRESS,
    TIME_OF_DAY,
    WEEKDAYS,
    Choice,
    Sources,
    Switch,
    Text,
    Texts,
    Type,
    Value,
    Whole,
)
from engine.errors import BackupUnusable, UsageError

MODE = 0o640
"""Of a new file: the backup's group reads it, so that its members can mount."""


class Setting(NamedTuple):
    """What there is to say of a setting."""

    key: str
    """As users write it: `TABLE.NAME`, or just `NAME`."""
    type: Type
    comment: str
    """What it does, and in what unit."""


_SPACE = Text("a share of the disk or a size, as in 5% or 20GiB; 0 for none", space.PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one backup path, all of them allowed values."""

    sources: Annotated[
        tuple[str, ...],
        Setting("sources", Sources(), "Where the items come from."),
    ]
    workers: Annotated[
        int,
        Setting("scan.workers", Whole(1, 64), "How many accounts are scanned at once."),
    ] = 2
    daily: Annotated[
        str,
        Setting(
            "scan.daily",
            Text(f"{TIME_OF_DAY.what}, or nothing for never", f"({TIME_OF_DAY.pattern})?"),
            "When 'engine run' makes a smart scan each day. One that was missed, for nothing ran "
            "then, is not made up for.",
        ),
    ] = "04:00"
    level: Annotated[
        int,
        Setting(
            "compression.level",
            Whole(0, 19),
            "Level of zstd for new content: a higher one makes it smaller and takes longer. "
            "0 is none, for storage that compresses by itself.",
        ),
    ] = 3
    frame_kib: Annotated[
        int,
        Setting(
            "compression.frame_kib",
            Whole(16, 1024),
            "How much content is compressed together, in KiB: more makes it smaller, and reading "
            "a single message slower.",
        ),
    ] = 128
    restore_workers: Annotated[
        int,
        Setting("restore.workers", Whole(1, 64), "How many messages are restored at once."),
    ] = 4
    restore_bandwidth: Annotated[
        int,
        Setting(
            "restore.bandwidth",
            Whole(0, 10_000_000),
            "How much a restore may write, in KiB a second, so that users don't notice it; "
            "0 is as fast as it goes.",
        ),
    ] = 0
    imap_method: Annotated[
        str,
        Setting(
            "imap.method",
            Choice(("master", "authzid", "each", "xoauth2")),
            "How mailboxes of IMAP servers are opened. master: the administrator logs in as "
            "ACCOUNT*LOGIN (Dovecot). authzid: the administrator logs in with the account as "
            "authorization identity (Cyrus, Zimbra, Dovecot). each: every account with its own "
            "password. xoauth2: every account with a token.",
        ),
    ] = "master"
    imap_login: Annotated[
        str,
        Setting(
            "imap.login",
            Text("a name, or nothing"),
            "The administrator's name at the IMAP server.",
        ),
    ] = ""
    imap_separator: Annotated[
        str,
        Setting(
            "imap.separator",
            Text("one or more characters", r"[^\0\r\n]+"),
            "What stands between the account and the login for the method master.",
        ),
    ] = "*"
    imap_password_file: Annotated[
        str,
        Setting(
            "imap.password_file",
            Text("a file's path, or nothing"),
            "A file whose first line is the password. {account} and {login} in it stand for the "
            "account and for the name that it logs in with, here and in commands.",
        ),
    ] = ""
    imap_password_variable: Annotated[
        str,
        Setting(
            "imap.password_variable",
            Text("a variable's name, or nothing", r"[A-Za-z0-9_]*"),
            "Or the environment variable that holds it.",
        ),
    ] = ""
    imap_password_command: Annotated[
        str,
        Setting(
            "imap.password_command",
            Text("a command, or nothing"),
            "Or a command that prints it. It is run without a shell.",
        ),
    ] = ""
    imap_token_command: Annotated[
        str,
        Setting(
            "imap.token_command",
            Text("a command, or nothing"),
            "A command that prints an access token, for the method xoauth2.",
        ),
    ] = ""
    imap_accounts: Annotated[
        tuple[str, ...],
        Setting(
            "imap.accounts",
            Texts('a list of accounts, as in ["alice@example.com"]'),
            "The accounts of the IMAP server.",
        ),
    ] = ()
    imap_accounts_file: Annotated[
        str,
        Setting(
            "imap.accounts_file",
            Text("a file's path, or nothing"),
            "Or a file of them, one in a line. A second word in a line is the name that the "
            "account logs in with, where that is another one.",
        ),
    ] = ""
    imap_accounts_command: Annotated[
        str,
        Setting(
            "imap.accounts_command",
            Text("a command, or nothing"),
            "Or a command that prints such lines, as in \"doveadm user '*'\". An account that it "
            "names no more is taken for deleted.",
        ),
    ] = ""
    imap_unencrypted: Annotated[
        bool,
        Setting(
            "imap.unencrypted",
            Switch(),
            "Whether sources that begin with imap: may do without STARTTLS. On the way to this "
            "machine itself they always do.",
        ),
    ] = False
    imap_ca_file: Annotated[
        str,
        Setting(
            "imap.ca_file",
            Text("a file's path, or nothing"),
            "Certificates (PEM) to trust instead of the system's, for an authority of your own.",
        ),
    ] = ""
    imap_connections: Annotated[
        int,
        Setting(
            "imap.connections",
            Whole(1, 256),
            "How many connections there are to a server at most. Fewer than scan.workers makes "
            "accounts wait for each other.",
        ),
    ] = 4
    imap_listeners: Annotated[
        int,
        Setting(
            "imap.listeners",
            Whole(0, 10000),
            "How many accounts of a server the real-time scan listens to at most, each with a "
            "connection of its own beside imap.connections. Others are looked at every "
            "realtime.poll_seconds.",
        ),
    ] = 100
    imap_timeout: Annotated[
        int,
        Setting(
            "imap.timeout",
            Whole(1, 3600),
            "For how many seconds a server may be silent before it is given up.",
        ),
    ] = 60
    imap_shared: Annotated[
        bool,
        Setting(
            "imap.shared",
            Switch(),
            "Whether the folders that others share with an account, and public ones, are backed "
            "up as if they were its own. Each account then has a copy of them.",
        ),
    ] = False
    imap_sieve_port: Annotated[
        int,
        Setting(
            "imap.sieve_port",
            Whole(0, 65535),
            "Port of ManageSieve, usually 4190: the accounts' filters are backed up, too. 0 for "
            "none.",
        ),
    ] = 0
    realtime: Annotated[
        bool,
        Setting(
            "realtime.enabled",
            Switch(),
            "Whether 'engine run' follows the sources and records each change as it happens.",
        ),
    ] = True
    realtime_quiet: Annotated[
        int,
        Setting(
            "realtime.quiet_ms",
            Whole(0, 60_000),
            "An account is looked at once nothing has happened in it for so many milliseconds: "
            "what belongs together is then recorded together.",
        ),
    ] = 30
    realtime_patience: Annotated[
        int,
        Setting(
            "realtime.patience_ms",
            Whole(0, 600_000),
            "An account in which something happens all the time is looked at after so many "
            "milliseconds anyway.",
        ),
    ] = 300
    realtime_poll: Annotated[
        int,
        Setting(
            "realtime.poll_seconds",
            Whole(1, 86_400),
            "How often that is looked at of which no events tell: mail on a network file system, "
            "or beyond the system's limit of watches.",
        ),
    ] = 60
    retention_data_days: Annotated[
        int,
        Setting(
            "retention.data_days",
            Whole(0, 36_500),
            "For how many days what was deleted from a mailbox stays in the backup, before a purge "
            "removes it. 0 is for ever.",
        ),
    ] = 30
    retention_accounts_days: Annotated[
        int,
        Setting(
            "retention.accounts_days",
            Whole(0, 36_500),
            "For how many days deleted accounts stay, with all that they held. 0 is for ever.",
        ),
    ] = 30
    purge_day: Annotated[
        str,
        Setting(
            "purge.day",
            Choice((*WEEKDAYS, "never")),
            "On which day of each week 'engine run' removes what is past its retention.",
        ),
    ] = "saturday"
    purge_time: Annotated[
        str,
        Setting("purge.time", TIME_OF_DAY, "At which time of that day."),
    ] = "04:00"
    space_warn: Annotated[
        str,
        Setting(
            "space.warn",
            _SPACE,
            "Less free space than this where the backup path is, is told as a warning.",
        ),
    ] = "10%"
    space_stop: Annotated[
        str,
        Setting(
            "space.stop",
            _SPACE,
            "With less free space than this no scan is made, so that the disk is never full. They "
            "go on when there is room.",
        ),
    ] = "2%"
    log_level: Annotated[
        str,
        Setting("log.level", Choice(LOG_LEVELS), "From which level on 'engine run' logs."),
    ] = "info"
    log_format: Annotated[
        str,
        Setting(
            "log.format",
            Choice(LOG_FORMATS),
            "How it logs: lines of NAME=VALUE, or a JSON object a line.",
        ),
    ] = "plain"
    metrics_listen: Annotated[
        str,
        Setting(
            "metrics.listen",
            Text("HOST:PORT, or nothing", r"((\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5})?"),
            "Where 'engine run' tells Prometheus its metrics, over HTTP without a password: an "
            "address that only this machine reaches, such as 127.0.0.1:9187.",
        ),
    ] = ""
    metrics_textfile: Annotated[
        str,
        Setting(
            "metrics.textfile",
            Text("a file's absolute path ending in .prom, or nothing", r"(/[^\0\r\n]*\.prom)?"),
            "A file for the same metrics, which the node exporter's textfile collector reads. "
            "Written every 15 s.",
        ),
    ] = ""
    operation_days: Annotated[
        int,
        Setting(
            "operations.days",
            Whole(0, 36_500),
            "For how many days 'engine operations' lists what ended. 0 is for ever.",
        ),
    ] = 90
    alert_share: Annotated[
        int,
        Setting(
            "alert.share_percent",
            Whole(0, 100),
            "A scan that finds at least this share of an account's messages gone at once is told "
            "as a warning, while they are still kept.",
        ),
    ] = 33
    alert_least: Annotated[
        int,
        Setting(
            "alert.least",
            Whole(1, 1_000_000_000),
            "But not if fewer than so many are gone.",
        ),
    ] = 100
    notify_level: Annotated[
        str,
        Setting(
            "notify.level",
            Choice(("information", "warning", "error", "critical")),
            "From which level on notifications are sent.",
        ),
    ] = "warning"
    notify_mail_to: Annotated[
        tuple[str, ...],
        Setting(
            "notify.mail_to",
            Texts('a list of mail addresses, as in ["admin@example.com"]', MAIL_ADDRESS),
            "Who gets notifications by mail. Try it with 'engine notifications test'.",
        ),
    ] = ()
    notify_mail_from: Annotated[
        str,
        Setting(
            "notify.mail_from",
            Text("a mail address, or nothing for timefs@ this host", f"({MAIL_ADDRESS})?"),
            "Who such mails are from.",
        ),
    ] = ""
    notify_smtp: Annotated[
        str,
        Setting(
            "notify.smtp",
            Text(
                "HOST or HOST:PORT, or nothing",
                r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?|",
            ),
            "The mail server that takes them. Without, notify.sendmail is run.",
        ),
    ] = ""
    notify_smtp_security: Annotated[
        str,
        Setting(
            "notify.smtp_security",
            Choice(("starttls", "tls", "none")),
            "How that is spoken with. The port is 587 with starttls, 465 with tls and 25 with "
            "none, unless notify.smtp says another.",
        ),
    ] = "starttls"
    notify_smtp_ca: Annotated[
        str,
        Setting(
            "notify.smtp_ca",
            Text("a file's path, or nothing for the system's"),
            "The certificates that vouch for that server, in PEM.",
        ),
    ] = ""
    notify_smtp_user: Annotated[
        str,
        Setting(
            "notify.smtp_user",
            Text("a name, or nothing for no login"),
            "Who logs in there.",
        ),
    ] = ""
    notify_smtp_password_file: Annotated[
        str,
        Setting(
            "notify.smtp_password_file",
            Text("a file's path, or nothing"),
            "The file that holds the password for it; nobody else should be able to read it.",
        ),
    ] = ""
    notify_sendmail: Annotated[
        str,
        Setting(
            "notify.sendmail",
            Text("a program's path", r"/[^\0\r\n]+"),
            "The program that sends mails where notify.smtp is empty.",
        ),
    ] = "/usr/sbin/sendmail"
    notify_command: Annotated[
        str,
        Setting(
            "notify.command",
            Text("a shell's command, or nothing"),
            "What is run for each notification, with its text on standard input and TIMEFS_LEVEL, "
            "TIMEFS_SUBJECT and TIMEFS_EVENT in its environment.",
        ),
    ] = ""


_HINTS = get_type_hints(Settings, include_extras=True)
_TABLE: dict[str, tuple[str, Setting, Value | None]] = {
    setting.key: (field.name, setting, None if field.default is MISSING else field.default)
    for field in fields(Settings)
    for setting in _HINTS[field.name].__metadata__
}
"""By key: the field's name, the setting, and its default, or None if it must be given."""

_HEAD = """\
# The settings of this backup path. Edit them here, or with: engine config set KEY VALUE
# What is missing has its default.
"""


class Row(NamedTuple):
    """A setting, for help texts."""

    key: str
    allowed: str
    default: str
    """As one would write it; empty if the setting must be given."""
    comment: str


def describe() -> list[Row]:
    """All settings, in the order of the file."""
    return [
        Row(
            key,
            setting.type.allowed,
            "" if default is None else setting.type.write(default),
            setting.comment,
        )
        for key, (_, setting, default) in _TABLE.items()
    ]


def template(sources: Sequence[str]) -> str:
    """The text of a new `config.toml`: every setting, with a comment that explains it.

    Raises UsageError if a source isn't KIND:LOCATION in UTF-8, or is given twice.
    """
    given: dict[str, Any] = {"sources": _checked(_TABLE["sources"][1], list(sources))}
    settings = Settings(**given)
    lines, table = [_HEAD], ""
    for key in _TABLE:
        above, _, name = key.rpartition(".")
        if above != table:
            lines.append(f"[{above}]")
            table = above
        lines.append(_explained(key, name, get(settings, key)))
    return "\n".join(lines)


def load(path: Path) -> Settings:
    """The settings in the file at `path`.

    Raises BackupUnusable if it can't be read, and UsageError if what it says isn't allowed.
    """
    return _settings(path, _read(path))


def get(settings: Settings, key: str) -> Value:
    """The value of the setting `key`. Raises UsageError if there is none of that name."""
    value: Value = getattr(settings, _known(key)[0])
    return value


def replaced(settings: Settings, table: str, values: Mapping[str, str], where: str) -> Settings:
    """The settings with others for some of a table, given as text by their names in it.

    `where` is what gives them, for messages. A list may be given with commas. Raises UsageError if
    there is no such setting, or for a value that isn't allowed.
    """
    changes: dict[str, Any] = {}
    for name, text in values.items():
        field, setting, _ = _known(f"{table}.{name}", f"{where}: ")
        value = setting.type.parse(text)
        if isinstance(setting.type, Texts) and not text.startswith("["):
            value = text.split(",")
        changes[field] = _checked(setting, value, f"{where}: ")
    return replace(settings, **changes)


def set_value(path: Path, key: str, value: str) -> Settings:
    """Changes one setting in the file at `path`, durably, and returns what holds from now on.

    `value` is a number, a source, or a list of sources as TOML. All else in the file stays. Raises
    UsageError if key or value isn't allowed, or if anything else in the file isn't, and
    BackupUnusable if the file can't be read or written.
    """
    setting = _known(key)[1]
    new = _checked(setting, setting.type.parse(value))
    text = _read(path)
    _document(path, text)
    text = _changed(path, text, key, new)
    settings = _settings(path, text)
    write(path, text)
    return settings


def write(path: Path, text: str) -> None:
    """Makes `text` the content of the file at `path`: wholly or, after a crash, not at all.

    A file that was there keeps its owner and mode. Raises BackupUnusable if it can't be written.
    """
    path = Path(os.path.realpath(path))
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                _take_over(file.fileno(), path)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BackupUnusable(f"can't write {path}: {error.strerror}") from error


def _take_over(descriptor: int, path: Path) -> None:
    """Gives a new file the owner and mode of the one that it is to replace, if there is one."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, MODE)
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BackupUnusable(
            f"{path} is missing: put it back, or make it anew with 'sources = [\"KIND:LOCATION\"]'"
        ) from error
    except OSError as error:
        raise BackupUnusable(f"can't read {path}: {error.strerror}") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8, which a TOML file must be") from error


def _document(path: Path, text: str) -> dict[str, Any]:
    """`text` as TOML, or a UsageError that says in which line it isn't."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        seen: dict[tomltext.Path, int] = {}
        for statement in tomltext.statements(text):
            first = seen.setdefault(statement.path, statement.line)
            if first != statement.line:
                raise UsageError(
                    f"{path}, line {statement.line}: {tomltext.dotted(statement.path)} stands in"
                    f" line {first} already: keep one of them"
                ) from error
        what = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        if what is None:
            raise UsageError(f"{path}: not valid TOML: {error}") from error
        raise UsageError(f"{path}, line {what[2]}: not valid TOML: {what[1]}") from error


def _settings(path: Path, text: str) -> Settings:
    values: dict[str, Any] = {}
    for keys, value in _leaves(_document(path, text)):
        where = f"{path}, line {_line(text, keys)}: "
        name, setting, _ = _known(tomltext.dotted(keys), where)
        values[name] = _checked(setting, value, where)
    for key, (name, setting, default) in _TABLE.items():
        if default is None and name not in values:
            raise UsageError(f"{path}: {key} is missing; it takes {setting.type.allowed}")
    return Settings(**values)


def _leaves(
    document: dict[str, Any], above: tomltext.Path = ()
) -> Iterator[tuple[tomltext.Path, object]]:
    """The paths of all that isn't a table of settings, with the values."""
    tables = {key.rpartition(".")[0] for key in _TABLE}
    for name, value in document.items():
        path = (*above, name)
        if isinstance(value, dict) and tomltext.dotted(path) in tables:
            yield from _leaves(value, path)
        else:
            yield path, value


def _line(text: str, path: tomltext.Path) -> int:
    """The line of the key at `path`, or of the table in one line that holds it."""
    for length in range(len(path), 0, -1):
        for statement in tomltext.statements(text):
            if statement.path == path[:length]:
                return statement.line
    return 1


def _known(key: str, where: str = "") -> tuple[str, Setting, Value | None]:
    if key not in _TABLE:
        raise UsageError(f"{where}there is no setting {key}; there are {', '.join(_TABLE)}")
    return _TABLE[key]


def _checked(setting: Setting, value: object, where: str = "") -> Value:
    checked = setting.type.check(value)
    if checked is None:
        shown = textwrap.shorten(json.dumps(value, default=str), 80, placeholder=" ...")
        raise UsageError(f"{where}{setting.key} can't be {shown}; it takes {setting.type.allowed}")
    return checked


def _explained(key: str, name: str, value: Value) -> str:
    """The line `name = value` for the setting `key`, with the comment above that explains it."""
    _, setting, default = _TABLE[key]
    allowed = setting.type.allowed
    comment = f"{setting.comment} {allowed[:1].upper()}{allowed[1:]}"
    comment += "." if default is None else f"; default {setting.type.write(default)}."
    lines = textwrap.wrap(comment, 96, initial_indent="# ", subsequent_indent="# ")
    return "\n".join(lines) + f"\n{name} = {setting.type.write(value)}\n"


def _changed(path: Path, text: str, key: str, value: Value) -> str:
    """`text`, which is valid TOML, with `key` set to `value` and all else as it is."""
    keys = tuple(key.split("."))
    table, place = keys[:-1], None
    for statement in tomltext.statements(text):
        where = f"{path}, line {statement.line}"
        if statement.path == keys and not statement.header:
            if statement.comments:
                raise UsageError(f"{where}: there are comments in the value: edit it by hand")
            return (
                text[: statement.start] + _TABLE[key][1].type.write(value) + text[statement.end :]
            )
        if statement.path == table and not statement.header:
            raise UsageError(f"{where}: the table is written in one line: edit it by hand")
        if statement.path[: len(table)] == table and statement.table in ((), table):
            place = statement
    name = keys[-1] if place is None else ".".join(keys[len(place.table) :])
    lines = f"\n{_explained(key, name, value)}"
    end = len(text)
    if place is not None:
        end = text.find("\n", place.end) + 1 or len(text)
    elif table:
        lines = f"\n[{'.'.join(table)}]{lines}"
    else:
        lines, end = lines[1:] + "\n", 0
    if not text[:end].endswith("\n"):
        lines = lines if end == 0 else f"\n{lines}"
    return text[:end] + lines + text[end:]
