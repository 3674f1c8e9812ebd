"""What a source at an IMAP server takes in the settings. What speaks with one is loaded later."""

from typing import Annotated

from engine.settings.credentials import Credentials
from engine.settings.declared import Setting
from engine.settings.types import (
    BooleanSetting,
    ChoiceSetting,
    IntegerSetting,
    TextListSetting,
    TextSetting,
)

ACCOUNTS_WAYS = ("accounts", "accounts_file", "accounts_command")
"""Of which one at most is to be given."""


class ImapSettings(Credentials, frozen=True, kw_only=True):
    """The options of a source or target at an IMAP server, all of them allowed values."""

    method: Annotated[
        str,
        Setting(
            "method",
            ChoiceSetting(("master", "authzid", "each", "xoauth2")),
            "How mailboxes of IMAP servers are opened. master: the administrator logs in as "
            "ACCOUNT*LOGIN (Dovecot). authzid: the administrator logs in with the account as "
            "authorization identity (Cyrus, Zimbra, Dovecot). each: every account with its own "
            "password. xoauth2: every account with a token.",
        ),
    ] = "master"
    login: Annotated[
        str,
        Setting(
            "login",
            TextSetting("a name, or nothing"),
            "The administrator's name at the IMAP server.",
        ),
    ] = ""
    separator: Annotated[
        str,
        Setting(
            "separator",
            TextSetting("one or more characters", r"[^\0\r\n]+"),
            "What stands between the account and the login for the method master.",
        ),
    ] = "*"
    token_command: Annotated[
        str,
        Setting(
            "token_command",
            TextSetting("a command, or nothing"),
            "A command that prints an access token, for the method xoauth2.",
        ),
    ] = ""
    accounts: Annotated[
        tuple[str, ...],
        Setting(
            "accounts",
            TextListSetting('a list of accounts, as in ["alice@example.com"]'),
            "The accounts of the IMAP server.",
        ),
    ] = ()
    accounts_file: Annotated[
        str,
        Setting(
            "accounts_file",
            TextSetting("a file's path, or nothing"),
            "Or a file of them, one in a line. A second word in a line is the name that the "
            "account logs in with, where that is another one.",
        ),
    ] = ""
    accounts_command: Annotated[
        str,
        Setting(
            "accounts_command",
            TextSetting("a command, or nothing"),
            "Or a command that prints such lines, as in \"doveadm user '*'\". An account that it "
            "names no more is taken for deleted.",
        ),
    ] = ""
    unencrypted: Annotated[
        bool,
        Setting(
            "unencrypted",
            BooleanSetting(),
            "Whether a source of the kind imap may do without STARTTLS. On the way to this "
            "machine itself they always do.",
        ),
    ] = False
    ca_file: Annotated[
        str,
        Setting(
            "ca_file",
            TextSetting("a file's path, or nothing"),
            "Certificates (PEM) to trust instead of the system's, for an authority of your own.",
        ),
    ] = ""
    connections: Annotated[
        int,
        Setting(
            "connections",
            IntegerSetting(1, 256),
            "How many connections there are to a server at most. Fewer than scan.workers makes "
            "accounts wait for each other.",
        ),
    ] = 4
    listeners: Annotated[
        int,
        Setting(
            "listeners",
            IntegerSetting(0, 10000),
            "How many accounts of a server the real-time scan listens to at most, each with a "
            "connection of its own beside connections. Others are looked at every "
            "realtime.poll_seconds.",
        ),
    ] = 100
    timeout: Annotated[
        int,
        Setting(
            "timeout",
            IntegerSetting(1, 3600),
            "For how many seconds a server may be silent before it is given up. So it is where a "
            "command takes 5 times as long and less than 256 bytes a second come, or 60 times as "
            "long and less than 64 KiB a second. That is for each command: an account as a whole "
            "may take as long as its commands make progress.",
        ),
    ] = 60
    pipelining: Annotated[
        bool,
        Setting(
            "pipelining",
            BooleanSetting(),
            "Whether commands are sent before the ones before them are answered. Servers must "
            "allow that; for one that can't, set it to false: it takes longer then.",
        ),
    ] = True
    most_folders: Annotated[
        int,
        Setting(
            "most_folders",
            IntegerSetting(1, 100_000_000),
            "How many folders a server may list for one account. One that lists more is given up, "
            "for it may list without end.",
        ),
    ] = 100_000
    most_messages: Annotated[
        int,
        Setting(
            "most_messages",
            IntegerSetting(1, 1_000_000_000),
            "How many messages it may list of one folder. Each takes about 400 bytes of memory "
            "during a scan.",
        ),
    ] = 2_000_000
    shared: Annotated[
        bool,
        Setting(
            "shared",
            BooleanSetting(),
            "Whether the folders that others share with an account, and public ones, are backed "
            "up as if they were its own. Each account then has a copy of them.",
        ),
    ] = False
    sieve_port: Annotated[
        int,
        Setting(
            "sieve_port",
            IntegerSetting(0, 65535),
            "Port of ManageSieve, usually 4190: the accounts' filters are backed up, too. 0 for "
            "none.",
        ),
    ] = 0
