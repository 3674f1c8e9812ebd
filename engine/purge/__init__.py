"""Takes away what is past its retention or must be forgotten, and gives the space back.

`purge` removes what is due, `erase` one item or account at once; `holds` say what both must leave
alone. First the journal stops naming items (`items`), then blobs that nothing names leave the index
(`blobs`), then the packs that held them are written anew without them (`shrinking`). Each step
can be killed anywhere, and the next purge goes on.
"""

from engine.purge.due import DueItems, find_due
from engine.purge.erasing import Erased, erase
from engine.purge.holding import HeldAccount, hold, holds, release
from engine.purge.outcome import PurgeOutcome
from engine.purge.purging import nothing_to_do, purge
from engine.query.succession import acknowledge, waiting

__all__ = [
    "DueItems",
    "Erased",
    "HeldAccount",
    "PurgeOutcome",
    "acknowledge",
    "erase",
    "find_due",
    "hold",
    "holds",
    "nothing_to_do",
    "purge",
    "release",
    "waiting",
]
