"""A server of the past, running: the gate, Dovecot behind it, and a broom."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine.backup import Backup
from engine.domain.errors import EngineError, SettingMissing, UsageError
from engine.domain.model import ROOT
from engine.domain.timestamps import local_zone
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import StoreState
from engine.past_imap import directory_safety, dovecot, mailboxes
from engine.past_imap.acting import MailUser
from engine.past_imap.dovecot import ServerSettings, SiteSettings
from engine.past_imap.gate import Gate, Later
from engine.past_imap.live import LiveServer, Unavailable, is_loopback, live
from engine.past_imap.logins import LoginRefused, LoginThrottle, split
from engine.past_imap.mailboxes import NotThere
from engine.settings.table import Settings
from engine.system.files import replace_file
from engine.system.logs import Log
from engine.system.stop import Stop

SERVER_FILE, FOLDERS_FILE = "past-server.conf", "backup-folders.conf"
ACL_FILE, FOLDERS_ACL_FILE = "acl", "acl-folders"
ASK_FILE = "ask"
WRONG = "wrong name or password"
ANOTHER = "the name has another mailbox since it was last backed up: try again after the next scan"
_SHARED = 10
"""Failures from one address that slow nobody: a webmail has one for all."""
_PATIENCE = 45.0
"""Seconds that an attempt waits for its turn; with more before it, it is refused at once."""
_BROOM = 600.0
"""Seconds between two rounds of it."""
_LAST = 10.0
"""Seconds that Dovecot has to end."""

_log = Log("past-imap")


class PastServer(NamedTuple):
    """What the settings say, complete."""

    site: SiteSettings
    serving: ServerSettings
    owner: MailUser


def arrangement(settings: Settings) -> PastServer:
    """Raises SettingMissing, UsageError."""
    if not settings.past_imap_directory:
        raise SettingMissing(
            "past_imap.directory is missing: where Dovecot may keep its indexes, as "
            "/var/lib/timefs-past-imap"
        )
    try:
        user = pwd.getpwnam(settings.past_imap_user)
    except KeyError:
        raise UsageError(
            f"past_imap.user: there is no user {settings.past_imap_user!r} here: name the one who "
            "owns the mail"
        ) from None
    host, _, port = settings.past_imap_listen.rpartition(":")
    address = host.strip("[]")
    if bool(settings.past_imap_certificate) != bool(settings.past_imap_key):
        raise UsageError("past_imap.certificate and past_imap.key are set together, or neither")
    if not settings.past_imap_certificate and not is_loopback(address):
        raise UsageError(
            f"past_imap.listen: {address} can be reached from elsewhere, where passwords must not "
            "be sent as they are: set past_imap.certificate and past_imap.key"
        )
    group = grp.getgrgid(user.pw_gid).gr_name
    site = SiteSettings(
        Path(settings.past_imap_mount),
        Path(settings.past_imap_directory),
        user.pw_name,
        group,
    )
    serving = ServerSettings(
        address,
        int(port),
        settings.past_imap_gate,
        settings.past_imap_certificate,
        settings.past_imap_key,
        *(_existing(name, user.pw_name) for name in ("dovecot", "dovenull")),
    )
    return PastServer(site, serving, MailUser(user.pw_uid, user.pw_gid))


def _existing(name: str, otherwise: str) -> str:
    """A system user of Dovecot's own, where there is one and this process may become it."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return otherwise
    return name if os.geteuid() == 0 else otherwise


def write(made: PastServer, version: str, separator: str) -> list[Path]:
    """Writes the configuration; returns the files. Raises OSError, UsageError."""
    directory = made.site.directory
    texts = {
        SERVER_FILE: dovecot.server(version, made.site, made.serving),
        FOLDERS_FILE: dovecot.folders(version, made.site, separator),
        ACL_FILE: dovecot.acl(),
        FOLDERS_ACL_FILE: dovecot.folders_acl(separator),
    }
    if version == "2.3":
        texts[ASK_FILE] = dovecot.ask(made.serving.gate)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        directory_safety.require(directory, made.site.user)
    for name in (mailboxes.SERVER, mailboxes.FOLDER):
        mailboxes.make(directory / name, made.owner)
    for name, text in texts.items():
        replace_file(directory / name, text.encode(), mode=mailboxes.FILE_MODE)
    return [directory / name for name in texts]


