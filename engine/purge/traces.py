"""Where in a backup path text of what was removed can be, besides the rows and packs that a removal
takes itself: the one list of it, and how it goes there.

What is outside of the backup path can't be reached: mail and logs in which the engine named it,
copies of the journal or of the whole path that were made elsewhere.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.backup import Backup
from engine.connectors.registry import KINDS
from engine.domain.errors import EngineError, Interrupted
from engine.domain.kinds import DESCRIBED
from engine.journal import copies
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.journal.scrubbing import scrub
from engine.notifications.conditions import Conditions
from engine.notifications.event import Condition
from engine.operations import OperationRecord, under_way
from engine.operations.directory import OperationDirectory
from engine.past_imap import mailboxes
from engine.query import damage
from engine.scan import problems
from engine.settings import config
from engine.settings.sources import SourceTable
from engine.system import plainfile
from engine.system.stop import Stop

ERASED = "(erased)"
"""What stands for the accounts of an operation that named something of it."""
_SHORTEST = 3
"""Characters of a word that is looked for."""


class Words:
    """What was removed, as others may have named it."""

    def __init__(self, words: Iterable[str]) -> None:
        each = sorted({re.escape(word) for word in words if len(word) >= _SHORTEST})
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)", re.I) if each else None

    def named_in(self, text: str) -> bool:
        """Whether a text names it."""
        return self._pattern is not None and self._pattern.search(text) is not None


def words_of(reader: Reader, item: int) -> set[str]:
    """How others may have named an item that is about to be removed. Raises RecordDamaged."""
    words: set[str] = set()
    for recorded in reader.history(item):
        version = recorded.version
        if version is None:
            continue
        words |= {version.name, version.identity.decode("utf-8", "replace")}
        headers = reader.headers(item, version.edition) if version.kind in DESCRIBED else None
        if headers:
            words |= {headers.subject, headers.message_id}
    path = reader.path(item, MAX_SEQUENCE) if words else []
    return words - {entry.version.name for entry in path[:-1]}


class TracePlace(NamedTuple):
    """Where text can be."""

    path: str
    """Below the backup path, or where this setting says; of a directory, all that is in it."""
    clean: Callable[[Backup, Words, Stop], str]
    """Removes it there; returns what is left and why, or nothing."""


def remove(backup: Backup, named: Iterable[str], stop: Stop) -> list[str]:
    """Removes what else has text of what was removed from the journal and the packs, and whatever
    is `named` so; returns what can't be reached, in words. To be called `alone`. Raises
    Interrupted."""
    words = Words(named)
    left = []
    for place in PLACES:
        stop.check()
        try:
            if found := place.clean(backup, words, stop):
                left.append(found)
        except Interrupted:
            raise
        except (EngineError, OSError) as error:
            what = str(error) if isinstance(error, EngineError) else error.strerror
            left.append(f"{backup.path / place.path} may still tell of it: {what}")
    return left


def _by_the_removal(backup: Backup, words: Words, stop: Stop) -> str:
    return ""


def _scrub(backup: Backup, words: Words, stop: Stop) -> str:
    if kept := scrub(backup.journal.environment, stop.check):
        return (
            f"{backup.journal.environment.path}: {kept:,} free pages, which may still tell of it, "
            "are held by somebody who reads; the next purge overwrites them"
        )
    return ""


def _renew_copies(backup: Backup, words: Words, stop: Stop) -> str:
    directory = backup.path / copies.DIRECTORY
    copies.renew(backup.journal.environment, directory, backup.clock.now(), stop.check)
    return ""


def _remove_directory(name: str) -> Callable[[Backup, Words, Stop], str]:
    def clean(backup: Backup, words: Words, stop: Stop) -> str:
        with suppress(FileNotFoundError):
            shutil.rmtree(backup.path / name)
        return ""

    return clean


def _amend_operations(backup: Backup, words: Words, stop: Stop) -> str:
    if not words:
        return ""

    def names_it(record: OperationRecord) -> bool:
        return any(map(words.named_in, (*record.accounts, record.detail, record.message)))

    def amended(record: OperationRecord) -> OperationRecord:
        if not names_it(record):
            return record
        return msgspec.structs.replace(record, accounts=(ERASED,), detail="", message="")

    OperationDirectory(backup.path).amend(amended)
    running = [record.id for record in under_way(backup.path) if names_it(record)]
    return f"the operation {running[0]}, which still runs, names it" if running else ""


def _amend_notifications(backup: Backup, words: Words, stop: Stop) -> str:
    def names_it(key: str, condition: Condition) -> bool:
        return words.named_in(key) or words.named_in(repr(condition))

    Conditions(backup.path).forget(names_it)
    return ""


def _forget_problems(backup: Backup, words: Words, stop: Stop) -> str:
    problems.forget(backup.path)
    return ""


def _look_at_daemon(backup: Backup, words: Words, stop: Stop) -> str:
    with suppress(FileNotFoundError):
        path = backup.path / "daemon" / "state.json"
        if words.named_in(plainfile.read(path).decode("utf-8", "replace")):
            return f"{path} names it, until a daemon writes it again"
    return ""


def _look_at_settings(backup: Backup, words: Words, stop: Stop) -> str:
    path = backup.path / "config.toml"
    examples = set(
        config.template([SourceTable(kind, kind, "/") for kind in KINDS], KINDS).splitlines()
    )
    for line in plainfile.read(path).decode("utf-8", "replace").splitlines():
        if line not in examples and words.named_in(line):
            return f"{path} names it: take it out there"
    return ""


def _forget_damage(backup: Backup, words: Words, stop: Stop) -> str:
    damage.forget(backup)
    return ""


def _forget_indexes(backup: Backup, words: Words, stop: Stop) -> str:
    if directory := backup.settings.past_imap_directory:
        mailboxes.forget(Path(directory))
    return ""


PLACES = (
    TracePlace("packs", _by_the_removal),
    TracePlace("journal", _scrub),
    TracePlace("journal-copies", _renew_copies),
    TracePlace("aside", _remove_directory("aside")),
    TracePlace("journal-salvage", _remove_directory("journal-salvage")),
    TracePlace("unpacked-import", _remove_directory("unpacked-import")),
    TracePlace("damaged", _forget_damage),
    TracePlace("operations", _amend_operations),
    TracePlace("notifications", _amend_notifications),
    TracePlace("daemon", _look_at_daemon),
    TracePlace("problems.json", _forget_problems),
    TracePlace("config.toml", _look_at_settings),
    TracePlace("past_imap.directory", _forget_indexes),
)
"""All that there is in a backup path, in the order in which it is gone through."""
