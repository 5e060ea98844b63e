"""A day costs what is new: what a step asks of the stores does not grow with the days that are there."""

from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.tree.paged_tree import Subtree
from orchestrai.vault.format.tree_pages import TreePages
from orchestrai_tests.pipeline.growing import MOMENTS, RAW, RESTORED, ROLLING, STAGES, Growing, Step

FLAT = ("look", *STAGES, "stale")

# a snapshot looks at the commits before it, at most 65 for a change that is unusual and 16 for the witness, and three lie between the two
# that are compared
BEFORE = {"snapshot": 4 * 3}


def operations(steps: dict[str, Step]) -> dict[str, int]:
    return {name: steps[name].operations for name in FLAT}


def day_after(shop: Growing, days: int) -> dict[str, int]:
    """What one day costs once there are so many: the least of two, as every few publications one looks a number up more."""
    shop.grow(days - shop.days)
    first, second = operations(shop.grow(1)), operations(shop.grow(1))
    return {name: min(first[name], second[name]) for name in FLAT}


def require_flat(few: dict[str, int], many: dict[str, int], most: float = 1.1) -> None:
    for name in FLAT:
        # the numbers of a log are looked up by doubling: the logarithm of its length, for each asset that is asked for
        assert many[name] <= most * few[name] + 6 + BEFORE.get(name, 0), (name, few[name], many[name])


def test_a_day_asks_the_stores_for_as_much_after_many_more_days(tmp_path: Path) -> None:
    # beyond the 56 that a day is judged by
    shop = Growing(tmp_path / "shop")
    few = day_after(shop, 57)
    require_flat(few, day_after(shop, 90))
    # and what was made of one day after another is what all of them at once give
    whole = Growing(tmp_path / "whole")
    whole.grow(shop.days)
    for asset in (RAW, RESTORED, f"{ROLLING}/features", STAGES["training set"]):
        assert shop.runtime.ledger.open(asset).version == whole.runtime.ledger.open(asset).version


@pytest.mark.thorough("test_a_day_asks_the_stores_for_as_much_after_many_more_days")
def test_a_day_asks_the_stores_for_as_much_over_more_than_one_page_of_days(tmp_path: Path) -> None:
    shop = Growing(tmp_path / "shop")
    # a second level of pages is read, once
    require_flat(day_after(shop, 60), day_after(shop, 300), most=1.3)


def test_what_many_days_gave_is_held_against_the_vault_without_a_look_at_each(tmp_path: Path) -> None:
    shop = Growing(tmp_path / "shop")
    stages = [name for name in STAGES if name != "training set"]
    shop.grow(40, stages)
    keys, read = shop.land(), TreePages.read
    for name in stages[:-1]:
        shop.run(STAGES[name], keys)
    runtime, leaves = shop.runtime, set[object]()

    def noted(pages: TreePages, subtree: Subtree[Any]) -> Any:
        if not subtree.height:
            leaves.add(subtree.place)
        return read(pages, subtree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TreePages, "read", noted)
        shop.run(f"{MOMENTS}/features", keys, runtime)
    # 40 days lie in three pages of the snapshot's tree; the receipt of the moments names all of them as its inputs
    assert len(leaves) <= 1


def test_every_stage_is_measured(tmp_path: Path) -> None:
    shop = Growing(tmp_path / "shop")
    assert set(shop.runtime.project.nodes) >= set(STAGES.values())
