"""Repairs of the journal: rows that can't be read, what is lost of an item, times of a wrong clock,
and a file of which pages are damaged.

Not for deciding that something is to be repaired, nor for what is outside the journal
(`engine.check`).
"""
