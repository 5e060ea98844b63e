"""What a run computes: the partitions asked for that are not there or stale, and, as the view declares, others that are stale."""

from collections.abc import Mapping, Sequence

from orchestrai.errors import NotReceipted
from orchestrai.features.plan import Planner
from orchestrai.features.spec import FeatureViewSpec, Recompute
from orchestrai.features.views.declared_checks import checks_of
from orchestrai.features.views.view_inputs import require_restored
from orchestrai.ledger.dataset import Dataset
from orchestrai.stage.staleness import StalePartition


def recompute_of(planner: Planner) -> Recompute:
    """What the view declares of stale partitions that nobody asked for."""
    spec = planner.view.spec
    return spec.recompute if isinstance(spec, FeatureViewSpec) else Recompute()


def to_compute(
    planner: Planner, current: Dataset | None, stale: Mapping[str, StalePartition], due: Sequence[str], *, asked: bool
) -> list[str]:
    """The partitions to compute, ascending; `due` are those asked for, or all that are due where nobody named any.

    Others that changed inputs made stale are computed with them, the newest `at_most`, unless the view lists them. What other code made
    waits until it is asked for, and so does what cannot be computed, since an input of it does not count. What a check that was declared
    since has not judged is computed again, for nothing may read it as it is.
    """
    declared, there = recompute_of(planner), current.partitions if current is not None else {}
    listed = declared.stale == "list"
    gates = {check.name for check in checks_of(planner.view) if check.blocking}
    wanted = [
        key
        for key in due
        if key not in there
        or (key in stale and (asked or not listed or not stale[key].by_inputs))
        or (current is not None and _lacks_verdict(current, key, gates))
    ]
    if listed:
        return wanted
    others = [key for key, one in stale.items() if one.by_inputs and key not in {*due} and _can_compute(planner, key)]
    return sorted({*wanted, *sorted(others)[-declared.at_most :]})


def _lacks_verdict(current: Dataset, key: str, gates: set[str]) -> bool:
    try:
        receipt = current.standing_receipt(key)
    except NotReceipted:
        return False  # a recall, or a closed gate: told by whoever reads it
    return not gates <= {verdict.check for verdict in receipt.verdicts.get(key, ())}


def _can_compute(planner: Planner, key: str) -> bool:
    window = planner.window(key)
    if window is None:
        return False
    try:
        for table, partitions in planner.task(window).partitions.items():
            for partition in partitions:
                require_restored(planner.opened.datasets[table], partition)
    except NotReceipted:
        return False
    return True
