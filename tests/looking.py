"""Looks around in a `timefs.view.tree.Tree` by paths, as programs do through the kernel."""

from __future__ import annotations

from typing import NamedTuple

from timefs.view.inodes import is_directory
from timefs.view.listing import Node
from timefs.view.places import Slow
from timefs.view.tree import ROOT_INODE, Blob, Found, OpenDirectory, Tree


class Seen(NamedTuple):
    """What a path shows."""

    node: Node
    lasting: bool


class Looker:
    """A kernel that remembers nothing, but is told of inodes as a kernel is."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def at(self, path: str) -> Seen | None:
        """What is at a path below the mount point; None where there is nothing."""
        root = self.tree.attributes(ROOT_INODE)
        assert root.node is not None
        seen = Seen(root.node, root.lasting)
        for part in filter(None, path.split("/")):
            found = self.lookup(seen.node.inode, part)
            if found.node is None:
                return None
            seen = Seen(found.node, found.lasting)
        return seen

    def lookup(self, parent: int, name: str) -> Found:
        """What is under a name in a directory, be it slow or not."""
        raw = name.encode("utf-8", "surrogateescape")
        try:
            found = self.tree.lookup(parent, raw)
        except Slow:
            found = self.tree.lookup(parent, raw, patient=True)
        if found.node is not None:
            self.tree.hold(found.node.inode)
        return found

    def node(self, path: str) -> Node:
        """What is at a path, which must be there."""
        seen = self.at(path)
        assert seen is not None, path
        return seen.node

    def names(self, path: str) -> list[str]:
        """What a directory lists."""
        return [name.decode() for name in self.open(path).listing.names]

    def open(self, path: str) -> OpenDirectory:
        """An open directory, be it slow or not."""
        inode = self.node(path).inode
        try:
            return self.tree.open(inode)
        except Slow:
            return self.tree.open(inode, patient=True)

    def content(self, path: str) -> bytes | Blob:
        """What a file contains."""
        inode = self.node(path).inode
        try:
            return self.tree.content(inode)
        except Slow:
            return self.tree.content(inode, patient=True)

    def walk(self, path: str) -> dict[str, Node]:
        """All that is listed below a directory, by its path there. Asserts that listings, lookups
        and attributes agree, and that no inode is in two places of this tree."""
        found: dict[str, Node] = {}
        self._walk(path.rstrip("/"), "", found)
        inodes = [node.inode for node in found.values()]
        assert len(set(inodes)) == len(inodes)
        return found

    def _walk(self, base: str, below: str, found: dict[str, Node]) -> None:
        opened = self.open(f"{base}/{below}")
        with self.tree.rows(opened, 0) as rows:
            listed = [(opened.listing.names[index].decode(), node) for index, node, _ in rows]
        for name, node in listed:
            path = f"{below}{name}"
            assert self.node(f"{base}/{path}") == node, path
            assert self.tree.attributes(node.inode, patient=True).node == node, path
            found[path] = node
            if is_directory(node.inode):
                self._walk(base, f"{path}/", found)
