"""Everybody's past in their mail program: a Dovecot that serves views of the mount.

logins.py       who signs in as whom, and how failures are slowed (pure)
live.py         asks the live server for a password
gate.py         what Dovecot asks about a login: a few words of IMAP on loopback
mailboxes.py    the directories that Dovecot wants beside a mailbox that it can't write to
acting.py       acts as the user whom these belong to
dovecot.py      its configuration
service.py      all of it, running
"""
