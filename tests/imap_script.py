"""An IMAP server that answers as it is told to: for what a real one does only on bad days."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HANG_UP = b"\0hang up\0"
"""At the end of an answer: what comes before is sent, and no more."""
SILENCE = b"\0silence\0"
"""Likewise, but the connection stays."""
FOREVER = b"\0forever\0"
"""What comes after it is sent again and again."""


@dataclass
class Message:
    """A message in the inbox."""

    uid: int
    content: bytes
    flags: bytes = b""
    date: bytes = b"01-May-2024 12:00:00 +0200"

    @property
    def header(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@dataclass
class Script:
    """A server with one account and one folder. `answers` are used up one by one before the server
    answers by itself: by the beginning of a command, without its tag, all that is sent back, in
    which `%T` is the tag."""

    capability: bytes = b"IMAP4rev1"
    messages: list[Message] = field(default_factory=list)
    validity: int = 7
    next: int = 100
    answers: dict[bytes, list[bytes]] = field(default_factory=dict)
    commands: list[bytes] = field(default_factory=list)
    """All that was asked, without tags."""
    connections: int = 0
    port: int = 0
    greeting: bytes = b"* OK ready\r\n"
    pause: float = 0.0
    """Seconds between two of what is sent for ever."""
    ending: threading.Event = field(default_factory=threading.Event)

    def answer(self, command: bytes) -> bytes:
        """What is sent back for a command."""
        self.commands.append(command)
        for start, answers in self.answers.items():
            if command.startswith(start) and answers:
                return answers.pop(0)
        done = b"%T OK done\r\n"
        if command == b"CAPABILITY":
            return b"* CAPABILITY %s\r\n" % self.capability + done
        if command.startswith(b"LIST"):
            return b'* LIST () "/" INBOX\r\n' + done
        if command.startswith(b"STATUS"):
            numbers = (len(self.messages), self.validity, self.next)
            if b"X-GUID" in command:
                return b"%T BAD what?\r\n"
            row = b"MESSAGES %d UIDVALIDITY %d UIDNEXT %d" % numbers
            return b"* STATUS INBOX (%s)\r\n" % row + done
        if command.startswith(b"EXAMINE"):
            counts = b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] .\r\n* OK [UIDNEXT %d] .\r\n"
            return counts % (len(self.messages), self.validity, self.next) + done
        if command.startswith(b"UID FETCH"):
            return b"".join(self.rows(command)) + done
        if command.startswith(b"UID SEARCH"):
            uids = b"".join(b" %d" % message.uid for message in self.messages)
            return b"* SEARCH%s\r\n" % uids + done
        return done

    def rows(self, command: bytes) -> Iterator[bytes]:
        """What a UID FETCH gives."""
        uids = set()
        for part in command.split()[2].split(b","):
            low, _, high = part.partition(b":")
            uids |= set(range(int(low), min(int(high or low), 1000) + 1))
        for number, message in enumerate(self.messages, 1):
            if message.uid not in uids:
                continue
            row = b"* %d FETCH (UID %d" % (number, message.uid)
            if b"FLAGS" in command:
                row += b" FLAGS (%s)" % message.flags
            if b"INTERNALDATE" in command:
                row += b' INTERNALDATE "%s"' % message.date
            if b"RFC822.SIZE" in command:
                row += b" RFC822.SIZE %d" % len(message.content)
            if b"BODY.PEEK[HEADER]" in command:
                row += b" BODY[HEADER] {%d}\r\n%s" % (len(message.header), message.header)
            if b"BODY.PEEK[]" in command:
                row += b" BODY[] {%d}\r\n%s" % (len(message.content), message.content)
            yield row + b")\r\n"


@contextmanager
def serving(script: Script) -> Iterator[Script]:
    """Serves for a block, at `script.port`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        script.port = listening.getsockname()[1]
        open_: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                script.connections += 1
                open_.append(accepted)
                thread = threading.Thread(target=_talk, args=(script, accepted))
                threads.append(thread)
                thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield script
        finally:
            script.ending.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for each in open_:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for each in open_:
                each.close()


def _talk(script: Script, accepted: socket.socket) -> None:
    with suppress(OSError), accepted.makefile("rb") as lines:
        greeting, _, again = script.greeting.partition(FOREVER)
        accepted.sendall(greeting)
        while again and not script.ending.wait(script.pause):
            accepted.sendall(again)
        idling = b""
        for line in lines:
            tag, _, command = line.rstrip(b"\r\n").partition(b" ")
            if tag == b"DONE":
                tag = idling
            elif command == b"IDLE":
                idling = tag
            whole, rest = b"", command
            while literal := re.search(rb"\{(\d+)(\+?)\}$", rest):
                if not literal[2]:
                    accepted.sendall(b"+ go on\r\n")
                whole += rest[: literal.start()] + lines.read(int(literal[1]))
                rest = lines.readline().rstrip(b"\r\n")
            command = whole + rest
            answer = script.answer(command).replace(b"%T", tag)
            sent, hang_up, _ = answer.partition(HANG_UP)
            sent, _, again = sent.partition(FOREVER)
            accepted.sendall(sent.replace(SILENCE, b""))
            while again and not script.ending.wait(script.pause):
                accepted.sendall(again)
            if hang_up:
                accepted.shutdown(socket.SHUT_RDWR)
                return


@dataclass
class Tree(Script):
    """A server with several folders, by their names at the server, and one message in each of
    `lines`, which are what it says to LIST. `alter` changes the rows of FETCH."""

    folders: dict[bytes, list[Message]] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    alter: Callable[[bytes, bytes], bytes] = lambda command, row: row
    """Gets a command and a row of its answer, and returns what is sent for it."""

    def answer(self, command: bytes) -> bytes:
        done = b"%T OK done\r\n"
        verb = command.split(b" ")[0]
        if command.startswith(b"LIST"):
            self.commands.append(command)
            return b"".join(b"* LIST %s\r\n" % line for line in self.lines) + done
        if verb in (b"STATUS", b"EXAMINE"):
            quoted = re.match(rb'\w+ (?:"((?:[^"\\]|\\.)*)"|(.+?))(?: \([^()]*\))?$', command, re.S)
            assert quoted
            name = re.sub(rb"\\(.)", rb"\1", quoted[1] if quoted[2] is None else quoted[2])
            if name not in self.folders:
                self.commands.append(command)
                return b"%T NO [NONEXISTENT] no such folder\r\n"
            self.messages = self.folders[name]
            if verb == b"STATUS":
                return super().answer(command).replace(b"* STATUS INBOX", b"* STATUS " + name)
        return super().answer(command)

    def rows(self, command: bytes) -> Iterator[bytes]:
        return (self.alter(command, row) for row in super().rows(command))
