"""Mail servers by IMAP (RFC 3501, RFC 9051). `kind` is what others use.

No client library does what a backup of a whole server needs: literals that never are in memory
whole, many commands on their way at once, and QRESYNC. So this speaks the protocol itself: `wire`
has its grammar, `connection` the socket, `session` the commands, and `mailbox` what the scan asks.
"""
