"""Delivers messages to a Maildir folder under the names that they had.

What is there under such a name is kept: in the mailbox, in a directory that is no folder, so that
mail servers neither show nor count it. Whoever looks at the mailbox meanwhile sees one or the other
under the name, and never none.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress

from engine.connectors.mail import kept_flags
from engine.connectors.maildir.delivery import MaildirFolder, failure
from engine.connectors.maildir.delivery_names import NAME_MAX
from engine.connectors.maildir.dotlock import Patience
from engine.connectors.maildir.names import flag_letters, unique_part
from engine.connectors.ownership import PRIVATE, make_directory, owner_of
from engine.connectors.target import Delivery
from engine.system.beneath import BeneathTree
from engine.system.files import sync_directory

KEPT = "timefs-damaged"
"""The directory in a mailbox for what was replaced: below it one for each run, and in that one for
each folder."""

_UNLINKABLE = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class NamedFolder(MaildirFolder):
    """See `engine.connectors.target.TargetFolder`."""

    def __init__(
        self,
        path: str,
        tree: BeneathTree,
        parts: tuple[str, ...],
        flags: Collection[str],
        patience: Patience,
        *,
        there: Mapping[bytes, str],
        run: str,
    ) -> None:
        """`there` are the files that are to be replaced, as `cur/NAME` by identity, and `run` is
        the name of the directory for what they are now. Raises OSError."""
        super().__init__(path, tree, parts, flags, patience)
        self._parts = parts
        self._there = there
        self._kept_parts = (KEPT, run, *parts)
        self._changed: set[tuple[str, ...]] = set()
        """Directories whose names aren't durable yet."""
        self._making = threading.Lock()
        """A directory that one thread makes and gives away another would take for a stranger's."""

    def _publish(self, temporary: str, sizes: str, size: int, delivery: Delivery) -> str:
        unique = os.fsdecode(delivery.identity)
        locator = self._there.get(delivery.identity)
        if locator is None:
            name = f"{unique}:2,{flag_letters(kept_flags(delivery.flags), self._letters.keywords)}"
            if not _is_name(unique) or len(os.fsencode(name)) > NAME_MAX:
                return super()._publish(temporary, sizes, size, delivery)
            os.rename(temporary, name, src_dir_fd=self._tmp, dst_dir_fd=self._cur)
            self._sizes.append(size)
            return unique
        directory, name = locator[:3], locator[4:]
        target = self._tree.open_directory((*self._parts, directory))
        try:
            self._keep(target, name)
            os.rename(temporary, name, src_dir_fd=self._tmp, dst_dir_fd=target)
        finally:
            os.close(target)
        self._changed |= {(*self._parts, directory), self._kept_parts}
        return unique

    def _keep(self, directory: int, name: str) -> None:
        """Gives the file a name among what is kept, too; or moves it there, where a file can't have
        two names. Raises OSError: also where the file has another name by now."""
        self._make_kept()
        kept = self._tree.open_directory(self._kept_parts)
        try:
            for number in range(1, 100):
                other = name if number == 1 else f"{number}-{name}"[:NAME_MAX]
                with suppress(FileExistsError):
                    _link(directory, name, kept, other)
                    return
            raise FileExistsError(errno.EEXIST, "is kept often enough already")
        finally:
            os.close(kept)

    def _make_kept(self) -> None:
        with self._making:
            self._make_steps()

    def _make_steps(self) -> None:
        for length in range(1, len(self._kept_parts) + 1):
            above = self._tree.open_directory(self._kept_parts[: length - 1])
            try:
                owner = owner_of(above)._replace(mode=PRIVATE)
                make_directory(above, self._kept_parts[length - 1], owner)
            finally:
                os.close(above)

    def sync(self) -> None:
        super().sync()
        for parts in sorted(self._changed):
            try:
                fd = self._tree.open_directory(parts)
                try:
                    sync_directory(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                raise failure("/".join((self._path, *parts)), error) from error
        self._changed.clear()


def _link(directory: int, name: str, kept: int, other: str) -> None:
    """Raises FileExistsError where the other name is taken."""
    try:
        os.link(name, other, src_dir_fd=directory, dst_dir_fd=kept, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNLINKABLE:
            raise
        with suppress(FileNotFoundError):
            os.stat(other, dir_fd=kept, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, "is taken") from None
        os.rename(name, other, src_dir_fd=directory, dst_dir_fd=kept)


def _is_name(unique: str) -> bool:
    """Whether an identity is the unique part of a Maildir name, and not one from elsewhere."""
    return "/" not in unique and not unique.startswith(".") and unique_part(unique) == unique != ""
