"""Measures timefs against restic and borg on the same mail, and how its cost grows with history.

Run by `scripts/bench`; nothing of it is installed. Not for tests: a test never judges by the clock.
"""
