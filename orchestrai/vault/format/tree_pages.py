"""The pages of a snapshot's tree: those that a commit adds lie end to end in one object, the root last.

A tree of one page is the plain list that it was in format 1, to the byte. One of more begins with MAGIC and ends with the root's length,
four bytes. Each page is sealed alone; whoever refers to it names the SHA-256 of its bytes as they are stored.
"""

from collections.abc import Callable
from dataclasses import replace

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.tree import merkle
from orchestrai.core.tree.paged_tree import Content, PagedTree, Subtree, subtree_of
from orchestrai.errors import IntegrityError
from orchestrai.vault.format.layout import tree_key
from orchestrai.vault.format.lists import Codec, PagePlace, StoredPartition

MAGIC = b"ORT2"
_TAIL = 4
# pages that a reader keeps; a page of 16 rows takes some 10 KB
_KEPT = 4096

Tree = PagedTree[StoredPartition, PagePlace]
# opens or seals the bytes of a page, given where it begins in its object
Cover = Callable[[int, bytes], bytes]


class TreePages:
    """Reads pages, each proven; keeps what it read, since no page changes. `stored` gives the bytes of a page as they lie there, opened."""

    def __init__(self, codec: Codec, stored: Callable[[PagePlace], bytes]) -> None:
        self.codec = codec
        self.width = codec.width
        self._stored = stored
        self._kept: dict[PagePlace, Content] = {}

    def key(self, row: StoredPartition) -> str:
        """The partition."""
        return row.partition

    def leaf(self, row: StoredPartition) -> bytes:
        """The leaf of the dataset's version."""
        return merkle.leaf_hash(canonical_json([row.partition, row.root]))

    def figures(self, row: StoredPartition) -> tuple[int, ...]:
        """Partitions, files, rows and bytes."""
        return 1, row.files, row.rows, row.size

    def read(self, subtree: Subtree[PagePlace]) -> Content:
        """The content of a page; raises MissingObject, DigestMismatch, IntegrityError."""
        content = self._kept.get(subtree.place)
        if content is None:
            height, content = self.decoded(subtree.place, self._stored(subtree.place))
            if height != subtree.height:
                raise IntegrityError(f"expected a page of height {subtree.height} in {subtree.place.key}, found {height}")
        return content

    def root(self, place: PagePlace, data: bytes) -> Tree:
        """The tree whose root page these bytes are."""
        height, content = self.decoded(place, data)
        return PagedTree(self, subtree_of(self, height, content, place))

    def decoded(self, place: PagePlace, data: bytes) -> tuple[int, Content]:
        """What a page holds. What lies in the same object is of the same version, which its writer could not know."""
        height, content = self.codec.decode_page(data)
        if height and place.version:
            content = [
                replace(child, place=child.place._replace(version=place.version)) if child.place.key == place.key else child
                for child in content
            ]
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[place] = content
        return height, content


class TreeObject:
    """The new pages of one commit, gathered into the object that holds them."""

    def __init__(self, session: str, number: int, codec: Codec, seal: Cover) -> None:
        self.key = tree_key(session, number)
        self.data = bytearray(MAGIC)
        self._own = session, number
        self._codec = codec
        self._seal = seal
        self._pages: list[tuple[PagePlace, bytes]] = []

    def write(self, height: int, content: Content) -> PagePlace:
        """Add a page."""
        plain = self._codec.encode_page(height, content)
        stored = self._seal(len(self.data), plain)
        place = PagePlace(*self._own, len(self.data), len(stored), sha256_hex(stored))
        self.data += stored
        self._pages.append((place, plain))
        return place

    def whole(self) -> bytes:
        """The object: a single page as the list of format 1 lies, more as they were added."""
        place, plain = self._pages[-1]
        if len(self._pages) == 1 and self._codec.decode_page(plain)[0] == 0:
            return self._seal(0, plain)
        return bytes(self.data) + place.length.to_bytes(_TAIL, "big")


def root_span(data: bytes) -> tuple[int, int]:
    """Where the root page of a tree's object begins, and how long it is."""
    if not data.startswith(MAGIC):
        return 0, len(data)
    length = int.from_bytes(data[-_TAIL:], "big")
    return len(data) - _TAIL - length, length
