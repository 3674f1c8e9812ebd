"""Upgrades a journal of format 1 to the format of this program.

One write transaction that touches the rows of `accounts`, `stores`, the chain and the identity, and
never what was recorded, though it reads that once: killed anywhere it leaves the one or the other.
What had one store, that of its mail, still has it; the source of that is found by its location,
until it has a name in the settings.
"""

from __future__ import annotations

import msgspec

from engine.domain.errors import RecordDamaged
from engine.journal.chain import Chain, LinkKind
from engine.journal.environment import FORMAT, Environment
from engine.journal.keys import store_key
from engine.journal.reader import Reader
from engine.journal.records import Identity, pack, seal, unpack, unpack_account

_IDENTITY = b"identity"


def upgrade(environment: Environment) -> bool:
    """Upgrades a journal that is open for writing; False where there was nothing to do. A row that
    is damaged stays as it is: the repair replaces it. Raises StorageFull."""
    tables = environment.tables
    with environment.write() as txn:
        value = txn.get(_IDENTITY, db=tables.meta)
        if value is None:
            return False
        identity = unpack(Identity, "meta", _IDENTITY, value)
        if identity.format >= FORMAT:
            return False
        for key, row in list(txn.cursor(tables.accounts)):
            try:
                account, store = unpack_account(key, row)
            except RecordDamaged:
                continue
            if store is not None:
                item = int.from_bytes(key, "big")
                named = store_key(item, item)
                txn.put(named, seal(named, pack(store)), db=tables.stores)
                txn.put(key, seal(key, pack(account)), db=tables.accounts)
        reader = Reader(environment, txn)
        if reader.last_sequence():
            Chain(environment, txn).begin(LinkKind.UPGRADE, reader.horizon())
        payload = pack(msgspec.structs.replace(identity, format=FORMAT))
        txn.put(_IDENTITY, seal(_IDENTITY, payload), db=tables.meta)
    return True
