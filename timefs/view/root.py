"""The mount point where it has all views: `latest`, every scan's end, and any other instant."""

from __future__ import annotations

from engine.domain.model import ROOT
from timefs.view.folders import README
from timefs.view.inodes import Place, local_inode
from timefs.view.listing import Listing, Node
from timefs.view.places import Directory, Document, Lists, directory
from timefs.view.views import Moment, Views


class RootDirectory(Directory):
    """Lists README.txt, `latest` and the ends of scans. For one thread: lookups may take slots."""

    def __init__(self, lists: Lists, views: Views, created: int) -> None:
        """`created` is the time at which the backup was made."""
        super().__init__(lists)
        self._views = views
        self._created = created

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        """The node of a view is in the slot of its name. Raises OSError if there is none left."""
        if name == README:
            return directory(Place.README, ROOT)
        if not name.isascii():
            return None
        text = name.decode()
        view = self._views.known(text) or self._views.parse(text)
        if view is None or not self._views.has_come(view, moment.reader):
            return None
        return Node(local_inode(self._views.assign(view), Place.TOP, ROOT))

    def listing(self, moment: Moment, item: int) -> Listing:
        """Where views have inode 0: they get a slot when they are shown."""
        names = self._views.listed(moment.reader)
        rows = [(name.encode(), Node(0)) for name in names]
        return Listing([(README, directory(Place.README, ROOT)), *rows])

    def changed(self, moment: Moment, item: int) -> int:
        return self._views.last_listed(moment.reader) or self._created


class GuideDocument(Document):
    """README.txt: what one can do here."""

    def __init__(self, lists: Lists, text: bytes, created: int) -> None:
        super().__init__(lists)
        self._text = text
        self._created = created

    def content(self, moment: Moment, item: int) -> bytes:
        return self._text

    def changed(self, moment: Moment, item: int) -> int:
        return self._created
