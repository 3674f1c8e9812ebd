"""Brings back what is in the backup: into the live mailbox, or anywhere else.

    selection.py     what is meant, read from the journal
    existing.py      what of it the mailbox has already
    plan.py          what is to be delivered where, and what is skipped (pure)
    delivery.py      does it
    destination.py   which mailbox is meant
    safety.py        the scan before it, so that the journal is up to date

A restore only ever adds. It can be interrupted, or killed, and run again: what it delivered before
is found in the mailbox by its content, and skipped. A restored message is a new item at its source,
under a name of its own, and the next scan records it as such; the item that it was made from stays
as it is in the backup.
"""
