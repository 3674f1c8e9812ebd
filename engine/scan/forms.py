"""Messages that a server keeps in another form than they were sent: encrypted, or compressed.

They are backed up byte for byte, like all others. What that means for a restore must be known
before it is needed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress

from engine.connectors.source import Source
from engine.domain.errors import ItemUnreadable, ItemVanished, SourceUnavailable
from engine.domain.paths import INBOX
from engine.domain.stored_form import ENCRYPTED, LONGEST, stored_form
from engine.journal.reader import Reader

_NAMED = 3
"""Accounts that are named."""
_ACCOUNTS = 5
"""Accounts that are looked into before there is a backup,"""
_MESSAGES = 20
"""and messages in each."""

Forms = Mapping[str, Mapping[str, int]]
"""By account: how many messages of each form."""


def recorded_forms(reader: Reader, names: Collection[str] = ()) -> Forms:
    """What was read of the living accounts, or of these."""
    found = {}
    for recorded in reader.accounts():
        if recorded.version is None:
            continue
        name = os.fsdecode(recorded.version.identity)
        if not names or name in names:
            forms = reader.store(recorded.item).forms
            if forms:
                found[name] = forms
    return found


def sampled_forms(source: Source, names: Sequence[str]) -> Forms:
    """What a few messages say of a source whose files can be read at no cost. What can't be read
    is left out: a scan says so."""
    found = {}
    for name in names[:_ACCOUNTS]:
        counts: Counter[str] = Counter()
        with suppress(SourceUnavailable), closing(source.mailbox(name)) as mailbox:
            mailbox.folders()
            with suppress(ItemUnreadable, ItemVanished):
                items = mailbox.listing(INBOX).items
                for item in sorted(items, key=lambda item: item.identity)[-_MESSAGES:]:
                    with suppress(OSError), mailbox.fetch(item) as fetched:
                        counts[stored_form(fetched.file.read(LONGEST))] += 1
        del counts[""]
        if counts:
            found[name] = counts
    return found


def told_forms(found: Forms) -> list[str]:
    """A line on what is encrypted, and one on what is compressed; none where nothing is."""
    encrypted = {name: forms[ENCRYPTED] for name, forms in found.items() if ENCRYPTED in forms}
    compressed = {
        name: sum(count for form, count in forms.items() if form != ENCRYPTED)
        for name, forms in found.items()
        if forms.keys() - {ENCRYPTED}
    }
    kinds = sorted({form for forms in found.values() for form in forms} - {ENCRYPTED})
    lines = []
    if encrypted:
        lines.append(
            f"{_messages(encrypted)} stored encrypted: the backup has them as they are stored, so "
            "they restore only to their own server, with its keys"
        )
    if compressed:
        lines.append(
            f"{_messages(compressed)} stored compressed ({', '.join(kinds)}): the backup has them "
            "as they are stored, so do plain copies; a restore to an IMAP server unpacks them if "
            "restore.unpack is set"
        )
    return lines


def _messages(counts: Mapping[str, int]) -> str:
    """`1,234 messages of alice, bob, carol and 2 others are`."""
    total = sum(counts.values())
    names = sorted(counts)
    shown = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        others = len(names) - _NAMED
        shown += f" and {others:,} {'other' if others == 1 else 'others'}"
    noun, verb = ("message", "is") if total == 1 else ("messages", "are")
    return f"{total:,} {noun} of {shown} {verb}"
