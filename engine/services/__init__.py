"""What can be asked of a backup, each use case once: whoever asks parses, calls and shows.

The commands, the daemon and whatever else has users call these. A service that takes long is an
operation (`engine.operations`): everybody sees it, it can be stopped, and the administrator is
notified of what goes wrong. Nothing here prints, reads options or catches signals: that is the
`Caller`'s.
"""
