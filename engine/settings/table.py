"""What can be set of a backup path: the table of all settings, a field each.

Not for the file that they stand in: that is `engine.settings.config`. Secrets are not for settings:
one names a file, a variable or a command.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from engine.settings.declared import Setting
from engine.settings.sources import SourceTable
from engine.settings.types import (
    LOG_FORMATS,
    MAIL_ADDRESS,
    TIME_OF_DAY,
    WEEKDAYS,
    BooleanSetting,
    ChoiceSetting,
    IntegerSetting,
    Sources,
    TextListSetting,
    TextSetting,
    Value,
)
from engine.system import space
from engine.system.logs import LOG_LEVELS

_SPACE = TextSetting("a share of the disk or a size, as in 5% or 20GiB; 0 for none", space.PATTERN)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one backup path, all of them allowed values."""

    sources: Annotated[
        tuple[str, ...],
        Setting("sources", Sources(), "Where the items come from, in the earlier form: a list."),
    ] = ()
    source_tables: tuple[SourceTable, ...] = ()
    """Where the items come from: the tables `[sources.NAME]`."""
    earlier: Mapping[str, Mapping[str, Value]] = {}
    """Tables of what sources of a kind have in common, in the earlier form."""
    workers: Annotated[
        int,
        Setting("scan.workers", IntegerSetting(1, 64), "How many accounts are scanned at once."),
    ] = 2
    daily: Annotated[
        str,
        Setting(
            "scan.daily",
            TextSetting(f"{TIME_OF_DAY.what}, or nothing for never", f"({TIME_OF_DAY.pattern})?"),
            "When 'engine run' makes a smart scan each day. One that was missed, for nothing ran "
            "then, is not made up for.",
        ),
    ] = "04:00"
    largest_message: Annotated[
        str,
        Setting(
            "scan.largest_message",
            TextSetting("a size, as in 1GiB", rf"(?!0+(\.0)?[KMGT]){space.SIZE}"),
            "A longer message is not read, but named as a problem of each scan; all else is backed "
            "up. Users can make files of any length, which cost them nothing.",
        ),
    ] = "1GiB"
    files_turns: Annotated[
        int,
        Setting(
            "scan.files_turns",
            IntegerSetting(0, 10_000),
            "Each scan looks at the files of the folders that changed, and of one in so many of "
            "those that didn't, in turn: whether one was written to in place, as ransomware does. "
            "1 is all of them each time, 0 none.",
        ),
    ] = 7
    level: Annotated[
        int,
        Setting(
            "compression.level",
            IntegerSetting(0, 19),
            "Level of zstd for new content: a higher one makes it smaller and takes longer. "
            "0 is none, for storage that compresses by itself.",
        ),
    ] = 3
    frame_kib: Annotated[
        int,
        Setting(
            "compression.frame_kib",
            IntegerSetting(16, 1024),
            "How much content is compressed together, in KiB: more makes it smaller, and reading "
            "a single message slower.",
        ),
    ] = 128
    restore_workers: Annotated[
        int,
        Setting(
            "restore.workers", IntegerSetting(1, 64), "How many messages are restored at once."
        ),
    ] = 4
    restore_bandwidth: Annotated[
        int,
        Setting(
            "restore.bandwidth",
            IntegerSetting(0, 10_000_000),
            "How much a restore may write, in KiB a second, so that users don't notice it; "
            "0 is as fast as it goes.",
        ),
    ] = 0
    restore_unpack: Annotated[
        bool,
        Setting(
            "restore.unpack",
            BooleanSetting(),
            "Whether messages that their server kept compressed are restored to an IMAP server as "
            "they were before. The backup has what the server kept, and what arrives is then not "
            "the same byte for byte; else each is named as a failure. What is encrypted never "
            "goes there.",
        ),
    ] = False
    realtime: Annotated[
        bool,
        Setting(
            "realtime.enabled",
            BooleanSetting(),
            "Whether 'engine run' follows the sources and records each change as it happens.",
        ),
    ] = True
    realtime_quiet: Annotated[
        int,
        Setting(
            "realtime.quiet_ms",
            IntegerSetting(0, 60_000),
            "An account is looked at once nothing has happened in it for so many milliseconds: "
            "what belongs together is then recorded together.",
        ),
    ] = 30
    realtime_patience: Annotated[
        int,
        Setting(
            "realtime.patience_ms",
            IntegerSetting(0, 600_000),
            "An account in which something happens all the time is looked at after so many "
            "milliseconds anyway.",
        ),
    ] = 300
    realtime_poll: Annotated[
        int,
        Setting(
            "realtime.poll_seconds",
            IntegerSetting(1, 86_400),
            "How often that is looked at of which no events tell: mail on a network file system, "
            "or beyond the system's limit of watches.",
        ),
    ] = 60
    retention_data_days: Annotated[
        int,
        Setting(
            "retention.data_days",
            IntegerSetting(0, 36_500),
            "For how many days what was deleted from a mailbox stays in the backup, before a purge "
            "removes it. 0 is for ever.",
        ),
    ] = 30
    retention_accounts_days: Annotated[
        int,
        Setting(
            "retention.accounts_days",
            IntegerSetting(0, 36_500),
            "For how many days deleted accounts stay, with all that they held. 0 is for ever.",
        ),
    ] = 30
    purge_day: Annotated[
        str,
        Setting(
            "purge.day",
            ChoiceSetting((*WEEKDAYS, "never")),
            "On which day of each week 'engine run' removes what is past its retention.",
        ),
    ] = "saturday"
    purge_time: Annotated[
        str,
        Setting("purge.time", TIME_OF_DAY, "At which time of that day."),
    ] = "04:00"
    journal_copy_time: Annotated[
        str,
        Setting(
            "journal.copy_time",
            TextSetting(f"{TIME_OF_DAY.what}, or nothing for never", f"({TIME_OF_DAY.pattern})?"),
            "When 'engine run' copies the journal each day, to 'journal-copies' in the backup "
            "path. 'engine check --repair' uses the newest copy where the journal is damaged.",
        ),
    ] = "05:00"
    journal_copy_days: Annotated[
        int,
        Setting(
            "journal.copy_days",
            IntegerSetting(0, 36_500),
            "For how many days a copy is kept. 0 keeps only the newest.",
        ),
    ] = 7
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
        Setting("log.level", ChoiceSetting(LOG_LEVELS), "From which level on 'engine run' logs."),
    ] = "info"
    log_format: Annotated[
        str,
        Setting(
            "log.format",
            ChoiceSetting(LOG_FORMATS),
            "How it logs: lines of NAME=VALUE, or a JSON object a line.",
        ),
    ] = "plain"
    metrics_listen: Annotated[
        str,
        Setting(
            "metrics.listen",
            TextSetting(
                "HOST:PORT, or nothing", r"((\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5})?"
            ),
            "Where 'engine run' tells Prometheus its metrics, over HTTP without a password: an "
            "address that only this machine reaches, such as 127.0.0.1:9187.",
        ),
    ] = ""
    metrics_textfile: Annotated[
        str,
        Setting(
            "metrics.textfile",
            TextSetting(
                "a file's absolute path ending in .prom, or nothing", r"(/[^\0\r\n]*\.prom)?"
            ),
            "A file for the same metrics, which the node exporter's textfile collector reads. "
            "Written every 15 s.",
        ),
    ] = ""
    operation_days: Annotated[
        int,
        Setting(
            "operations.days",
            IntegerSetting(0, 36_500),
            "For how many days 'engine operations' lists what ended. 0 is for ever.",
        ),
    ] = 90
    past_imap_live: Annotated[
        str,
        Setting(
            "past_imap.live",
            TextSetting("imaps:HOST[:PORT], imap:HOST[:PORT], or nothing", r"(imaps?:[^\s\0]+)?"),
            "The live mail server, which knows the passwords of those who look at their past with "
            "'engine past-imap'. imap: is with STARTTLS, unless it is on loopback.",
        ),
    ] = ""
    past_imap_ca_file: Annotated[
        str,
        Setting(
            "past_imap.ca_file",
            TextSetting("a file's path, or nothing for the system's"),
            "The certificates that vouch for that server, in PEM.",
        ),
    ] = ""
    past_imap_mount: Annotated[
        str,
        Setting(
            "past_imap.mount",
            TextSetting("a directory's absolute path", r"/[^\0\r\n]*"),
            "Where the backup is mounted for it, with -o allow_other and uid= of past_imap.user.",
        ),
    ] = "/mnt/backup-at"
    past_imap_directory: Annotated[
        str,
        Setting(
            "past_imap.directory",
            TextSetting("a directory's absolute path, or nothing", r"(/[^\0\r\n]*)?"),
            "Where its configuration is, and what Dovecot remembers of mailboxes. It may be "
            "deleted while nobody is connected.",
        ),
    ] = ""
    past_imap_user: Annotated[
        str,
        Setting(
            "past_imap.user",
            TextSetting("a user's name", r"[a-z_][a-z0-9_.-]{0,31}"),
            "Who reads mail in Dovecot, and so must be able to read that mount.",
        ),
    ] = "vmail"
    past_imap_listen: Annotated[
        str,
        Setting(
            "past_imap.listen",
            TextSetting("ADDRESS:PORT", r"([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"),
            "Where the server of the past listens. Beyond loopback it wants a certificate.",
        ),
    ] = "127.0.0.1:10143"
    past_imap_gate: Annotated[
        int,
        Setting(
            "past_imap.gate",
            IntegerSetting(1, 65535),
            "The port on loopback on which that server asks about logins.",
        ),
    ] = 10144
    past_imap_certificate: Annotated[
        str,
        Setting(
            "past_imap.certificate",
            TextSetting("a file's path, or nothing"),
            "The certificate of the server of the past, in PEM.",
        ),
    ] = ""
    past_imap_key: Annotated[
        str,
        Setting("past_imap.key", TextSetting("a file's path, or nothing"), "Its private key."),
    ] = ""
    past_imap_index_days: Annotated[
        int,
        Setting(
            "past_imap.index_days",
            IntegerSetting(1, 3650),
            "How many days Dovecot's indexes of a mailbox are kept after its last use.",
        ),
    ] = 14
    past_imap_index_mib: Annotated[
        int,
        Setting(
            "past_imap.index_mib",
            IntegerSetting(16, 1_000_000),
            "MiB that they may take in all: the least recently used ones go first.",
        ),
    ] = 1024
    alert_share: Annotated[
        int,
        Setting(
            "alert.share_percent",
            IntegerSetting(0, 100),
            "A scan that finds at least this share of an account's messages gone at once is told "
            "as a warning, while they are still kept.",
        ),
    ] = 33
    alert_least: Annotated[
        int,
        Setting(
            "alert.least",
            IntegerSetting(1, 1_000_000_000),
            "But not if fewer than so many are gone.",
        ),
    ] = 100
    notify_level: Annotated[
        str,
        Setting(
            "notify.level",
            ChoiceSetting(("information", "warning", "error", "critical")),
            "From which level on notifications are sent.",
        ),
    ] = "warning"
    notify_mail_to: Annotated[
        tuple[str, ...],
        Setting(
            "notify.mail_to",
            TextListSetting('a list of mail addresses, as in ["admin@example.com"]', MAIL_ADDRESS),
            "Who gets notifications by mail. Try it with 'engine notifications test'.",
        ),
    ] = ()
    notify_mail_from: Annotated[
        str,
        Setting(
            "notify.mail_from",
            TextSetting("a mail address, or nothing for timefs@ this host", f"({MAIL_ADDRESS})?"),
            "Who such mails are from.",
        ),
    ] = ""
    notify_smtp: Annotated[
        str,
        Setting(
            "notify.smtp",
            TextSetting(
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
            ChoiceSetting(("starttls", "tls", "none")),
            "How that is spoken with. The port is 587 with starttls, 465 with tls and 25 with "
            "none, unless notify.smtp says another.",
        ),
    ] = "starttls"
    notify_smtp_ca: Annotated[
        str,
        Setting(
            "notify.smtp_ca",
            TextSetting("a file's path, or nothing for the system's"),
            "The certificates that vouch for that server, in PEM.",
        ),
    ] = ""
    notify_smtp_user: Annotated[
        str,
        Setting(
            "notify.smtp_user",
            TextSetting("a name, or nothing for no login"),
            "Who logs in there.",
        ),
    ] = ""
    notify_smtp_password_file: Annotated[
        str,
        Setting(
            "notify.smtp_password_file",
            TextSetting("a file's path, or nothing"),
            "The file that holds the password for it; nobody else should be able to read it.",
        ),
    ] = ""
    notify_sendmail: Annotated[
        str,
        Setting(
            "notify.sendmail",
            TextSetting("a program's path", r"/[^\0\r\n]+"),
            "The program that sends mails where notify.smtp is empty.",
        ),
    ] = "/usr/sbin/sendmail"
    notify_command: Annotated[
        str,
        Setting(
            "notify.command",
            TextSetting("a shell's command, or nothing"),
            "What is run for each notification, with its text on standard input and TIMEFS_LEVEL, "
            "TIMEFS_SUBJECT and TIMEFS_EVENT in its environment.",
        ),
    ] = ""

    @property
    def largest(self) -> int:
        """`scan.largest_message` in bytes."""
        return int(space.limit(self.largest_message, 0))
