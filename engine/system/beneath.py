"""Opens what lies beneath a directory, and nothing else, whatever is renamed or linked meanwhile.

The engine may read mailboxes whose owners can put symbolic links, pipes and the like into them. So
each step is taken from an open directory, links are refused at first, and a link that is followed
is judged by where it led. Times of last access are left alone where the system allows.
It knows nothing of mail.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class BeneathTree:
    """A directory that is held open, and everything beneath it. Methods may run in any thread.

    All raise OSError: FileNotFoundError for what isn't there; ENOLINK for a symbolic link to what
    isn't there; EXDEV for one that leads out of the tree; EINVAL for what is no regular file; and
    of a tree with an owner, EPERM for a file that may be another user's (see `_foreign`).
    """

    def __init__(self, descriptor: int, *, owned: bool = False) -> None:
        """Takes over the descriptor of the tree's root. `owned`: the tree is that of the user whom
        its root belongs to, who may have linked the files of others into it."""
        self._root = descriptor
        self._owner = os.fstat(descriptor).st_uid if owned else None

    def close(self) -> None:
        """Twice does no harm."""
        if self._root >= 0:
            os.close(self._root)
        self._root = -1

    @property
    def root(self) -> int:
        """The root's descriptor, opened with O_PATH."""
        return self._root

    def open_directory(self, parts: Sequence[str]) -> int:
        """A descriptor to look things up in (O_PATH), which the caller closes."""
        fd = os.open(".", _STEP, dir_fd=self._root)
        for part in parts:
            try:
                below = self._step(fd, part)
            finally:
                os.close(fd)
            fd = below
        return fd

    def open_listing(self, parts: Sequence[str]) -> int:
        """A descriptor for os.scandir, which the caller closes."""
        fd = self.open_directory(parts)
        try:
            return open_untouched(".", os.O_RDONLY | os.O_DIRECTORY, fd)
        finally:
            os.close(fd)

    def open_file(self, parts: Sequence[str], name: str) -> tuple[int, os.stat_result]:
        """A descriptor to read a regular file from, which the caller closes, and what it is.

        Never waits for the other end of a pipe.
        """
        directory = self.open_directory(parts)
        flags = os.O_RDONLY | os.O_NONBLOCK
        try:
            holder = os.fstat(directory)
            fd = open_untouched(name, flags | os.O_NOFOLLOW, directory)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            target = self._follow(directory, name, os.O_PATH | os.O_CLOEXEC)
            try:
                fd = open_untouched(f"/proc/self/fd/{target}", flags)
            finally:
                os.close(target)
        finally:
            os.close(directory)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            if self._owner is not None and self._foreign(status, holder):
                what = f"belongs to another user ({status.st_uid}) than the mailbox ({self._owner})"
                raise PermissionError(errno.EPERM, what)
        except OSError:
            os.close(fd)
            raise
        return fd, status

    def read_file(self, parts: Sequence[str], name: str, limit: int) -> bytes | None:
        """At most `limit` bytes of a small file; None if there is none."""
        try:
            fd, _ = self.open_file(parts, name)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, limit)
        finally:
            os.close(fd)

    def _foreign(self, file: os.stat_result, directory: os.stat_result) -> bool:
        """Whether a file may be another user's, whom its link here takes it from: it may only be
        read here by the one whose mailbox it is, and the engine reads as root.

        What belongs to the owner of the tree or of the directory is theirs. What root or we have
        put there is read unless it has other names; so is what members of a group have put into
        a directory that the group shares, for that group.
        """
        if file.st_uid in (self._owner, directory.st_uid):
            return False
        if file.st_nlink > 1:
            return True
        if file.st_uid in (0, os.geteuid()):
            return False
        shared = directory.st_mode & stat.S_IWGRP and file.st_mode & stat.S_IRGRP
        return not (shared and file.st_gid == directory.st_gid)

    def _step(self, directory: int, name: str) -> int:
        try:
            return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=directory)
        except NotADirectoryError:
            return self._follow(directory, name, _STEP)

    def _follow(self, directory: int, name: str, flags: int) -> int:
        """Opens a symbolic link's target, with O_PATH only: that touches nothing."""
        try:
            fd = os.open(name, flags, dir_fd=directory)
        except FileNotFoundError:
            raise OSError(errno.ENOLINK, "is a symbolic link to what isn't there") from None
        try:
            root = os.readlink(f"/proc/self/fd/{self._root}")
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            os.close(fd)
            raise OSError(errno.ENOLINK, "is a symbolic link; following it needs /proc") from None
        if not target.startswith(root.rstrip("/") + "/"):
            os.close(fd)
            raise OSError(errno.EXDEV, "is a symbolic link that leads out of the mailbox")
        return fd


def open_tree(base: str, parts: Sequence[str]) -> BeneathTree:
    """The tree at `parts` below `base`. Symbolic links in `base` are followed: the administrator
    named it. One in `parts` is followed if the directory that holds it is root's or our own, or if
    its target belongs to the owner of that directory; otherwise a user of the machine could have
    us read what is someone else's. Raises OSError; EPERM for such a link."""
    fd = os.open(base, _STEP)
    for part in parts:
        try:
            try:
                below = os.open(part, _STEP | os.O_NOFOLLOW, dir_fd=fd)
            except NotADirectoryError:
                below = os.open(part, _STEP, dir_fd=fd)
                holder, owner = os.fstat(fd).st_uid, os.fstat(below).st_uid
                if holder not in (0, os.geteuid(), owner):
                    os.close(below)
                    raise PermissionError(
                        errno.EPERM, "is a symbolic link to a directory of another owner"
                    ) from None
        finally:
            os.close(fd)
        fd = below
    return BeneathTree(fd, owned=True)


def open_untouched(name: str, flags: int, directory: int | None = None) -> int:
    """os.open that leaves the time of last access alone, which only the owner may ask for."""
    flags |= os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(name, flags, dir_fd=directory)


@contextmanager
def entries(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What is in a directory, which is left untouched; valid inside the block only."""
    fd = open_untouched(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as found:
            yield found
    finally:
        os.close(fd)
