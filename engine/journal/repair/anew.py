"""Begins the chain of commits anew where it doesn't hold any more."""

from __future__ import annotations

from engine.domain.errors import RecordDamaged
from engine.journal.chain import Chain, LinkKind
from engine.journal.chain_rules import check_chain
from engine.journal.forms import examine
from engine.journal.journal import Journal
from engine.journal.reader import Reader
from engine.journal.repair.quarantine import Quarantine

_TABLES = ("chain", "ledger")


class _Any:
    """Takes down whether anything is wrong."""

    found = False

    def add(self, kind: str, what: str) -> None:
        """Something is."""
        self.found = True


def mend_chain(journal: Journal, now: int, aside: Quarantine) -> bool:
    """Begins the chain anew, over all transactions that there are, where it is broken; returns
    whether it was. What can't be read of it is moved aside."""
    environment = journal.environment
    with environment.write() as txn:
        broken = _Any()
        check_chain(Reader(environment, txn), broken, lambda rows: None)
        damaged = [
            (name, key, value)
            for name in _TABLES
            for key, value in txn.cursor(getattr(environment.tables, name))
            if _is_damaged(name, key, value)
        ]
        if not (broken.found or damaged):
            return False
        for name, key, value in damaged:
            aside.row(name, key, value)
            txn.delete(key, db=getattr(environment.tables, name))
        aside.sync()
        Chain(environment, txn).begin(LinkKind.ANEW, now)
    return True


def _is_damaged(table: str, key: bytes, value: bytes) -> bool:
    try:
        examine(table, key, value)
    except RecordDamaged:
        return True
    return False
