"""The newest features of a view beside the rows that a serving champion learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrai.core.time.partition_key import WHOLE, by_value
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.features.ports import DeclaredView
from orchestrai.features.profile.portrait import Portrait, portrait
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.ledger.ledger import Ledger


@dataclass(frozen=True)
class Learned:
    """The training set that a serving champion learned from."""

    model: str
    training_set: str
    version: str


def drift_limit(node: DeclaredView) -> float | None:
    """The largest PSI declared for a view; None where drift is not asked for."""
    spec = node.view.spec
    return spec.checks.drift if isinstance(spec, FeatureViewSpec) else None


def view_portrait(ledger: Ledger, node: DeclaredView, learned: Sequence[Learned]) -> Portrait:
    """Look at the newest partition of a view's features, of a dimension that of each value; raises NotReceipted where there are none.

    The reference is the first training set in `learned`, those of the champions that learn from the view.
    """
    limit = drift_limit(node)
    if limit is None:
        raise ConfigError(f"expected checks: {{drift: 0.25}} in {node.view.name}, found none: declare it")
    dataset = ledger.open(node.asset)
    filled = [key for key, entry in dataset.partitions.items() if entry.rows or len(dataset.partitions) == 1]
    # a champion learned from all values of a dimension
    with dataset.fetched([keys[-1] for keys in by_value(filled).values()]) as files:
        paths = [file.path for part in files.values() for file in part]
        for reference in learned:
            try:
                training = ledger.open(reference.training_set, reference.version)
                with training.fetched([WHOLE]) as verified:
                    rows = [file.path for file in verified[WHOLE]]
                    return portrait(paths, rows, node.view.features, limit, f"{reference.model} was trained")
            except OrchestraiError as exc:
                alone = portrait(paths, [], node.view.features, limit, "")
                missing = Verdict("drift", False, f"the champion's training set cannot be read: {exc.message}", "warn")
                return Portrait(alone.rows, alone.columns, (), missing, alone.plots)
        return portrait(paths, [], node.view.features, limit, "no champion yet: nothing to compare with")
