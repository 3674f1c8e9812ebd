"""Maildirs on a file system: read by `source.py`, written by `target.py`."""
