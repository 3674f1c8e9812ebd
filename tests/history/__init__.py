"""Histories of a mail server, told in lines of words, and what a backup of it must show.

A *story* is a list of lines, one for each thing that happens: `deliver alice m1 hello INBOX S`,
`rename alice Work Archive`, `scan`, `scan killed 2 inside`. `server` does to a real Maildir tree
what the line says, and remembers what is there now; `backup` scans it and compares; `stories` makes
random ones. A story that fails is printed as its lines, which `tell` takes as they are.
"""
