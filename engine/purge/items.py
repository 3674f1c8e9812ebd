"""Removes items that are due from the journal, some at a time.

Each write transaction takes well under 100 ms, so that scans go on meanwhile, and looks again at
what it removes. Killed between two of them, a purge has removed some items whole, and the next one
finds the others.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from itertools import islice

from engine.backup import Backup
from engine.domain.errors import RecordDamaged
from engine.domain.model import item_id
from engine.journal.keyframes import lacking_keyframes, write_missing_keyframes
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.journal.removal import Removed, ever_in
from engine.purge.due import DueItems, empty, still_due
from engine.system.batched import batches
from engine.system.progress import Progress
from engine.system.stop import Stop

BATCH = 400
"""Items that one write transaction removes, at most."""
_SLICE = 50_000
"""Events that are read in one moment of the journal."""


When = Callable[[Reader, int], int | None]
"""Since when views are none the poorer for the removal of an item; 0 where that isn't to be told,
None where it may not be removed."""


def remove_items(backup: Backup, due: DueItems, stop: Stop, progress: Progress) -> Removed:
    """Removes the messages and folders that are due, but for folders in which something was that
    stays. Raises what the journal raises, and Interrupted."""

    def when(reader: Reader, item: int) -> int | None:
        return still_due(reader, item, due)

    removed = Removed()
    for items in due.messages.values():
        for batch in batches(items, BATCH):
            stop.check()
            removed.add(_remove(backup, batch, when))
            progress.advance("items", len(batch))
    removed.add(_remove_containers(backup, list(due.folders), when, stop))
    progress.advance("items", len(due.folders))
    return removed


def remove_account(
    backup: Backup,
    account: int,
    when: Callable[[Reader], int | None],
    stop: Stop,
) -> Removed:
    """Removes a deleted account with all that it ever held, as long as `when` lets it (see `When`):
    it is asked in each transaction."""

    def of_item(reader: Reader, item: int) -> int | None:
        return when(reader)

    removed = Removed()
    containers = [account]
    for container in containers:  # which grows meanwhile
        messages, inner = _content(backup, container)
        containers += [item for item in inner if item not in containers]
        for batch in batches(messages, BATCH):
            stop.check()
            removed.add(_remove(backup, batch, of_item))
    removed.add(_remove_containers(backup, containers, of_item, stop))
    return removed


def restore_keyframes(backup: Backup, stop: Stop) -> int:
    """Makes the keyframes anew that removals have dropped, be it in a purge that was killed;
    returns how many. Without them folders take longer to list, and nothing else is wrong."""
    with backup.reader() as reader:
        folders = array("Q", lacking_keyframes(reader))
    written = 0
    for folder in folders:
        stop.check()
        written += write_missing_keyframes(backup.journal.environment, folder)
    return written


def _remove(backup: Backup, items: Iterable[int], when: When) -> Removed:
    """Removes items that hold nothing, in one transaction."""
    with backup.journal.edit() as edit:
        removal = edit.removal()
        damaged = []
        for item in items:
            try:
                ended = when(edit, item)
                if ended is not None:
                    removal.remove(item, ended=ended)
            except RecordDamaged as error:
                damaged.append(f"item {item_id(item)}: {error}")
        removed = removal.finish()
    removed.problems += damaged
    return removed


def _remove_containers(
    backup: Backup,
    containers: list[int],
    when: When,
    stop: Stop,
) -> Removed:
    """Removes those in which nothing is that stays, or ever was: the inner ones first."""

    def of_empty(reader: Reader, item: int) -> int | None:
        return when(reader, item) if empty(reader, item) else None

    removed = Removed()
    left = array("Q", sorted(containers, reverse=True))  # most are younger than what holds them
    count = -1
    while removed.items != count:
        count = removed.items
        for batch in batches(left, BATCH):
            stop.check()
            removed.add(_remove(backup, batch, of_empty))
        with backup.reader() as reader:
            left = array("Q", (i for i in left if reader.recorded(i, MAX_SEQUENCE) is not None))
    return removed


def _content(backup: Backup, container: int) -> tuple[array[int], list[int]]:
    """The messages that were ever in a container, ascending, and the containers."""
    messages: set[int] = set()
    containers: list[int] = []
    after = 0
    while True:
        with backup.reader() as reader:
            events = list(islice(ever_in(reader, container, after), _SLICE))
            for item, after in events:  # noqa: B007 - the last one is where to go on
                recorded = reader.recorded(item, MAX_SEQUENCE)
                if recorded is None or item in messages:
                    continue
                version = recorded.version or reader.version_before(item, recorded.sequence)
                if version.container:
                    containers.append(item)
                else:
                    messages.add(item)
        if len(events) < _SLICE:
            return array("Q", sorted(messages)), containers
