"""What is asked of a mailbox to see whose it is, and whether it is empty. Reads listings, no
content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from engine.errors import ItemUnreadable, ItemVanished, SourceUnavailable
from engine.scan import guard
from engine.scan.survey import ROUNDS
from engine.sources.source import FolderPath, MailboxIdentity, Source


def identity_of(source: Source, name: str) -> Callable[[], MailboxIdentity]:
    """A question for what the mailbox is recognised by; it says nothing where that can't be
    read."""

    def identity() -> MailboxIdentity:
        try:
            with closing(source.mailbox(name)) as mailbox:
                return mailbox.identity()
        except SourceUnavailable:
            pass
        except Exception as error:
            guard.told(error, name)  # its scan will say so
        return MailboxIdentity("", "")

    return identity


def identities(source: Source, name: str) -> Iterator[bytes]:
    """What the messages of a mailbox are known by; those of a folder that is renamed meanwhile,
    too. Raises SourceUnavailable where the mailbox can't be read at all."""
    with closing(source.mailbox(name)) as mailbox:
        seen: set[FolderPath] = set()
        for _ in range(ROUNDS):
            missed = False
            for folder in mailbox.folders().folders:
                if not folder.real or folder.path in seen:
                    continue
                try:
                    items = mailbox.listing(folder.path).items
                except ItemVanished:
                    missed = True
                    continue
                except ItemUnreadable:
                    continue  # its scan will say so
                seen.add(folder.path)
                yield from (item.identity for item in items)
            if not missed:
                return


def shows_messages(source: Source, name: str) -> bool:
    """Whether any message is in the mailbox. What can't be read may hold some."""
    try:
        with closing(source.mailbox(name)) as mailbox:
            return any(
                mailbox.listing(folder.path).items
                for folder in mailbox.folders().folders
                if folder.real
            )
    except (SourceUnavailable, ItemUnreadable, ItemVanished):
        return True
    except Exception as error:
        guard.told(error, name)
        return True
