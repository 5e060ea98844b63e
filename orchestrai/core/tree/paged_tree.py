"""A sorted map as a tree of pages that are written once: a change writes the pages on its path, and refers to all others.

A page holds `width` rows, or `width` pages, counted from the first: `width` is a power of two, so that each page is a subtree of RFC 6962's
Merkle tree over all rows, and the hash of the whole follows from those that stand in the pages. Rows that come last or take another's place
cost a path. Where one comes or goes in between, all behind it move, and are written anew, as the hash of each of their subtrees is.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from orchestrai.core.tree import merkle

WIDTH = 16

Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)
Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Subtree(Generic[Place]):
    """A page and all below it: its lowest key, the sums of its rows' figures (the first is how many), its hash, and where it lies.

    At height 0 the page holds rows, above that subtrees.
    """

    height: int
    first: str
    sums: tuple[int, ...]
    hash: bytes
    place: Place


# what a page holds: rows, or the subtrees below it
Content = Sequence[Any]
# keeps a page, of a height, and says where
Write = Callable[[int, Content], Place]


class Pages(Protocol[Row_contra, Place]):
    """How rows are told apart and hashed, and how pages are read; reading one again costs little."""

    width: int

    def key(self, row: Row_contra) -> str:
        """What the rows are sorted by."""
        ...

    def leaf(self, row: Row_contra) -> bytes:
        """The hash of a row, a leaf of the Merkle tree."""
        ...

    def figures(self, row: Row_contra) -> tuple[int, ...]:
        """What is summed up over the rows; 1 comes first."""
        ...

    def read(self, subtree: Subtree[Place]) -> Content:
        """The content of a page, proven to be what its place says."""
        ...


class PagedTree(Mapping[str, Row], Generic[Row, Place]):
    """The rows by their keys; a page is read when it is needed."""

    def __init__(self, pages: Pages[Row, Place], root: Subtree[Place]) -> None:
        self.pages = pages
        self.root = root

    @property
    def version(self) -> str:
        """The Merkle root over all rows, `sha256:<hex>`."""
        return "sha256:" + self.root.hash.hex()

    def __getitem__(self, key: str) -> Row:
        subtree = self.root
        while subtree.height:
            children = self.pages.read(subtree)
            subtree = children[max(0, bisect_right(children, key, key=_first) - 1)]
        rows = self.pages.read(subtree)
        at = bisect_left(rows, key, key=self.pages.key)
        if at == len(rows) or self.pages.key(rows[at]) != key:
            raise KeyError(key)
        row: Row = rows[at]
        return row

    def __iter__(self) -> Iterator[str]:
        return map(self.pages.key, self.rows())

    def __reversed__(self) -> Iterator[str]:
        """The keys from the last to the first; what is not asked for is not read."""
        waiting = [self.root]
        while waiting:
            subtree = waiting.pop()
            content = self.pages.read(subtree)
            if subtree.height:
                waiting += content
            else:
                yield from map(self.pages.key, reversed(content))

    def before(self, key: str) -> Iterator[str]:
        """The keys before one, the last first; what is not asked for is not read."""
        waiting = [self.root]
        while waiting:
            subtree = waiting.pop()
            if subtree.first >= key:
                continue
            content = self.pages.read(subtree)
            if subtree.height:
                waiting += content[: bisect_left(content, key, key=_first)]
            else:
                yield from map(self.pages.key, reversed(content[: bisect_left(content, key, key=self.pages.key)]))

    def __len__(self) -> int:
        return self.root.sums[0]

    def items(self) -> ItemsView[str, Row]:
        """As of any mapping; one walk over the pages, and not a descent for each key."""
        return _Items(self)

    def values(self) -> ValuesView[Row]:
        """As of any mapping, in one walk."""
        return _Values(self)

    def rows(self) -> Iterator[Row]:
        """Every row, in the order of the keys."""
        for subtree, content in self.fresh():
            if subtree.height == 0:
                yield from content

    def fresh(
        self, beyond: "PagedTree[Row, Place] | None" = None, seen: set[Subtree[Place]] | None = None
    ) -> Iterator[tuple[Subtree[Place], Content]]:
        """The pages that neither `beyond` has nor were `seen`, each level in order; they are added to what was seen."""
        mine, others = [self.root], [beyond.root] if beyond is not None else []
        seen = set() if seen is None else seen
        while mine:
            shared, own = set(others), set(mine)
            others = [subtree for subtree in others if subtree not in own]
            mine = [subtree for subtree in mine if subtree not in shared and subtree not in seen]
            highest = max((subtree.height for subtree in (*mine, *others)), default=0)
            below: list[Subtree[Place]] = []
            for subtree in mine:
                if subtree.height < highest:
                    below.append(subtree)
                    continue
                seen.add(subtree)
                content = self.pages.read(subtree)
                yield subtree, content
                if subtree.height:
                    below += content
            mine = below
            if beyond is not None:
                others = [
                    child
                    for subtree in others
                    for child in ([subtree] if subtree.height < highest else beyond.pages.read(subtree) if highest else ())
                ]

    def unlike(self, other: "PagedTree[Any, Any]") -> tuple[dict[str, Row], dict[str, Any]]:
        """The rows of pages whose hash the other tree has nowhere, of this tree and of the other: all that differ are among them.

        What lies beside the leaves in a row may differ where the hash is the same. Costs the pages that differ. The other may have pages
        of another width, as long as it hashes its rows in the same way.
        """
        sides: tuple[list[Subtree[Any]], list[Subtree[Any]]] = ([self.root], [other.root])
        rows: tuple[dict[str, Row], dict[str, Any]] = ({}, {})
        both: tuple[PagedTree[Any, Any], PagedTree[Any, Any]] = (self, other)
        while any(sides):
            shared = {subtree.hash for subtree in sides[0]}.intersection(subtree.hash for subtree in sides[1])
            left = tuple([subtree for subtree in side if subtree.hash not in shared] for side in sides)
            widest = max((tree.room(one) for tree, side in zip(both, left, strict=True) for one in side), default=0)
            sides = ([], [])
            for tree, side, below, found in zip(both, left, sides, rows, strict=True):
                for subtree in side:
                    if tree.room(subtree) < widest:
                        below.append(subtree)
                    elif subtree.height:
                        below += tree.pages.read(subtree)
                    else:
                        found.update((tree.pages.key(row), row) for row in tree.pages.read(subtree))
        return rows

    def room(self, subtree: Subtree[Place]) -> int:
        """How many rows a page of its height has room for, all below it counted."""
        return int(self.pages.width ** (subtree.height + 1))

    def updated(self, changes: Mapping[str, Row | None], write: "Write[Place]") -> "PagedTree[Row, Place]":
        """The tree with these rows put in, and those whose row is None left out; `write` keeps its new pages."""
        builder = _Builder(self.pages, write)
        self._feed(builder, self.root, _Changes(changes), last=True)
        return PagedTree(self.pages, builder.finish())

    def _feed(
        self, builder: "_Builder[Row, Place]", subtree: Subtree[Place], changes: "_Changes[Row]", *, last: bool
    ) -> None:
        """Hand a subtree on with its changes: whole where nothing in it changes or moves."""
        if not changes.keys and builder.takes(subtree, last=last):
            builder.add(subtree)
            return
        content = self.pages.read(subtree)
        if subtree.height == 0:
            for row in changes.merged({self.pages.key(row): row for row in content}):
                builder.add_row(row)
            return
        for number, child in enumerate(content, 1):
            is_last = number == len(content)
            own, changes = (changes, changes) if is_last else changes.cut(content[number].first)
            self._feed(builder, child, own, last=last and is_last)


def tree_of(pages: Pages[Row, Place], rows: Sequence[Row], write: Write[Place]) -> PagedTree[Row, Place]:
    """A tree of rows that are in order; `write` keeps its pages."""
    builder = _Builder(pages, write)
    for row in rows:
        builder.add_row(row)
    return PagedTree(pages, builder.finish())


def subtree_of(pages: Pages[Row, Place], height: int, content: Content, place: Place) -> Subtree[Place]:
    """What stands for a page, as it follows from what the page holds."""
    if height:
        hashes, figures = [child.hash for child in content], [child.sums for child in content]
        first = content[0].first if content else ""
    else:
        hashes, figures = [pages.leaf(row) for row in content], [pages.figures(row) for row in content]
        first = pages.key(content[0]) if content else ""
    sums = tuple(map(sum, zip(*figures, strict=True))) or (0,)
    return Subtree(height, first, sums, merkle.root_of_hashes(hashes), place)


class _Items(ItemsView[str, Row]):
    def __init__(self, tree: PagedTree[Row, Any]) -> None:
        super().__init__(tree)
        self._tree = tree

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        key = self._tree.pages.key
        return ((key(row), row) for row in self._tree.rows())


class _Values(ValuesView[Row]):
    def __init__(self, tree: PagedTree[Row, Any]) -> None:
        super().__init__(tree)
        self._tree = tree

    def __iter__(self) -> Iterator[Row]:
        return self._tree.rows()


def _first(subtree: Subtree[Any]) -> str:
    return subtree.first


class _Changes(Generic[Row]):
    """Changes in the order of their keys."""

    def __init__(self, rows: Mapping[str, Row | None]) -> None:
        self.rows = rows
        self.keys = sorted(rows)

    def cut(self, key: str) -> "tuple[_Changes[Row], _Changes[Row]]":
        """Those before a key, and the others."""
        at = bisect_left(self.keys, key)
        parts = self.keys[:at], self.keys[at:]
        before, behind = (_Changes({name: self.rows[name] for name in part}) for part in parts)
        return before, behind

    def merged(self, rows: dict[str, Row]) -> list[Row]:
        """These rows with the changes, in order."""
        after = {**rows, **self.rows}
        return [row for _, row in sorted(after.items()) if row is not None]


class _Builder(Generic[Row, Place]):
    """Takes rows and whole subtrees in order, and keeps each page once it is full."""

    def __init__(self, pages: Pages[Row, Place], write: Write[Place]) -> None:
        self.pages = pages
        self.write = write
        # rows at 0, subtrees of height n - 1 at n
        self.levels: list[list[Any]] = [[], []]
        self.count = 0

    def takes(self, subtree: Subtree[Place], *, last: bool) -> bool:
        """Whether a subtree stands where it begins, and is full, or ends the tree."""
        full = self.pages.width ** (subtree.height + 1)
        return self.count % full == 0 and (subtree.sums[0] == full or (last and subtree.sums[0] < full))

    def add_row(self, row: Row) -> None:
        """The next row."""
        self.count += 1
        self._push(0, row)

    def add(self, subtree: Subtree[Place]) -> None:
        """All rows of a subtree."""
        self.count += subtree.sums[0]
        self._push(subtree.height + 1, subtree)

    def finish(self) -> Subtree[Place]:
        """Keep the pages that are not full; the root."""
        level = 0
        while True:
            items = self.levels[level]
            above = any(self.levels[level + 1 :])
            if level and len(items) == 1 and not above:
                root: Subtree[Place] = items[0]
                return root
            if items or not above:
                self._flush(level)
            level += 1

    def _push(self, level: int, item: Any) -> None:
        while len(self.levels) <= level + 1:
            self.levels.append([])
        self.levels[level].append(item)
        if len(self.levels[level]) == self.pages.width:
            self._flush(level)

    def _flush(self, level: int) -> None:
        content, self.levels[level] = tuple(self.levels[level]), []
        place = self.write(level, content)
        self._push(level + 1, subtree_of(self.pages, level, content, place))
