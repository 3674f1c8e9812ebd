"""Random stories, and how a story is told."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hypothesis import strategies as st

from engine.query.accounts import Account
from tests.history.bringing import Bringing
from tests.history.faulty import AFTER, BEFORE, INSIDE, Victims
from tests.history.keeper import Keeper
from tests.history.known import known
from tests.history.moving import WAYS, Moving
from tests.history.server import Server, below, content
from tests.history.taking import Taking
from tests.maildrop import INBOX
from tests.memory import MEMORY

ACCOUNTS = ["alice", "bob", "carla@example.com"]
FOLDERS = ["Work", "Work/Apollo", "Archive", "Archive/Old", "work", "Work/Apollo/100%25 Ü"]
TEXTS = ["hello", "bye"]
BUSY = ["folder", "deliver", "deliver", "flag", "deliver", "move", "copy"]
"""What happens on a busy day."""
DISTURBING = ["deliver", "flag", "move", "delete", "rename", "remove", "copy", "vanish", "folder"]
"""What happens while a scan is running."""
FLAGS = ["", "-", "S", "FS", "RT"]
KEYWORDS = [[], ["todo"], ["todo", "$Junk"]]

Choice = TypeVar("Choice")


Step = tuple[str, int, int, int]
"""A verb, what shall happen next if it can; and numbers that choose among what there is."""


numbers = st.integers(0, 15)


def steps(**weights: int) -> st.SearchStrategy[list[Step]]:
    """Lists of steps, with other weights than usual for some verbs."""
    usual = {verb: 1 for verb in VERBS} | {
        "deliver": 6,
        "flag": 3,
        "move": 4,
        "copy": 2,
        "delete": 3,
        "deliver again": 3,
        "folder": 3,
        "rename": 3,
        "scan": 6,
        "scan cut short": 3,
        "clock": 2,
        "busy day": 3,
        "days": 2,
        "purge": 2,
        "erase": 2,
        "restore": 2,
        "undelete": 2,
    }
    verbs = [verb for verb, weight in (usual | weights).items() for _ in range(weight)]
    step = st.tuples(st.sampled_from(["pause", *verbs]), numbers, numbers, numbers)
    return st.lists(step, min_size=20, max_size=80)


class Telling:
    """A server and its backup, while a story is told."""

    def __init__(self, root: Path, victims: Victims) -> None:
        self.root = root
        self.server = Server(root)
        self.keeper = Keeper(root, self.server, victims)
        self.taking = Taking(self.keeper)
        self.bringing = Bringing(self.server, self.keeper, self.taking)
        self.moving = Moving(self.keeper, self.taking)
        self.lines: list[str] = []
        self.texts: dict[str, str] = {}
        """Unique name -> the last text under it."""

    def tell(self, line: str) -> None:
        """Lets a line happen."""
        self.lines.append(line)
        verb, *words = shlex.split(line)
        for _, unique, text in re.findall(r"\bdeliver (\S+) (\S+) (\S+)", line):
            self.texts[unique] = text
        name = verb.replace("-", "_")
        actors = (self.server, self.keeper, self.taking, self.bringing, self.moving)
        getattr(next(actor for actor in actors if hasattr(actor, name)), name)(*words)
        for unique, raw in self.bringing.brought.items():
            self.texts[unique] = next(text for text in TEXTS if content(text) == raw)

    def follow(self, step: Step) -> None:
        """Lets happen what a step comes to, if anything."""
        verb, a, b, c = step
        if verb == "busy day":
            for n in range(8):
                self.follow((BUSY[(a + n) % len(BUSY)], a, b + n, c + n * b))
        elif verb != "pause" and (words := VERBS[verb](self, a, b, c)):
            self.tell(shlex.join(words))

    def story(self) -> str:
        """What has happened."""
        return "The story was:\n" + "".join(f"    {line}\n" for line in self.lines)


@contextmanager
def telling(victims: Victims, place: str | None = MEMORY) -> Iterator[Telling]:
    """A new server and its backup. At the end all that was told is checked. On a disk (`place` is
    None) directories get the numbers of others that were deleted, in memory they don't."""
    with TemporaryDirectory(dir=place) as directory:
        told = Telling(Path(directory), victims)
        try:
            yield told
            told.keeper.check_all()
        except BaseException as error:
            error.add_note(told.story())
            raise
        finally:
            told.keeper.close()


