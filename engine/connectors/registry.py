"""The kinds of servers that there are: each is one line here, and a package beside this module that
declares in `kind` what it takes in the settings and how it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from engine.connectors.connector import Connector

_MODULES = {
    "maildir": "engine.connectors.maildir.kind",
    "imap": "engine.connectors.imap.kind",
    "imaps": "engine.connectors.imap.kind",
}
"""Where the `CONNECTOR` of each kind is, by the word for it."""


class _Registry(Mapping[str, Connector]):
    """The connectors, each loaded when it is asked for."""

    def __getitem__(self, word: str) -> Connector:
        connector: Connector = import_module(_MODULES[word]).CONNECTOR
        return connector

    def __contains__(self, word: object) -> bool:
        return word in _MODULES

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


KINDS: Mapping[str, Connector] = _Registry()
"""By the word for each kind, as in `KIND:LOCATION`."""
