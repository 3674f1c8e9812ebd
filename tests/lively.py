"""Mailboxes with all that can happen in them between two scans."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.mail import letters
from tests.maildrop import Maildir

DAY = 1_714_550_400_000_000
"""2024-05-01T08:00:00Z."""


def fill(vmail: Path) -> None:
    """The mailboxes at the first scan."""
    alice = Maildir(vmail / "alice")
    for folder in ("Work", "Work/Apollo", "Sent", "Old", "Old/Older"):
        alice.create_folder(folder)
    places = ("INBOX", "INBOX", "Work", "Work/Apollo", "Sent", "Old", "Old/Older")
    for number, letter in enumerate(letters(1, 42)):
        alice.deliver(
            letter.raw,
            places[number % 7],
            unique=f"{number}.a",
            delivered=letter.delivered,
            flags="S" if number % 3 else None,
        )
    for account in ("bob", "carol", "dora"):
        mailbox = Maildir(vmail / account)
        mailbox.create_folder("Lists")
        for number, letter in enumerate(letters(ord(account[0]), 6)):
            place = ("INBOX", "Lists")[number % 2]
            mailbox.deliver(letter.raw, place, unique=f"{number}.{account}", delivered=DAY)


def change(vmail: Path) -> None:
    """What happens between two scans: everything that can."""
    alice = Maildir(vmail / "alice")
    for number, letter in enumerate(letters(2, 26)):
        place = ("INBOX", "Work", "Sent")[number % 3]
        alice.deliver(letter.raw, place, unique=f"{number}.new", delivered=letter.delivered)
    big = b"Subject: big\n\n" + random.Random(3).randbytes(300) * 15_000
    alice.deliver(big, unique="big.new", delivered=DAY)  # more than a part
    again = alice.messages()["0.a"].read_bytes()
    alice.deliver(again, unique="twin.new", delivered=DAY)  # a content that is there already
    alice.flag("1.a", "FS")
    alice.flag("7.a", "RS", keywords=["todo"])
    alice.move("8.a", "INBOX", "Work")
    alice.move("14.a", "INBOX", "Old")
    alice.flag("14.a", "F", "Old")  # moved and flagged
    alice.copy("15.a", "INBOX", "Sent", new_unique="15.copy")
    for unique in ("21.a", "22.a"):
        alice.expunge(unique)
    alice.rename_folder("Work", "Projects")  # with Work/Apollo
    alice.move("4.a", "Sent", "Projects/Apollo")
    alice.create_folder("Archive")
    alice.move("6.a", "Old/Older", "Archive")
    alice.delete_folder("Old/Older")
    bob = Maildir(vmail / "bob")
    for unique in list(bob.messages("Lists")):
        bob.expunge(unique, "Lists")
    bob.delete_folder("Lists")
    bob.deliver(b"Subject: one\n\n", unique="one.bob", delivered=DAY)
    shutil.rmtree(vmail / "carol")
    (vmail / "dora").rename(vmail / "doris")
    erin = Maildir(vmail / "erin")
    for number, letter in enumerate(letters(9, 9)):
        erin.deliver(letter.raw, unique=f"{number}.erin", delivered=letter.delivered)
