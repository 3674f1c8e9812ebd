"""The text of README.txt, at the mount point, in a view and where there is nothing yet.

Pure. Where it is shown, and since when, is for `timefs.view.tree`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from engine.domain.model import item_id
from engine.domain.naming import account_name
from engine.domain.timestamps import format_time
from engine.query.accounts import NameHolder

_README = """\
Mail as it was at any instant. Nothing in here can be changed, so look around freely.

  latest/                        the newest state; it follows the backup
  2024-05-01T02:00:14/ ...       listed: the end of each complete scan
  2024-05-01T10:00/              not listed, yet there: any instant, as exact as you like
  2024-05/  20240501T1000Z/      a month's first moment; without colons; in UTC, or +02:00
  90m-ago/  2d-ago/  yesterday/  relative to now, to the minute. Zone: {zone}
  yesterday../  2024-04..2024-05/  what was created/, changed/ and deleted/ since, or in between

In each of them: ACCOUNT/account.json and ACCOUNT/FOLDER/.../MESSAGE.eml. A message's name is its
delivery (UTC), sender, subject and ID; mtime is the delivery, ctime is when the backup got it.

  ls 2024-05-01T10:00/alice@example.com/INBOX       what a folder held
  ls latest/alice@example.com/.deleted/INBOX        what was deleted from it; ctime says when
  ls latest/.deleted; cat latest/README.txt         deleted accounts; names with several owners
  cp -a 2024-05-01T10:00/alice@example.com/INBOX .  takes a folder out
  mutt -R -f latest/.maildir/alice@example.com      the same mailbox as a Maildir, with flags

A plain copy of an .eml has no flags (read, answered, ...); one out of .maildir has them in its
name. What begins with a dot is there, but not listed: copies don't take it along.
"""

_PREHISTORY = """\
There is nothing here: the backup begins at {begin}.
What was before that is not known.
"""

_ONE_OWNER = """\
The accounts, as they were at this instant. No name had had several owners by then.
"""

_OWNERS = """\
The accounts, as they were at this instant. These names had had several owners by then, by the IDs
of their accounts (ACCOUNT/account.json has them): the same name may be somebody else's in another
view.
"""

_NOTHING = """\
There is nothing here: nothing has been recorded yet. Run 'engine scan'.
"""


def readme(zone: tzinfo) -> bytes:
    """README.txt at the root of the mount."""
    return _README.format(zone=zone_name(zone)).encode()


def owners(several: Mapping[str, Sequence[NameHolder]], time: int, zone: tzinfo) -> bytes:
    """README.txt of a view: the names of accounts that had had several owners by that time, and
    who these are."""
    if not several:
        return _ONE_OWNER.encode()
    lines = [_OWNERS]
    for name, spells in sorted(several.items()):
        lines.append(f"\n{account_name(name)}\n")
        for owner in spells:
            line = f"  {item_id(owner.item)}  from {format_time(owner.since, zone)}"
            if owner.until is not None and owner.until <= time:
                line += f" until {format_time(owner.until, zone)}"
            lines.append(f"{line}\n")
    return "".join(lines).encode()


def zone_name(zone: tzinfo) -> str:
    """What a zone is called: `Europe/Berlin`."""
    return str(getattr(zone, "key", None) or zone)


def prehistory(begin: int | None, zone: tzinfo) -> bytes:
    """README.txt in a view before the first transaction, which was at `begin` (microseconds)."""
    text = _NOTHING if begin is None else _PREHISTORY.format(begin=format_time(begin, zone))
    return text.encode()
