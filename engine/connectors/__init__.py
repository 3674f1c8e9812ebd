"""Mail servers and Maildirs, in both directions: sources to back up, targets to restore to.

source.py, events.py, target.py     the contracts
sources.py, targets.py              which kinds there are
maildir/, imap/                     a package for each kind, with both directions
"""
