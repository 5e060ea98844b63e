"""A dataset's manifest as a tree of pages, each a record under its own hash, so that a new version writes what changed.

A page of partitions is a manifest of format 1, to the byte; what is small is that page alone. A page of pages is of format 2, and names
those below it by their hashes. A manifest of format 1 of any length is read.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrai.core.canonical import canonical_json
from orchestrai.core.tree import merkle
from orchestrai.core.tree.paged_tree import Content, PagedTree, Subtree, Write, subtree_of, tree_of
from orchestrai.errors import IntegrityError, UnknownFormatVersion
from orchestrai.ledger.manifest import FORMAT, DatasetManifest, PartitionEntry

PAGES_FORMAT = 2
# each page is a record, and so a request of its own where the lake is remote: who reads a whole manifest asks once for so many rows
PAGE_ROWS = 256

# of partitions, with the digests of the pages' records as places
ManifestTree = PagedTree[PartitionEntry, str]
# so many pages are remembered; one takes some 100 KB
_KEPT = 512


class DatasetPages:
    """Reads the pages of one asset's manifests; `blob` gives a record by its digest, its hash checked."""

    width = PAGE_ROWS

    def __init__(self, asset: str, blob: Callable[[str], bytes]) -> None:
        self.asset = asset
        self._blob = blob
        self._kept: dict[str, tuple[int, Content]] = {}

    def key(self, row: PartitionEntry) -> str:
        """The partition."""
        return row.partition

    def leaf(self, row: PartitionEntry) -> bytes:
        """The leaf of the dataset's version."""
        return merkle.leaf_hash(canonical_json([row.partition, row.root]))

    def figures(self, row: PartitionEntry) -> tuple[int, ...]:
        """Partitions, files, rows and bytes."""
        return 1, row.files, row.rows, row.size

    def read(self, subtree: Subtree[str]) -> Content:
        """The content of a page; raises MissingObject, DigestMismatch, IntegrityError."""
        height, content = self._page(subtree.place)
        if height != subtree.height:
            raise IntegrityError(f"expected a page of height {subtree.height} of {self.asset}, found one of {height}")
        return content

    def tree(self, digest: str) -> ManifestTree:
        """The manifest of this digest."""
        height, content = self._page(digest)
        return PagedTree(self, subtree_of(self, height, content, digest))

    def changed(
        self, before: ManifestTree | None, changes: Mapping[str, PartitionEntry | None], write: Write[str]
    ) -> ManifestTree:
        """A manifest with these rows put in, and without those that are None; of the first version where there is none before."""
        if before is not None:
            return before.updated({key: row for key, row in changes.items() if row is not None or key in before}, write)
        return tree_of(self, [row for _, row in sorted(changes.items()) if row is not None], write)

    def require_sound(self, tree: ManifestTree, seen: set[Subtree[str]]) -> None:
        """Raise IntegrityError unless each page that was not seen is what the page above it says, its Merkle hash computed again."""
        for page, content in tree.fresh(seen=seen):
            if subtree_of(self, page.height, content, page.place) != page:
                # whoever asks again is told again
                seen.clear()
                raise IntegrityError(
                    f"expected page {page.place[:12]} of {self.asset} to give the hash above it, found another"
                )

    def _page(self, digest: str) -> tuple[int, Content]:
        page = self._kept.get(digest)
        if page is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            page = self._kept[digest] = decode_page(self.asset, self._blob(digest))
        return page


def is_paged(data: bytes) -> bool:
    """Whether a manifest is a page of pages; no text inside of JSON can look like this."""
    return b',"format":%d,"height":' % PAGES_FORMAT in data


def encode_page(asset: str, height: int, content: Content) -> bytes:
    """Canonical bytes of a page: a manifest of format 1 at height 0."""
    if height == 0:
        return DatasetManifest(asset, {row.partition: row for row in content}).encode()
    rows = [[page.first, *page.sums, page.hash.hex(), page.place] for page in content]
    return canonical_json({"format": PAGES_FORMAT, "asset": asset, "height": height, "pages": rows})


def decode_page(asset: str, data: bytes) -> tuple[int, Content]:
    """Read a page, its height first; raises IntegrityError, UnknownFormatVersion."""
    try:
        document: dict[str, Any] = json.loads(data)
        version, owner = document["format"], document["asset"]
        if version not in (FORMAT, PAGES_FORMAT):
            raise UnknownFormatVersion(
                f"expected manifest format {FORMAT} or {PAGES_FORMAT}, found {version!r}: use a newer release"
            )
        if owner != asset:
            raise IntegrityError(f"expected the manifest of {asset}, found that of {owner}: the record was moved")
        if version == FORMAT:
            rows = [PartitionEntry(*row) for row in document["partitions"]]
            return 0, sorted(rows, key=lambda row: row.partition)
        height = int(document["height"])
        return height, [
            Subtree(height - 1, first, tuple(sums), bytes.fromhex(digest), place)
            for first, *sums, digest, place in document["pages"]
        ]
    except (KeyError, TypeError, ValueError) as exc:
        raise IntegrityError(f"expected the manifest of {asset}, found another record under its name ({exc})") from exc
