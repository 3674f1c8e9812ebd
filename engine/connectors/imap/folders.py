"""From an overview of an account to the folders that a scan sees. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.connectors.imap.client.overview import UNREAL, Counts, Listed, Namespaces, Overview
from engine.connectors.imap.names import folder_path, role
from engine.connectors.source import NOBODY, FolderList, MailboxIdentity, SourceError, SourceFolder
from engine.domain.paths import INBOX, FolderPath
from engine.system.text import shown


class ListedFolder(NamedTuple):
    """A folder, and what it is at the server."""

    shown: SourceFolder
    name: bytes
    """Empty for one that is only implied."""
    counts: Counts | None
    """None where the server didn't say."""


def selectable(overview: Overview, *, shared: bool) -> list[Listed]:
    """The folders that can be opened, in order of their names; those of others only if `shared`."""
    return [
        listed
        for listed in sorted(overview.folders)
        if listed.attributes.isdisjoint(UNREAL)
        and (shared or not _is_foreign(listed, overview.namespaces))
    ]


def arrange(
    overview: Overview, rights: dict[bytes, dict[str, str]], *, shared: bool
) -> tuple[FolderList, dict[FolderPath, ListedFolder]]:
    """The folders by their paths.

    Where two names mean the same path, the first keeps it, others get `~2`, `~3` and so on, and
    what the server calls them in `meta`. That isn't an error, for nobody could mend it: servers
    have an INBOX.INBOX, and names that aren't proper.
    """
    found: dict[FolderPath, ListedFolder] = {}
    prefix = _prefix(overview)
    for listed in selectable(overview, shared=shared):
        wanted = path = folder_path(listed.name, listed.separator, prefix)
        number = 1
        while path in found:
            number += 1
            path = (*wanted[:-1], f"{wanted[-1]}~{number}")
        counts = overview.counts.get(listed.name)
        meta: dict[str, Any] = {}
        if purpose := role(listed.attributes):
            meta["role"] = purpose
        if number > 1:
            meta["name"] = _text(listed.name)
        if listed.name in rights:
            meta["acl"] = rights[listed.name]
        identities = (counts.guid,) if counts and counts.guid else ()
        found[path] = ListedFolder(SourceFolder(path, identities, meta=meta), listed.name, counts)
    for path in list(found):
        for length in range(1, len(path)):
            above = path[:length]
            implied = ListedFolder(SourceFolder(above, real=False), b"", None)
            found.setdefault(above, implied)
    ordered = dict(sorted(found.items()))
    listed_folders = tuple(folder.shown for folder in ordered.values())
    errors = tuple(
        SourceError("folders", f"the server tells of one that can't be understood: {_text(line)}")
        for line in overview.unreadable
    )
    return FolderList(listed_folders, complete=not errors, errors=errors), ordered


def subscriptions(overview: Overview, *, shared: bool) -> list[str]:
    """The names of the subscribed folders, sorted, with `/` between their components."""
    separators = {listed.name: listed.separator for listed in overview.folders}
    usual = next((listed.separator for listed in overview.folders if listed.separator), b"/")
    names = []
    for name in overview.subscribed:
        separator = separators.get(name, usual)
        if shared or not _is_foreign(Listed(name, separator, frozenset()), overview.namespaces):
            names.append("/".join(folder_path(name, separator, _prefix(overview))))
    return sorted(
        name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for name in names
    )


def inbox_identity(folders: dict[FolderPath, ListedFolder]) -> MailboxIdentity:
    """What the inbox is recognised by; its GUID as the Maildir source has it if it is the same."""
    inbox = folders.get(INBOX)
    if inbox is None:
        return NOBODY
    identities = inbox.shown.identities
    guid = identities[0].removeprefix("guid:") if identities else ""
    counts = inbox.counts or Counts()
    if not counts.validity:
        return MailboxIdentity(guid, "")
    return MailboxIdentity(guid, "", validity=counts.validity, next_uid=counts.next)


def _prefix(overview: Overview) -> bytes:
    """The prefix of the namespace of the inbox and what is below it."""
    personal = overview.namespaces.personal
    return personal[0] if personal else b""


def _is_foreign(listed: Listed, namespaces: Namespaces) -> bool:
    """Whether a folder is another user's, or public, or the root of such folders."""
    name = listed.name
    if name.upper() == b"INBOX":
        return False
    for prefix in namespaces.others:
        if prefix and (name.startswith(prefix) or name + listed.separator == prefix):
            own = [p for p in namespaces.personal if len(p) > len(prefix) and name.startswith(p)]
            return not own
    return False


def _text(name: bytes) -> str:
    return shown(name.decode("utf-8", "backslashreplace"))
