"""Makes what the demo backs up: the mailboxes of a small mail server, and a letter still to come.

    demo_mail.py DIRECTORY

makes DIRECTORY/vmail/{domain}/{user}/Maildir for two accounts, and DIRECTORY/arriving.eml. The same
call makes the same files. The letters that the demo names are written here, the others made up.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.mail import PEOPLE, compose, letters
from tests.maildrop import Maildir

ALICE, BOB, CARLA, ZOE, LUKASZ, OLGA, HANAKO = PEOPLE[:7]
HOUR = 3_600_000_000
MAY_DAY = 1_714_550_400_000_000  # 2024-05-01T08:00:00Z

NUMBERS = b"quarter;sold;returned\n1;1204;17\n2;1377;9\n3;998;31\n4;1850;12\n"
DRAWING = bytes(range(256)) * 150


def alice(root: Path) -> None:
    """Alice's mailbox: letters that the demo reads, loses and restores, and nested folders."""
    mailbox = Maildir(root)
    for folder in ("Sent", "Work", "Work/Apollo", "Entwürfe", "Archive"):
        mailbox.create_folder(folder)
    numbers = compose(
        BOB,
        ALICE,
        "Quarterly numbers",
        "Dear Alice,\n\nthese are the numbers of all quarters. Please don't lose them.\n\nBob\n",
        delivered=MAY_DAY,
        files=[("numbers.csv", NUMBERS)],
    )
    mailbox.deliver(numbers, unique="101.mx", delivered=MAY_DAY, flags="FS")
    plans = compose(
        ZOE,
        ALICE,
        "Grüße aus Köln: die Pläne",
        "Hallo Alice,\n\nanbei die Übersicht, schöne Grüße\n\nZoë\n",
        delivered=MAY_DAY + HOUR,
        files=[("Übersicht.pdf", DRAWING)],
    )
    mailbox.deliver(plans, unique="102.mx", delivered=MAY_DAY + HOUR, flags="S", keywords=["todo"])
    minutes = compose(
        HANAKO,
        ALICE,
        "会議の資料",
        "資料を送ります。\n",
        delivered=MAY_DAY + 2 * HOUR,
    )
    mailbox.deliver(minutes, unique="103.mx", delivered=MAY_DAY + 2 * HOUR)
    for number, letter in enumerate(letters(1, 30, start=MAY_DAY - 720 * HOUR)):
        folder = ("INBOX", "Work", "Work/Apollo", "Sent", "Entwürfe")[number % 5]
        mailbox.deliver(
            letter.raw,
            folder,
            unique=f"{200 + number}.mx",
            delivered=letter.delivered,
            flags=letter.flags or None,
            keywords=letter.keywords,
        )


def bob(root: Path) -> None:
    """Bob's mailbox, which only has to be there."""
    mailbox = Maildir(root)
    mailbox.create_folder("Lists")
    for number, letter in enumerate(letters(2, 12, start=MAY_DAY - 720 * HOUR, owner=BOB)):
        mailbox.deliver(
            letter.raw,
            ("INBOX", "Lists")[number % 2],
            unique=f"{200 + number}.mx",
            delivered=letter.delivered,
            flags=letter.flags or None,
        )


def main(directory: Path) -> None:
    domain = directory / "vmail" / "example.com"
    alice(domain / "alice" / "Maildir")
    bob(domain / "bob" / "Maildir")
    arriving = compose(
        CARLA,
        ALICE,
        "Lunch on Friday?",
        "Hi Alice,\n\nthe place by the river has a table at noon. Shall I take it?\n\nCarla\n",
        delivered=MAY_DAY + 24 * HOUR,
    )
    (directory / "arriving.eml").write_bytes(arriving)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
