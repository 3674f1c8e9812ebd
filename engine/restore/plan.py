"""What a restore will do: a pure comparison of what is wanted with what is there.

The plan is a plain value: it is printed by `--dry-run`, and carried out by `restore.delivery`.

A message is there if its content is, byte for byte: in the folder that it is to come to, as often
as it is wanted there. What comes back from a deletion into a folder of its own is also left out
where it is anywhere else in the mailbox: somebody has it already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.domain.paths import FolderPath
from engine.restore.selection import Message, Selection


class SkippedDelivery(NamedTuple):
    """A message that need not be delivered."""

    message: Message
    where: FolderPath
    """The folder that has it."""


@dataclass(slots=True)
class Plan:
    """Everything to do for one mailbox."""

    folders: list[FolderPath] = field(default_factory=list)
    """Folders that must be there in the end, each after those that hold it."""
    deliveries: dict[FolderPath, list[Message]] = field(default_factory=dict)
    """By the folder to deliver to, in order; in each by date."""
    skipped: list[SkippedDelivery] = field(default_factory=list)
    erased: list[Message] = field(default_factory=list)
    """Messages that must not come back, as their content was erased from one of the accounts."""
    replaced: dict[FolderPath, dict[bytes, str]] | None = None
    """Where messages come back under their own names: the files that are there under such a name
    and contain something else, as the target has them, by identity. They are kept aside."""
    subscriptions: list[FolderPath] | None = None
    """The folders that the account's clients shall show; None: those that are made."""

    @property
    def count(self) -> int:
        """How many messages are to be delivered."""
        return sum(map(len, self.deliveries.values()))

    @property
    def size(self) -> int:
        """How many bytes these are."""
        return sum(m.size for messages in self.deliveries.values() for m in messages)


def placed(path: FolderPath, base: int, into: FolderPath) -> FolderPath:
    """Where a folder of the selection goes: below `into` without its `base` outermost parts; or,
    where nothing is given, to where it was."""
    return (*into, *path[base:]) if into else path


def plan(
    selection: Selection,
    into: FolderPath,
    there: Mapping[FolderPath, Counter[bytes]],
    elsewhere: Mapping[bytes, FolderPath],
    erased: Container[bytes] = (),
) -> Plan:
    """Compares what is wanted with what is there: `there` tells how often each content is in a
    folder to deliver to, `elsewhere` the contents that need not come at all, and `erased` those
    that must not."""
    made = Plan()
    left = {path: Counter(counts) for path, counts in there.items()}
    needed: set[FolderPath] = set()
    for message in selection.messages:
        path = placed(message.folder, selection.base, into)
        counts = left.get(path, Counter())
        if message.digest in erased:
            made.erased.append(message)
        elif counts[message.digest] > 0:
            counts[message.digest] -= 1
            made.skipped.append(SkippedDelivery(message, path))
        elif message.digest in elsewhere:
            made.skipped.append(SkippedDelivery(message, elsewhere[message.digest]))
        else:
            made.deliveries.setdefault(path, []).append(message)
            if into:
                needed |= {path[:length] for length in range(len(into), len(path))}
    needed |= {placed(folder, selection.base, into) for folder in selection.folders}
    made.folders = sorted(needed | made.deliveries.keys())
    made.deliveries = in_order(made.deliveries)
    if not into:
        made.subscriptions = selection.subscriptions
    return made


def in_order(deliveries: Mapping[FolderPath, list[Message]]) -> dict[FolderPath, list[Message]]:
    """Folders by path, and in each the messages by date."""
    return {
        path: sorted(messages, key=lambda message: (message.date, message.item))
        for path, messages in sorted(deliveries.items())
    }
