"""Which messages of a mailbox lack their content, by the names that they have there: a comparison.

For a mailbox whose files were damaged or lost, by ransomware or a disk. A message is told by its
own name, so what is there instead of it can be replaced; a message that its user has moved since
is not missing. Pure, but for what it is given to look with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence

from engine.connectors.source import SourceItem
from engine.domain.paths import FolderPath
from engine.restore.plan import Plan, SkippedDelivery, in_order
from engine.restore.selection import Message, Selection

Digest = Callable[[SourceItem, Sequence[Message]], bytes]
"""What is in an item, if it may be what one of these messages contains; else nothing."""


def plan_contents(
    selection: Selection,
    found: Iterable[SourceItem],
    digest: Digest,
    erased: Container[bytes] = (),
) -> Plan:
    """Compares what is wanted with all the items of the mailbox that it came from. `erased` are the
    contents that must not come back."""
    made = Plan()
    replaced: dict[FolderPath, dict[bytes, str]] = {}
    wanted: list[Message] = []
    for message in selection.messages:
        (made.erased if message.digest in erased else wanted).append(message)
    items = list(found)
    places = {(item.folder, item.identity): item for item in items}
    claimed = {(message.folder, message.identity) for message in wanted}
    strays: defaultdict[bytes, list[SourceItem]] = defaultdict(list)
    for item in items:
        if (item.folder, item.identity) not in claimed:
            strays[item.identity].append(item)
    missing: defaultdict[FolderPath, list[Message]] = defaultdict(list)
    for message in wanted:
        own = places.get((message.folder, message.identity))
        if own is None and strays[message.identity]:
            own = strays[message.identity].pop()  # it was moved
        if own is None:
            missing[message.folder].append(message)
        elif digest(own, [message]) == message.digest:
            made.skipped.append(SkippedDelivery(message, own.folder))
        else:
            made.deliveries.setdefault(own.folder, []).append(message)
            replaced.setdefault(own.folder, {})[own.identity] = own.locator
    for path, messages in missing.items():
        others = [item for item in items if item.folder == path]
        there = Counter(
            digest(item, messages) for item in others if (path, item.identity) not in claimed
        )
        for message in messages:
            if there[message.digest]:  # under another name: an earlier restore brought it
                there[message.digest] -= 1
                made.skipped.append(SkippedDelivery(message, path))
            else:
                made.deliveries.setdefault(path, []).append(message)
    made.folders = sorted({*selection.folders, *made.deliveries})
    made.deliveries = in_order(made.deliveries)
    made.replaced = replaced
    made.subscriptions = selection.subscriptions
    return made
