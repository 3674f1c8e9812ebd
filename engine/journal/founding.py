"""Journals that begin, or become another machine's."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from engine.journal.environment import FORMAT, Environment, Txn
from engine.journal.records import Identity, JournalState, pack, seal


def create(directory: Path, server: str, now: int) -> None:
    """Makes an empty journal in a directory that is there, for a machine. Raises StorageFull."""
    environment = Environment(directory, write=True, create=True)
    with environment.write() as txn:
        _put_identity(environment, txn, Identity(FORMAT, os.urandom(16), server, now))
        key = b"state"
        txn.put(key, seal(key, pack(JournalState(2, 1, 0))), db=environment.tables.meta)
    environment.close()


def take_over(directory: Path, server: str) -> None:
    """Makes a machine the owner of a journal that another one made. Raises as `Environment`."""
    environment = Environment(directory, write=True)
    identity = msgspec.structs.replace(environment.identity(), server=server)
    with environment.write() as txn:
        _put_identity(environment, txn, identity)
    environment.close()


def _put_identity(environment: Environment, txn: Txn, identity: Identity) -> None:
    key = b"identity"
    txn.put(key, seal(key, pack(identity)), db=environment.tables.meta)
