"""Puts what a backup has into files that other tools can read: FORMAT.md says which.

    form.py        the files and their records (pure)
    choice.py      which accounts are meant
    records.py     the journal as records
    plan.py        writes all records, and lists the contents that belong to them
    directory.py   puts the contents into a directory
    archive.py     puts all of it into a tar that is compressed
    export.py      does these in order

Reads only. The way back is `engine.exchange.imports`.
"""
