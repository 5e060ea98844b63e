"""A tree of pages says what a sorted map says, hashes as the plain Merkle tree does, and writes what changed."""

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrai.core.canonical import canonical_json, dataset_version
from orchestrai.core.tree import merkle
from orchestrai.core.tree.ordered_keys import BEHIND, Overlay, keys_before
from orchestrai.core.tree.paged_tree import Content, PagedTree, Subtree, subtree_of, tree_of


class Entry(NamedTuple):
    name: str
    root: str


class Kept:
    """Pages in memory; a place is a number."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.pages: list[Content] = []
        self.reads = 0

    def key(self, row: Entry) -> str:
        return row.name

    def leaf(self, row: Entry) -> bytes:
        return merkle.leaf_hash(canonical_json([row.name, row.root]))

    def figures(self, row: Entry) -> tuple[int, ...]:
        return 1, len(row.root)

    def read(self, subtree: Subtree[int]) -> Content:
        self.reads += 1
        return self.pages[subtree.place]

    def write(self, height: int, content: Content) -> int:
        self.pages.append(content)
        return len(self.pages) - 1


KEYS = st.text("abcdefgh", min_size=1, max_size=3)
CHANGES = st.dictionaries(KEYS, st.one_of(st.none(), st.text("xyz", max_size=2)), max_size=12)


def changed(rows: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {key: root for key, root in {**rows, **changes}.items() if root is not None}


@given(
    st.sampled_from([2, 4, 16]),
    st.sampled_from([2, 4, 16]),
    st.dictionaries(KEYS, st.text("xyz"), max_size=60),
    st.lists(CHANGES),
)
def test_a_tree_is_the_sorted_map_after_any_changes(
    width: int, later: int, rows: dict[str, str], steps: list[dict[str, str | None]]
) -> None:
    kept = Kept(width)
    tree = tree_of(kept, [Entry(*item) for item in sorted(rows.items())], kept.write)
    for number, changes in enumerate([{}, *steps]):
        before, kept.width = tree, later if number else width
        entries = {key: None if root is None else Entry(key, root) for key, root in changes.items()}
        rows, tree = changed(rows, changes), tree.updated(entries, kept.write)
        assert list(tree) == sorted(rows) == list(reversed(list(reversed(tree))))
        assert tree.version == dataset_version(rows) and len(tree) == len(rows)
        assert {key: tree[key].root for key in rows} == rows
        assert all(key in tree for key in rows) and "zz" not in tree
        assert tree.root.sums[0] == len(rows) and sum(tree.root.sums[1:]) == sum(map(len, rows.values()))
        for subtree, content in tree.fresh():
            assert subtree_of(kept, subtree.height, content, subtree.place) == subtree
        fresh = {row for page, content in tree.fresh(before) if not page.height for row in content}
        assert fresh >= set(tree.rows()) - set(before.rows())
        assert not list(tree.fresh(tree))


@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_a_row_more_or_another_in_place_writes_a_path(count: int) -> None:
    kept = Kept(16)
    tree = tree_of(kept, [Entry(f"{number:06d}", "r") for number in range(count)], kept.write)
    for name in (f"{count:06d}", f"{count // 2:06d}", "000000"):
        pages, kept.reads = len(kept.pages), 0
        later = PagedTree(kept, tree.root).updated({name: Entry(name, "new")}, kept.write)
        assert later[name].root == "new"
        assert len(kept.pages) - pages <= 5 and kept.reads <= 8
        assert sum(1 for _ in later.fresh(tree)) <= 5


def test_pages_that_were_seen_are_not_walked_again() -> None:
    kept = Kept(4)
    seen: set[Subtree[int]] = set()
    tree = tree_of(kept, [Entry(f"{number:03d}", "r") for number in range(100)], kept.write)
    assert len(list(tree.fresh(seen=seen))) == len(kept.pages)
    later = tree.updated({"050": Entry("050", "s")}, kept.write)
    assert len(list(later.fresh(seen=seen))) == 4
    assert not list(later.fresh(seen=seen))


ROWS = st.dictionaries(KEYS, st.text("xyz"), max_size=60)


@given(st.sampled_from([2, 4, 16]), ROWS, CHANGES, KEYS)
def test_what_two_trees_differ_in_is_found_by_the_hashes_of_their_pages(
    width: int, rows: dict[str, str], changes: dict[str, str | None], key: str
) -> None:
    kept = Kept(width)
    before = tree_of(kept, [Entry(*item) for item in sorted(rows.items())], kept.write)
    later = changed(rows, changes)
    after = tree_of(kept, [Entry(*item) for item in sorted(later.items())], kept.write)
    mine, theirs = before.unlike(after)
    assert {(name, row.root) for name, row in mine.items()} >= rows.items() - later.items()
    assert {(name, row.root) for name, row in theirs.items()} >= later.items() - rows.items()
    assert {row.name for row in mine.values()} <= rows.keys() and theirs.keys() <= later.keys()
    assert before.unlike(before) == ({}, {})
    assert list(after.before(key)) == sorted((name for name in later if name < key), reverse=True)
    assert list(keys_before(later, key)) == list(after.before(key)) and list(after.before(BEHIND)) == sorted(later)[::-1]


@given(st.permutations([2, 4, 16]), ROWS, CHANGES)
def test_so_it_is_of_trees_whose_pages_are_of_another_width(
    widths: list[int], rows: dict[str, str], changes: dict[str, str | None]
) -> None:
    later = changed(rows, changes)
    narrow, wide = Kept(widths[0]), Kept(widths[1])
    before = tree_of(narrow, [Entry(*item) for item in sorted(rows.items())], narrow.write)
    after = tree_of(wide, [Entry(*item) for item in sorted(later.items())], wide.write)
    mine, theirs = before.unlike(after)
    # what is left out on either side is the same on both
    assert rows.items() - {(name, row.root) for name, row in mine.items()} <= later.items()
    assert later.items() - {(name, row.root) for name, row in theirs.items()} <= rows.items()


@pytest.mark.parametrize(("narrow", "wide"), [(4, 16), (16, 4), (16, 256)])
def test_equal_trees_of_other_widths_are_found_equal_and_one_row_costs_its_page(narrow: int, wide: int) -> None:
    trees, kept = [], [Kept(narrow), Kept(wide)]
    for pages, last in zip(kept, ("r", "s"), strict=True):
        rows = [Entry(f"{number:04d}", "r") for number in range(1000)]
        trees.append(tree_of(pages, rows, pages.write))
        trees.append(tree_of(pages, [*rows, Entry("1000", last)], pages.write))
    for pages in kept:
        pages.reads = 0
    assert trees[0].unlike(trees[2]) == ({}, {})
    assert not any(pages.reads for pages in kept)
    mine, theirs = trees[1].unlike(trees[3])
    assert mine["1000"].root == "r" and theirs["1000"].root == "s"
    assert len(mine) <= max(narrow, wide) and sum(pages.reads for pages in kept) <= 24


@given(st.sampled_from([2, 16]), ROWS, st.dictionaries(KEYS, st.text("xyz"), max_size=20), KEYS)
def test_an_overlay_is_the_map_with_the_others_put_over_it(
    width: int, rows: dict[str, str], over: dict[str, str], key: str
) -> None:
    kept = Kept(width)
    tree = tree_of(kept, [Entry(*item) for item in sorted(rows.items())], kept.write)
    overlay, whole = Overlay[str](tree, lambda row: row.root), {**rows, **over}
    for name, root in over.items():
        overlay.put(name, root)
    assert dict(overlay) == whole and len(overlay) == len(whole) and ("zz" in overlay) is False
    assert list(overlay.before(key)) == sorted((name for name in whole if name < key), reverse=True)


def test_one_row_more_and_the_newest_before_it_cost_a_path_however_long_the_history() -> None:
    reads = {}
    for count in (30, 3_650):
        kept = Kept(16)
        tree = tree_of(kept, [Entry(f"{number:06d}", "x") for number in range(count)], kept.write)
        after = tree.updated({f"{count:06d}": Entry(f"{count:06d}", "y")}, kept.write)
        kept.reads = 0
        assert list(tree.unlike(after)[1])[-1] == f"{count:06d}"
        assert list(islice(after.before(BEHIND), 10))[-1] == f"{count - 9:06d}"
        reads[count] = kept.reads
    assert reads[3_650] <= reads[30] + 6
