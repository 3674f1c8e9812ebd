"""What is measured, row by row; and what is done in a mounted backup, and how.

A measure is done once by each program in each round, and gives values for one row or several:
seconds or bytes. *Cold* means a new mount and the kernel's caches empty, *warm* the same again at
once; scans are warm, but for the first one that says otherwise, and so is mounting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from scripts.benchmarks import copies, delivery, imap, reading, scans, upkeep
from scripts.benchmarks.contenders import Timefs
from scripts.benchmarks.copies import FEW
from scripts.benchmarks.machine import Command, Failed, Watch, drop_caches, rss_anon, run
from scripts.benchmarks.mounts import Mount, mounted
from scripts.benchmarks.rows import CEILING, Measure, Row, Values, ours
from scripts.benchmarks.workshop import Prepared, Workshop

READ = 4000
"""How many messages are opened, read and closed."""


def mount_few(workshop: Workshop, name: str) -> Values:
    """From the mount command to the listing of a folder, with few restore points."""
    return {"mount-few": _first_listing(workshop, name, FEW)}


def mount_many(workshop: Workshop, name: str) -> Values:
    """The same with many restore points; the folder is of the one in the middle."""
    return {"mount-many": _first_listing(workshop, name, workshop.points)}


def find(workshop: Workshop, name: str) -> Values:
    """All files of a view, by name."""
    with _cold(workshop, name) as (_, mail):
        done = run(Command(("find", str(mail), "-type", "f")), output=True)
    _expect(workshop, name, "files", done.output.count(b"\n"))
    return {"find": done.seconds}


def list_all(workshop: Workshop, name: str) -> Values:
    """All files of a view, with their attributes. The others have folders that begin with a dot."""
    with _cold(workshop, name) as (_, mail):
        done = run(Command(("ls", "-lAR", str(mail))), output=True)
    _expect(workshop, name, "files", done.output.count(b"\n-"))
    return {"list": done.seconds}


def tar(workshop: Workshop, name: str) -> Values:
    """All of a view into an archive, twice, and the memory of the mount by then."""
    command = Command(("bash", "-o", "pipefail", "-c", "tar -cf - . | wc -c"))
    values: Values = {}
    for suffixes, plain in _variants(name):
        with (
            _cold(workshop, name, plain=plain) as (mount, mail),
            Watch(partial(rss_anon, mount.process)) as memory,
        ):
            cold, warm = (run(command._replace(directory=mail), output=True) for _ in range(2))
        for done in (cold, warm):
            _expect(workshop, name, "bytes", int(done.output))
        for suffix in suffixes:
            values |= {f"tar-cold{suffix}": cold.seconds, f"tar-warm{suffix}": warm.seconds}
        values["memory-mount"] = memory.peak
    return values


def read(workshop: Workshop, name: str) -> Values:
    """Open, read and close of messages, twice: seconds a message."""
    mailbox, program = workshop.mailbox, workshop.reader()
    sizes: dict[str, dict[str, int]] = {}
    for folder in mailbox.folders[1:]:  # the inbox has deliveries
        if sum(map(len, sizes.values())) < READ:
            sizes[folder] = mailbox.messages(folder)
    files = [size for folder in sizes.values() for size in folder.values()]

    def once(directories: Sequence[Path]) -> float:
        done = reading.read(program, directories)
        if (done.files, done.size) != (len(files), sum(files)):
            raise Failed(f"{name}: read {done}, and not {len(files)} files of {sum(files)} bytes")
        return done.seconds / done.files

    if name == CEILING:
        specification = workshop.scratch("ceiling.json")
        specification.write_text(json.dumps(sizes))
        command = Timefs().module("ceiling", str(specification), str(workshop.mount))
        with mounted(command, workshop.mount, stays=True) as mount:
            drop_caches()
            directories = [mount.path / folder for folder in sizes]
            return {"ceiling-cold": once(directories), "ceiling-warm": once(directories)}
    contender, prepared = workshop.contenders[name], workshop.prepared(name, FEW)
    values: Values = {}
    for suffixes, plain in _variants(name):
        with _cold(workshop, name, plain=plain) as (mount, _):
            directories = [mount.path / contender.folder(prepared.newest, f) for f in sizes]
            cold, warm = once(directories), once(directories)
        for suffix in suffixes:
            values |= {f"read-cold{suffix}": cold, f"read-warm{suffix}": warm}
        if plain:  # the empty handler goes without the extension, too
            values |= {"ceiling-cold": cold, "ceiling-warm": warm}
    return values


def grep(workshop: Workshop, name: str) -> Values:
    """Words that are nowhere in the mail, looked for in all of it."""
    command = Command(("grep", "-r", "-F", "words that nobody ever wrote", "."), {"LC_ALL": "C"})
    with _cold(workshop, name) as (_, mail):
        done = run(command._replace(directory=mail), expected=1)
    return {"grep": done.seconds}


def lookup(workshop: Workshop, name: str) -> Values:
    """One message of which the name is known: open, read, close."""
    contender, prepared = workshop.contenders[name], workshop.prepared(name, FEW)
    directory = contender.folder(prepared.newest, workshop.mailbox.folders[-1])
    with _mount(workshop, name, prepared) as mount:
        names = sorted(path.name for path in (mount.path / directory).iterdir())
    with _cold(workshop, name) as (mount, _):
        begin = time.perf_counter()
        (mount.path / directory / names[len(names) // 2]).read_bytes()
        return {"lookup": time.perf_counter() - begin}


def _first_listing(workshop: Workshop, name: str, points: int) -> float:
    contender, prepared = workshop.contenders[name], workshop.prepared(name, points)
    folder = contender.folder(prepared.middle, workshop.mailbox.folders[-1])
    begin = time.perf_counter()
    with _mount(workshop, name, prepared) as mount:
        run(Command(("ls", str(mount.path / folder))))
        return time.perf_counter() - begin


def _variants(name: str) -> Sequence[tuple[Sequence[str], bool]]:
    """What is to be mounted: the endings of the rows for which that counts, and whether it is our
    mount without its optional extension. The others have only one way, which counts for both."""
    return [([""], True), (["-extension"], False)] if ours(name) else [(["", "-extension"], False)]


def _mount(
    workshop: Workshop, name: str, prepared: Prepared, *, plain: bool = False
) -> AbstractContextManager[Mount]:
    contender = workshop.contenders[name]
    command = contender.mount(Path(prepared.repository), workshop.mount)
    if plain:
        command = command._replace(argv=(*command.argv, "-o", "no_extension"))
    return mounted(command, workshop.mount, stays=contender.stays)


@contextmanager
def _cold(workshop: Workshop, name: str, *, plain: bool = False) -> Iterator[tuple[Mount, Path]]:
    """A new mount, the kernel's caches empty, and the directory of the whole mailbox in it."""
    prepared = workshop.prepared(name, FEW)
    with _mount(workshop, name, prepared, plain=plain) as mount:
        drop_caches()
        yield mount, mount.path / workshop.contenders[name].mail(prepared.newest)


