"""Makes an export: records first, then contents. Runs beside scans and purges, and stops
nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from engine.backup import Backup
from engine.domain.errors import BackupUnusable, Damaged, EngineError, UsageError
from engine.domain.model import item_id
from engine.exchange.export import directory
from engine.exchange.export.archive import Archive, output_file
from engine.exchange.export.choice import AccountChoice, chosen
from engine.exchange.export.form import ExportEnd, ExportHead, Missing
from engine.exchange.export.plan import ExportPlan, make_plan
from engine.exchange.export.records import ExportedContent, Records
from engine.journal.reader import Reader
from engine.query.accounts import accounts
from engine.system.progress import Progress
from engine.system.stop import Stop

_ATTEMPTS = 5
"""How often an export begins anew because a purge took what it had planned to write."""


class WantedExport(NamedTuple):
    """What shall be exported."""

    choice: AccountChoice
    instant: int | None = None
    """The time of which the state is wanted, in microseconds; None: the newest there is."""
    history: bool = False
    """All that happened, up to the newest state."""


@dataclass(slots=True)
class Exported:
    """What an export did."""

    head: ExportHead
    contents: int = 0
    size: int = 0
    missing: list[Missing] = field(default_factory=list)
    """What could not be read: the export has everything else."""


class _Purged(Exception):
    """A purge took what was to be written."""


def to_directory(
    backup: Backup, wanted: WantedExport, path: Path, stop: Stop, progress: Progress
) -> Exported:
    """Exports to a directory, which is made if it isn't there. One in which the same export was
    begun is gone on with, for the same instant.

    Raises UsageError where something else is there, or for accounts that the backup doesn't know;
    RecordDamaged, TargetFull, Interrupted, OSError.
    """
    with directory.opened(path) as opened:
        for _ in range(_ATTEMPTS):
            with backup.reader() as reader:
                records, head = _records(backup, reader, wanted, opened.head)
                if opened.head and opened.head.id != head.id:
                    opened.clear()
                if opened.head is None or opened.head.id != head.id:
                    opened.begin(head)
                    opened.head = head
                plan = make_plan(
                    records, head, path, path / directory.LISTING, _told(stop, progress)
                )
            opened.announce(plan.head)
            try:
                exported = _put(backup, plan, opened.put, stop, progress)
            except _Purged:
                continue
            opened.finish(ExportEnd(True, tuple(exported.missing)))
            return exported
    raise _too_often(backup)


def to_archive(
    backup: Backup, wanted: WantedExport, path: Path, stop: Stop, progress: Progress
) -> Exported:
    """Exports to a new file. Raises as `to_directory`."""
    for _ in range(_ATTEMPTS):
        try:
            with output_file(path) as output:
                return _archive(backup, wanted, output, str(path), stop, progress)
        except _Purged:
            continue
    raise _too_often(backup)


def to_stream(
    backup: Backup, wanted: WantedExport, output: BinaryIO, stop: Stop, progress: Progress
) -> Exported:
    """Exports to a pipe. Raises as `to_directory`, and EngineError where a purge gets in between,
    for what was written can't be taken back."""
    try:
        return _archive(backup, wanted, output, "standard output", stop, progress)
    except _Purged:
        raise EngineError(
            f"{backup.path}: a purge has removed meanwhile what was to be exported: "
            "throw away what was written, and export again"
        ) from None


def _archive(
    backup: Backup,
    wanted: WantedExport,
    output: BinaryIO,
    where: str,
    stop: Stop,
    progress: Progress,
) -> Exported:
    with tempfile.TemporaryDirectory(prefix="timefs-export-") as work:
        root = Path(work, "records")
        root.mkdir(mode=0o700)
        with backup.reader() as reader:
            records, head = _records(backup, reader, wanted, None)
            try:
                plan = make_plan(records, head, root, Path(work, "contents"), _told(stop, progress))
            except OSError as error:
                raise EngineError(
                    f"{work}: {error.strerror}; the records are put there first: make room, "
                    "or set TMPDIR"
                ) from error
        archive = Archive(output, where, backup.clock.now())
        archive.records(plan.head, root)
        exported = _put(backup, plan, archive.put, stop, progress)
        archive.finish(ExportEnd(True, tuple(exported.missing)))
        return exported


def _records(
    backup: Backup, reader: Reader, wanted: WantedExport, begun: ExportHead | None
) -> tuple[Records, ExportHead]:
    """Raises UsageError."""
    picked = chosen(wanted.choice, accounts(reader), str(backup.path))
    purges = reader.purge_state()
    horizon = reader.horizon()
    asked = wanted.instant is not None and not wanted.history
    instant = min(wanted.instant or 0, horizon) if asked else horizon
    sequence = reader.sequence_at(instant)
    if sequence == 0 and not wanted.history:
        raise UsageError(f"{backup.path}: nothing was recorded by then")
    head = ExportHead(
        id=os.urandom(16).hex(),
        backup=backup.identity.backup.hex(),
        history=wanted.history,
        accounts=wanted.choice.accounts,
        domains=wanted.choice.domains,
        sequence=sequence,
        instant=instant,
        next_item=reader.state().next_item,
        complete_since=purges.complete_since,
        purges=purges.count,
    )
    if begun:
        same = _same(begun, head, newest=not asked)
        if not same:
            raise UsageError(
                "an export of something else was begun there: choose another directory"
            )
        if begun.purges == purges.count:
            head = msgspec.structs.replace(
                head,
                id=begun.id,
                sequence=begun.sequence,
                instant=begun.instant,
                next_item=begun.next_item,
            )
    return Records(reader, head.sequence, picked), head


def _same(begun: ExportHead, head: ExportHead, *, newest: bool) -> bool:
    """Whether what was begun is what is asked for now. With `newest` any instant will do."""

    def asked(one: ExportHead) -> tuple[object, ...]:
        return (one.backup, one.history, one.accounts, one.domains)

    return asked(begun) == asked(head) and (newest or begun.instant == head.instant)


def _put(
    backup: Backup,
    plan: ExportPlan,
    put: Callable[[ExportedContent, Iterator[bytes]], None],
    stop: Stop,
    progress: Progress,
) -> Exported:
    """Writes the contents. Raises _Purged where one is missing because it was purged."""
    exported = Exported(plan.head)
    progress.progress("messages", 0, plan.contents)
    for content in plan:
        stop.check()
        try:
            put(content, backup.store.chunks(content.digest, backup.location(content.digest)))
        except Damaged as error:
            with backup.reader() as reader:
                if reader.purge_state().count != plan.head.purges:
                    raise _Purged from error
            exported.missing.append(
                Missing(content.file, item_id(content.item), content.digest.hex(), str(error))
            )
        else:
            exported.contents += 1
            exported.size += content.size
        progress.advance("messages")
        progress.advance("bytes", content.size)
    return exported


def _told(stop: Stop, progress: Progress) -> Callable[[], None]:
    """What is called for each record."""
    count = 0

    def told() -> None:
        nonlocal count
        count += 1
        if count % 500 == 0:
            stop.check()
            progress.advance("records", 500)

    return told


def _too_often(backup: Backup) -> EngineError:
    return BackupUnusable(
        f"{backup.path}: purges remove again and again what is to be exported: try later"
    )
