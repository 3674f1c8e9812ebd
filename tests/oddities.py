"""Messages that break a rule or test a limit: a parser may fail on them, a backup may not."""

from __future__ import annotations

_HEAD = b"From: bob@example.com\nTo: alice@example.com\nDate: Mon, 08 Jan 2024 07:30:00 +0000\n"

ODDITIES: dict[str, bytes] = {
    "nothing at all": b"",
    "one newline": b"\n",
    "no headers": b"\nJust a body.\n",
    "no body": _HEAD + b"Subject: no body\n",
    "no end of line": _HEAD + b"Subject: cut",
    "not a header line": b"this is not\na message at all\n",
    "an mbox line": b"From bob@example.com Mon Jan  8 07:30:00 2024\n" + _HEAD + b"\nmbox\n",
    "NUL bytes": _HEAD + b"Subject: a\0b\0\n\n\0\0body\0\n",
    "bare CR": _HEAD.replace(b"\n", b"\r") + b"Subject: carriage\r\rreturns\r",
    "CRLF": (_HEAD + b"Subject: both\n\nbody\n").replace(b"\n", b"\r\n"),
    "Latin-1 headers": _HEAD + "Subject: Grüße, raw\n\nk\xf6ln\n".encode("latin-1"),
    "unknown charset": _HEAD + b"Subject: =?x-nonsense?b?R3LDvMOfZQ==?= =?utf-8?q?=FF=FE?=\n\n\n",
    "a huge subject": _HEAD + b"Subject: " + b"long " * 20_000 + b"\n\nbody\n",
    "subject with a path": _HEAD + b'Subject: ../../etc/passwd / \\ : * ? " < > |\n\n\n',
    "subject with controls": _HEAD + b"Subject: a\x1b[31mred\x07 \xe2\x80\xaefdp.exe\n\n\n",
    "a date that is none": _HEAD.replace(b"Mon, 08 Jan 2024", b"Tue, 99 Foo 99999") + b"\n\n",
    "two of each header": _HEAD + _HEAD + b"Subject: one\nSubject: two\n\n\n",
    "an unclosed multipart": _HEAD + b'Content-Type: multipart/mixed; boundary="x"\n\n--x\n\nhalf',
    "deeply nested": _HEAD
    + b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(200)
    ),
}
"""By what is odd about them."""
