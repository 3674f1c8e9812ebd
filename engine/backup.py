"""An open backup path: journal, blobs and settings together.

    BACKUP/config.toml      settings (`engine.settings.config`)
    BACKUP/journal/         the LMDB environment (`engine.journal`)
    BACKUP/packs/           the blobs (`engine.blobs`)

Everything that reads or writes a backup goes through here; nothing else opens LMDB or packs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from engine.blobs import BlobStore, DirectoryVolume, Location, WritableVolume, decode_location
from engine.connectors.registry import KINDS
from engine.domain.errors import (
    AlreadyRunning,
    BackupUnusable,
    BlobMissing,
    StorageFull,
    UsageError,
)
from engine.journal import founding
from engine.journal.environment import FORMAT, Environment
from engine.journal.journal import Journal, ReaderBlock
from engine.settings import config
from engine.settings.sources import SourceTable, named, parse, refuse_same
from engine.system import filesystem
from engine.system.clock import Clock, SystemClock

if TYPE_CHECKING:
    from engine.blobs.writer import PackWriter


class Backup:
    """One backup path, open for reading, or for writing too.

    Any number of processes may have it open at once, and several may write: see `Journal.commit`.
    All methods may be called from any thread; those that read blobs may block on a disk.
    """

    def __init__(
        self,
        path: Path,
        *,
        write: bool = False,
        verify: bool = False,
        importing: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Opens an existing backup path. `verify` looks at every page of the journal first, which
        takes a while: see `Environment`. `importing` opens one into which an import isn't finished,
        too.

        Raises BackupUnusable where it is missing, damaged, of a newer format or, for writing, where
        it was made on another machine or is where nothing can or should be written; UsageError
        where its settings are wrong.
        """
        self.path = path
        self.writable = write
        """Whether it is open for writing, too."""
        self.clock = clock or SystemClock()
        refuse_other(path)
        self.settings = config.load(path / "config.toml", KINDS)
        if write:
            filesystem.refuse_remote(path, BackupUnusable)
            filesystem.refuse_unwritable(path)
        environment = Environment(path / "journal", write=write, verify=verify)
        self.journal = Journal(environment, self.clock)
        self.identity = environment.identity()
        if write and self.identity.server != filesystem.server_id():
            self.journal.close()
            raise BackupUnusable(
                f"{path}: belongs to another machine, and can only be read here: mount it "
                f"('timefs mount -b {path} DIR'), or make this machine its owner if the other one "
                f"no longer writes to it ('engine init --take-over -b {path}'); where each start "
                "has another machine-id, as in containers, set TIMEFS_SERVER_ID"
            )
        if not importing and self.journal.importing():
            self.journal.close()
            raise BackupUnusable(
                f"{path}: an import into it is not finished: run the same 'engine import' again, "
                "or remove the directory"
            )
        if write and self.identity.format < FORMAT:
            try:
                self._upgrade(environment)
            except BaseException:
                environment.close()
                raise
        self.volume: WritableVolume = DirectoryVolume(path / "packs")
        self.store = BlobStore(self.volume, self.location)

    def _upgrade(self, environment: Environment) -> None:
        """Upgrades a journal of an older format. A copy of it is kept, where there is room for one
        and nothing is damaged: it is the repair's business then. Raises AlreadyRunning where a
        daemon runs: it is of the version before, and would go on in the old form."""
        from engine.journal import copies  # no other start needs these
        from engine.journal.upgrade import upgrade
        from engine.system import heartbeat
        from engine.system.logs import Log

        if heartbeat.look(self.path).running:
            raise AlreadyRunning(
                f"{self.path}: 'engine run' or 'engine watch' of an older version runs here, and "
                f"format {self.identity.format} is about to be upgraded: stop it first"
            )
        try:
            copies.make(environment, self.path / copies.DIRECTORY, self.clock.now())
        except (StorageFull, BackupUnusable) as error:
            Log("backup").warning("upgraded-without-copy", error=str(error))
        upgrade(environment)
        self.identity = environment.identity()

    def reader(self) -> ReaderBlock:
        """One moment of the journal, for as long as the block lasts: keep it short."""
        return self.journal.reader()

    def location(self, digest: bytes) -> Location:
        """Where a blob is. Raises BlobMissing."""
        with self.reader() as reader:
            row = reader.blob(digest)
        if row is None:
            raise BlobMissing(f"blob {digest.hex()}: not in the index: run 'engine check'")
        return decode_location(row)

    def read_blob(self, digest: bytes, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of a blob, verified. Raises BlobMissing, BlobDamaged; never other content."""
        return self.store.read(digest, self.location(digest), offset, size)

    def chunks(self, digest: bytes) -> Iterator[bytes]:
        """The whole content of a blob, in pieces of at most 4 MiB. Raises as `read_blob`."""
        yield from self.store.chunks(digest, self.location(digest))

    def blob_writer(self, anew: Container[bytes] = ()) -> PackWriter:
        """A writer of new blobs, with a pack of its own: close it. The digests in `anew` are stored
        even if they are in the index."""
        from engine.blobs.writer import RETIRED, PackWriter  # readers need not load it

        def known(digest: bytes) -> bool:
            return digest not in anew and self.journal.has_blob(digest)

        def committed(pack: int) -> int | None:
            with self.reader() as reader:
                return RETIRED if reader.retired(pack) else reader.pack_length(pack)

        return PackWriter(
            self.volume,
            self.identity.backup,
            known=known,
            committed=committed,
            level=self.settings.level,
            frame_size=self.settings.frame_kib * 1024,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what is open. Nothing is lost if this is never called."""
        self.volume.close()
        self.journal.close()


def refuse_other(path: Path) -> None:
    """Raises BackupUnusable for what is no backup path, or can't be looked into."""
    try:
        if (path / "journal").is_dir():
            return
    except PermissionError:
        raise BackupUnusable(
            f"{path}: permission denied: run it as the backup's owner or group"
        ) from None
    raise BackupUnusable(f"{path}: not a backup path (make one with 'engine init -b {path}')")


def create(path: Path, sources: Sequence[str | SourceTable], clock: Clock | None = None) -> None:
    """Makes a new backup path (and its missing parents) for these sources.

    Raises UsageError where something is there already or the place is unfit, BackupUnusable where
    it can't be written. A failure leaves nothing behind.
    """
    now = (clock or SystemClock()).now()
    text = config.template(named_tables(sources), KINDS)
    if (path / "journal").is_dir() and (path / "config.toml").exists():
        raise UsageError(
            f"{path}: is a backup path already: 'engine status' says of what, 'engine config' "
            "changes its sources, 'engine scan' goes on with it"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path}: exists and is not empty: choose a new directory")
    existed = path.exists()
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupUnusable(f"{path}: can't be made ({os.strerror(error.errno or 0)})") from None
    try:
        filesystem.refuse_unfit(path)
        (path / "packs").mkdir(mode=0o750)
        (path / "journal").mkdir(mode=0o750)
        founding.create(path / "journal", filesystem.server_id(), now)
        config.write(path / "config.toml", text)
    except BaseException:
        for child in path.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        if not existed:
            path.rmdir()
        raise


def named_tables(sources: Sequence[str | SourceTable]) -> list[SourceTable]:
    """The sources, each with a name of its own. Raises UsageError."""
    found: list[SourceTable] = []
    for source in sources:
        table = parse(source, KINDS) if isinstance(source, str) else source
        found.append(named(table, {each.name for each in found}, KINDS))
    refuse_same(found)
    return found


def take_over(path: Path) -> None:
    """Makes this machine the owner of a backup path that another one made."""
    refuse_other(path)
    founding.take_over(path / "journal", filesystem.server_id())
