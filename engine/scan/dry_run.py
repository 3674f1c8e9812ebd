"""What a scan of an account would do, for a dry run. It reads as much as the scan would, and writes
nothing."""

from __future__ import annotations

from blake3 import blake3

from engine.backup import Backup
from engine.connectors.source import SourceItem
from engine.domain.errors import ItemUnreadable, ItemVanished
from engine.journal.keys import MAX_SEQUENCE
from engine.scan.comparison import Comparison, Subject
from engine.scan.fetching import streamed
from engine.scan.lifecycle import account_changes
from engine.scan.report import ScanProblem, Tally
from engine.system.stop import Stop

_PIECE = 1 << 20


def foretell(
    backup: Backup, subject: Subject, looked: Comparison, stop: Stop, tally: Tally
) -> None:
    """Counts what the scan would record of what was looked at. Raises Interrupted."""
    made = looked.plan
    touched = {change.item for change in made.moves}
    touched |= {rename.item for rename in made.renames}
    touched |= {change.item for change in made.flag_changes}
    touched |= {change.item for change in made.folder_changes}
    rewritten = {
        recheck.item
        for recheck in made.rechecks
        if _differs(backup, subject, recheck.item, recheck.source, stop, tally)
    }
    tally.created += len(made.new_folders) + len(made.arrivals) + (subject.item is None)
    tally.changed += len(touched | rewritten)
    tally.changed += bool(account_changes(backup, subject, looked.problems))
    tally.deleted += len(made.removals) + len(made.gone_folders)
    tally.had += looked.had
    tally.removed += len(made.removals)
    tally.rewritten += len(rewritten)
    tally.problems += looked.problems
    tally.notes += looked.notes


def _differs(
    backup: Backup, subject: Subject, item: int, source: SourceItem, stop: Stop, tally: Tally
) -> bool:
    """Whether a message contains something else than what is recorded of it. What can't be read is
    a problem."""
    with backup.reader() as reader:
        version = reader.version(item, MAX_SEQUENCE)
    digest = blake3()
    try:
        with streamed(subject.mailbox, source, stop.check) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except ItemUnreadable as error:
        tally.problems.append(ScanProblem(subject.name, "", str(error)))
        return False
    except ItemVanished:
        return False
    return version is not None and version.digest != digest.digest()
