"""The order in which tests start, so that two workers are busy to the end and each kind of server is started in one of them."""

import pytest


def arrange(items: list[pytest.Item]) -> None:
    """Spark first, servers and whole pipelines where the second of two workers starts; modules stay whole.

    pytest-xdist gives each worker one stretch of the list and takes what is left to be done from its end.
    """
    modules: dict[object, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    kinds: dict[str, list[pytest.Item]] = {"spark": [], "slow": [], "plain": []}
    for held in modules.values():
        marks = {mark.name for item in held for mark in item.iter_markers()}
        kind = "spark" if "spark" in marks else "slow" if marks & {"e2e", "emulator"} else "plain"
        kinds[kind] += held
    first = max(0, len(items) // 2 - len(kinds["spark"]))
    plain = kinds["plain"]
    items[:] = [*kinds["spark"], *plain[:first], *kinds["slow"], *plain[first:]]