def _expect(workshop: Workshop, name: str, what: str, found: int) -> None:
    """Raises Failed where a program shows less than the mailbox has: its time means nothing."""
    sizes = workshop.mailbox.sizes()
    wanted = sum(sizes) if what == "bytes" else len(sizes)
    if found < wanted:
        raise Failed(f"{name}: shows {found} {what} of {wanted}")


_MOUNTED = (
    Measure(
        (Row("mount-few", "mount to first ls, {few} restore points", "s", chart="mounts"),),
        mount_few,
    ),
    Measure(
        (
            Row(
                "mount-many",
                "mount to first ls, {many} restore points",
                "s",
                aim=0.3,
                limit=0.5,
                chart="mounts",
            ),
        ),
        mount_many,
    ),
    Measure((Row("find", "find -type f, cold", "s", chart="mounts"),), find),
    Measure((Row("list", "ls -lAR, cold", "s", aim=0.1, chart="mounts"),), list_all),
    Measure(
        (
            Row("tar-cold", "tar, cold", "s", aim=0.4, chart="reads"),
            Row("tar-warm", "tar, warm", "s", aim=0.35, chart="reads"),
            Row("tar-cold-extension", "tar, cold, with the extension", "s", aim=0.3),
            Row("tar-warm-extension", "tar, warm, with the extension", "s", aim=0.2),
            Row("memory-mount", "memory of the mount", "bytes", chart="space"),
        ),
        tar,
    ),
    Measure(
        (
            Row("read-cold", "open+read+close a message, cold", "s", aim=0.35, chart="reads"),
            Row("read-warm", "open+read+close a message, warm", "s", aim=0.4, chart="reads"),
            Row("read-cold-extension", "the same with the extension, cold", "s", aim=0.25),
            Row("read-warm-extension", "the same with the extension, warm", "s", aim=0.1),
            Row(
                "ceiling-cold",
                "open+read+close against an empty handler, cold",
                "s",
                aim=1.5,
                against=(CEILING,),
            ),
            Row(
                "ceiling-warm",
                "open+read+close against an empty handler, warm",
                "s",
                aim=1.5,
                against=(CEILING,),
            ),
        ),
        read,
    ),
    Measure((Row("grep", "grep -r, cold", "s", chart="reads"),), grep),
    Measure((Row("lookup", "one message by name, cold", "s", chart="mounts"),), lookup),
)
_DELIVERIES = (
    Measure(
        (
            Row("durable-idle-p50", "delivery to durable, idle, median", "s", against=()),
            Row("durable-idle-p99", "delivery to durable, idle, 99 %", "s", against=()),
            Row(
                "visible-idle-p50", "delivery to visible in latest/, idle, median", "s", against=()
            ),
            Row("visible-idle-p99", "delivery to visible in latest/, idle, 99 %", "s", against=()),
            Row("durable-load-p50", "durable, 50 deliveries a second, median", "s", against=()),
            Row(
                "durable-load-p99",
                "durable, 50 deliveries a second, 99 %",
                "s",
                limit=0.5,
                against=(),
            ),
            Row("visible-load-p50", "visible, 50 deliveries a second, median", "s", against=()),
            Row(
                "visible-load-p99",
                "visible, 50 deliveries a second, 99 %",
                "s",
                limit=0.5,
                against=(),
            ),
            Row("watch-idle", "CPU time of an hour in which nothing happens", "s", against=()),
        ),
        delivery.measure,
        commands=False,
    ),
)

MEASURES: tuple[Measure, ...] = (
    *scans.MEASURES,
    *copies.MEASURES,
    *upkeep.MEASURES,
    *imap.MEASURES,
    *_MOUNTED,
    *_DELIVERIES,
)
