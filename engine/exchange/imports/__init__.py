"""Takes in what was exported, or what another backup path has.

    archive.py        what an import asks of where it imports from
    exported.py       an export in a directory
    unpacking.py      an export in an archive: made a directory, with care
    backup_source.py  another backup path, be it another machine's
    open.py           which of these a path is
    history.py        the whole history, into a backup path that is empty
    delivery.py       a state, into mailboxes

A history keeps its numbers and times, so it fits only where there is none. A state is delivered as
a restore does it: added to what is there, and never twice.
"""