def program(name: str) -> str:
    """A program of Dovecot's. Raises EngineError where it isn't installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if not found:
        raise EngineError(f"{name} isn't installed: it comes with Dovecot (dovecot-imapd)")
    return found


def installed_version() -> str:
    """Which of `dovecot.VERSIONS` is installed. Raises EngineError."""
    said = subprocess.run(
        [program("dovecot"), "--version"], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    version = ".".join(said.split(" ")[0].split(".")[:2])
    if version not in dovecot.VERSIONS:
        raise EngineError(
            f"Dovecot {said.strip() or 'of no version'} isn't known here: choose with --dovecot "
            f"{' or '.join(dovecot.VERSIONS)}"
        )
    return version


def check(file: Path) -> str:
    """What Dovecot finds wrong with its configuration, or nothing. Raises EngineError."""
    done = subprocess.run(
        [program("doveconf"), "-c", os.fspath(file), "-n"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
    )
    lines = done.stderr.strip().splitlines()
    return lines[-1] if done.returncode and lines else ""


class LoginPolicy:
    """Decides about logins. May be used from any thread."""

    def __init__(
        self,
        backup: Backup,
        made: PastServer,
        server: LiveServer,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._backup = backup
        self._made = made
        self._live = server
        self._clock = clock
        self._sleep = sleep
        self._zone = local_zone(None, os.environ)
        self._accounts, self._addresses = LoginThrottle(), LoginThrottle(_SHARED)
        self._lock = threading.Lock()

    def __call__(self, address: str, login: str, password: str) -> str:
        """See `engine.past_imap.gate.Answer`."""
        try:
            return self._decide(address, login, password)
        except Exception as error:  # nobody gets in by a defect
            _log.defect("login-failed", error)
            return Later("not now")

    def _decide(self, address: str, login: str, password: str) -> str:
        name = login.rpartition("@")[0].lower()[:200]
        with self._lock:
            now = self._clock()
            pause = max(self._accounts.turn(name, now), self._addresses.turn(address, now))
        if pause > _PATIENCE:
            return Later("too many failures: try again later")
        self._sleep(pause)
        try:
            meant = split(login, self._zone, self._backup.clock.now())
            user, account = self._known(meant.name)
            inbox = self._live.inbox(user, password) if password else None
        except LoginRefused as error:
            return self._refuse(name, login, address, str(error))
        except Unavailable as error:
            _log.error("live-server-unavailable", error=str(error))
            return Later("the mail server can't be asked now")
        if inbox is None:
            return self._refuse(name, login, address, WRONG)
        with self._lock:
            self._accounts.succeeded(name)
            self._addresses.succeeded(address)
        if inbox.is_anothers(account):
            _log.warning("another-mailbox", login=login, address=address)
            return Later(ANOTHER)
        try:
            site = self._made.site
            mailboxes.prepare(site.directory, login, meant, site.mount, self._made.owner)
        except (NotThere, OSError) as error:
            _log.error("mailbox-not-ready", login=login, error=str(error))
            return Later("the backup can't be shown now")
        _log.info("login", login=login, address=address)
        return ""

    def _known(self, name: str) -> tuple[str, StoreState]:
        """What the live server calls the account that has the name now, and what its mailbox was
        recognised by. Raises Refused."""
        with self._backup.reader() as reader:
            entry = reader.lookup(ROOT, name, MAX_SEQUENCE)
            if entry is None:
                raise LoginRefused(WRONG)
            return os.fsdecode(entry.version.identity), reader.store(entry.item)

    def _refuse(self, name: str, login: str, address: str, why: str) -> str:
        with self._lock:
            self._accounts.failed(name, self._clock())
            self._addresses.failed(address, self._clock())
        _log.warning("login-refused", login=login, address=address, why=why)
        return why


def serve(backup: Backup, made: PastServer, stop: Stop, ready: Callable[[], None]) -> int:
    """Serves until `stop`, or until Dovecot ends, which is an error; returns the exit status.
    `ready` is called once Dovecot answers. Raises EngineError."""
    settings = backup.settings
    door = LoginPolicy(backup, made, live(settings.past_imap_live, settings.past_imap_ca_file))
    try:
        gate = Gate(made.serving.gate, door)
    except OSError as error:
        raise EngineError(f"can't listen on port {made.serving.gate}: {error.strerror}") from None
    with gate:
        threading.Thread(target=gate.serve_forever, name="gate", daemon=True).start()
        child = subprocess.Popen(
            [program("dovecot"), "-F", "-c", os.fspath(made.site.directory / SERVER_FILE)],
            stdin=subprocess.DEVNULL,
        )
        try:
            told, swept = False, 0.0
            while not stop.wait(0.5 if told else 0.05):
                if child.poll() is not None:
                    raise EngineError(f"Dovecot ended with status {child.returncode}: see above")
                if not told and _answers(made.serving):
                    ready()
                    told = True
                if time.monotonic() - swept >= _BROOM or not swept:
                    swept = time.monotonic()
                    sweep(settings)
            return 0
        finally:
            gate.shutdown()
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LAST)
            if child.poll() is None:
                child.kill()
                child.wait()


def _answers(serving: ServerSettings) -> bool:
    """Whether something takes connections where Dovecot is to listen."""
    try:
        with socket.create_connection((serving.address, serving.port), 2):
            return True
    except OSError:
        return False


def sweep(settings: Settings) -> int:
    """Removes index directories that nobody uses, or that are beyond the bounds."""
    if not settings.past_imap_directory:
        return 0
    return mailboxes.clean(
        Path(settings.past_imap_directory),
        days=settings.past_imap_index_days,
        most_bytes=settings.past_imap_index_mib << 20,
    )