def tell(story: str, victims: Victims) -> None:
    """Tells a story that is given as lines."""
    with telling(victims) as told:
        for line in filter(None, map(str.strip, story.splitlines())):
            told.tell(line)


# What a step comes to. Each gives the words of a line; none where there is nothing to do it with.


def pick(choices: list[Choice], number: int) -> Choice | None:
    return choices[number % len(choices)] if choices else None


def an_account(told: Telling, number: int) -> str | None:
    return pick(sorted(told.server.mailboxes), number)


def a_folder(told: Telling, account: str, number: int) -> str:
    folders = sorted(told.server.mailboxes[account].folders)
    return folders[number % len(folders)]


def a_message(told: Telling, account: str, number: int) -> tuple[str, str] | None:
    """Unique name and folder."""
    folders = told.server.mailboxes[account].folders
    return pick(sorted((u, folder) for folder, had in folders.items() for u in had), number)


def a_new_name(told: Telling) -> str:
    """A unique name that no message has had."""
    return next(name for n in count(len(told.texts) + 1) if (name := f"m{n}") not in told.texts)


def deliver(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    if account is None:
        return []
    line = ["deliver", account, a_new_name(told), TEXTS[b % len(TEXTS)], a_folder(told, account, b)]
    return line + ([FLAGS[c % 5], *KEYWORDS[c % 3]] if FLAGS[c % 5] else [])


def deliver_again(told: Telling, a: int, b: int, c: int) -> list[str]:
    """A message that was there before comes back; or another one of the same unique name, if the
    backup knows that the one before is gone."""
    account = an_account(told, a)
    if account is None:
        return []
    boxes = [*told.server.vanished.values(), *told.server.mailboxes.values()]
    present = {u for box in boxes for had in box.folders.values() for u in had}
    unique = pick(sorted(told.texts.keys() - present), b)
    if unique is None:
        return []
    text = told.texts[unique]
    journal = known(told.keeper.backup)
    living = {v.identity for account in journal.values() for v in account.living.values()}
    if c % 2 and unique.encode() not in living:
        text = TEXTS[TEXTS.index(text) - 1]
    return ["deliver", account, unique, text, a_folder(told, account, c)]


def flag(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    message = account and a_message(told, account, b)
    if not account or not message:
        return []
    return ["flag", account, *message, FLAGS[c % 5] or "-", *KEYWORDS[c % 3]]


def move(told: Telling, a: int, b: int, c: int) -> list[str]:
    return _to_another_folder(told, "move", a, b, c)


def copy(told: Telling, a: int, b: int, c: int) -> list[str]:
    line = _to_another_folder(told, "copy", a, b, c)
    if line and c % 2:
        new = a_new_name(told)
        told.texts[new] = told.texts[line[2]]
        line.append(new)
    return line


def _to_another_folder(told: Telling, verb: str, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    message = account and a_message(told, account, b)
    if not account or not message:
        return []
    unique, folder = message
    target = a_folder(told, account, c)
    if unique in told.server.mailboxes[account].folders[target]:
        return []
    return [verb, account, unique, folder, target]


def delete(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    message = account and a_message(told, account, b)
    return ["delete", account, *message] if account and message else []


def folder(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    if account is None:
        return []
    new = pick([f for f in FOLDERS if f not in told.server.mailboxes[account].folders], b)
    return ["folder", account, new] if new else []


def rename(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    if account is None:
        return []
    folders = told.server.mailboxes[account].folders
    path = pick(sorted(folders.keys() - {INBOX}), b)
    if path is None:
        return []
    moved = below(folders, path)
    targets = [
        target
        for target in FOLDERS
        if not target.startswith(f"{path}/")
        and not any(target + name.removeprefix(path) in folders for name in moved)
    ]
    target = pick(targets, c)
    return ["rename", account, path, target] if target else []


def remove(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    if account is None:
        return []
    path = pick(sorted(told.server.mailboxes[account].folders.keys() - {INBOX}), b)
    return ["remove", account, path] if path else []


def subscribe(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    return ["subscribe", account, *FOLDERS[: b % 3]] if account else []


def appear(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = pick(_free_names(told), a)
    guid = [f"{len(told.lines):032x}"] if b % 2 else []
    return ["appear", account, *guid] if account else []


def _free_names(told: Telling) -> list[str]:
    return [name for name in ACCOUNTS if name not in told.server.mailboxes]


def vanish(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    return ["vanish", account] if account and account not in told.server.vanished else []


def come_back(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = pick([name for name in _free_names(told) if name in told.server.vanished], a)
    return ["come-back", account] if account else []


def rename_account(told: Telling, a: int, b: int, c: int) -> list[str]:
    account, target = an_account(told, a), pick(_free_names(told), b)
    return ["rename-account", account, target] if account and target else []


def scan(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["scan", *(["unsettled"] if a % 3 == 0 else []), *(["deep"] if b % 4 == 0 else [])]


def scan_one(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = an_account(told, a)
    return ["scan", "of", account] if account else []


def scan_cut_short(told: Telling, a: int, b: int, c: int) -> list[str]:
    how = ["killed", "full", "stopped"][a % 3]
    return ["scan", how, str(b % 5 + 1), [BEFORE, INSIDE, AFTER][c % 3]]


def disturbed_scan(told: Telling, a: int, b: int, c: int) -> list[str]:
    words = VERBS[DISTURBING[c % len(DISTURBING)]](told, a, b, c)
    return ["disturbed-scan", str(a * b % 12 + 1), *words] if words else []


def failing_scan(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["failing-scan", str(a % 9 + 1)]


def race(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["race", f"{a:04b}{b:04b}{c:04b}{a ^ c:04b}{a ^ b:04b}" * 3]


def clock(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["clock", str([60, 0.000_001, -100, 3600, -400][a % 5])]


def reopen(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["reopen"]


def days(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["clock", str(86_400 * (a % 3 + 1))]


def purge(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["purge", str([1, 2, 0][a % 3]), str([1, 0, 3][b % 3])]


def purge_cut_short(told: Telling, a: int, b: int, c: int) -> list[str]:
    cut = ["cut", str(c % 9 + 1), [BEFORE, INSIDE, AFTER][c % 3]]
    return [*purge(told, a, b, c), *cut]


def hold(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = _a_known_account(told, a)
    return ["hold", account] if account else []


def release(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = _a_known_account(told, a)
    return ["release", account] if account else []


def _a_known_account(told: Telling, number: int) -> str | None:
    known = [name for name in ACCOUNTS if any(told.taking.named(name))]
    return pick(known, number)


def erase(told: Telling, a: int, b: int, c: int) -> list[str]:
    """Something that is dead, or in a dead account; now and then anything."""
    memory = told.keeper.memory
    living = memory.moments[-1].living
    items = [
        item
        for item in memory.items()
        if item not in living or memory.path(item, memory.last)[0].item not in living
    ]
    item = pick(items if c % 8 else memory.items(), a + 16 * b)
    return ["erase", str(item)] if item else []


def restore(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = pick(told.bringing.living(), a)
    if account is None:
        return []
    moments = told.keeper.memory.moments
    sequences = [n for n, moment in enumerate(moments) if account.item in moment.living]
    return _brought("restore", account, sequences[-1 - b * len(sequences) // 16], c)


def undelete(told: Telling, a: int, b: int, c: int) -> list[str]:
    account = pick(told.bringing.living(), a)
    if account is None:
        return []
    return _brought("undelete", account, told.keeper.memory.last * b // 16, c)


def move_house(told: Telling, a: int, b: int, c: int) -> list[str]:
    return ["move-house", WAYS[a % len(WAYS)]]


def _brought(verb: str, account: Account, sequence: int, number: int) -> list[str]:
    into = [[], ["Back"], ["Back/Ü"]][number % 3]
    return [verb, account.source_name, str(sequence), *into]


VERBS: dict[str, Callable[[Telling, int, int, int], list[str]]] = {
    function.__name__.replace("_", " "): function
    for function in (
        deliver,
        deliver_again,
        flag,
        move,
        copy,
        delete,
        folder,
        rename,
        remove,
        subscribe,
        appear,
        vanish,
        come_back,
        rename_account,
        scan,
        scan_one,
        scan_cut_short,
        disturbed_scan,
        failing_scan,
        race,
        clock,
        reopen,
        days,
        purge,
        purge_cut_short,
        hold,
        release,
        erase,
        restore,
        undelete,
        move_house,
    )
}
