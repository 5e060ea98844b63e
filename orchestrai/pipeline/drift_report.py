"""The newest features of a view beside the rows that the serving champion learned from."""

from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.features.profile.portrait import Portrait, portrait
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.registry.versions import serving_champion
from orchestrai.pipeline.nodes import Pipeline, ViewNode

WHOLE = "all"


def drift_limit(node: ViewNode) -> float | None:
    """The largest PSI declared for a view; None where drift is not asked for."""
    spec = node.view.spec
    return spec.checks.drift if isinstance(spec, FeatureViewSpec) else None


def view_portrait(ledger: Ledger, node: ViewNode, pipeline: Pipeline) -> Portrait:
    """Look at the newest partition of a view's features; raises NotReceipted where there are none.

    The reference is the training set of the first model of the pipeline that learns from the view and has a champion.
    """
    limit = drift_limit(node)
    if limit is None:
        raise ConfigError(f"expected checks: {{drift: 0.25}} in {node.view.name}, found none: declare it")
    dataset = ledger.open(node.asset)
    newest = max(key for key, entry in dataset.partitions.items() if entry.rows or len(dataset.partitions) == 1)
    with dataset.fetched([newest]) as files:
        paths = [file.path for file in files[newest]]
        for model in pipeline.models:
            if node.view.name not in model.spec.features:
                continue
            champion = serving_champion(ledger, model.asset("champion"))
            if champion is None:
                continue
            learned = champion.receipt(WHOLE).facts.get("training_set")
            version = learned.get("version") if isinstance(learned, dict) else None
            try:
                training = ledger.open(model.asset("training_set"), str(version))
                with training.fetched([WHOLE]) as found:
                    reference = [file.path for file in found[WHOLE]]
                    return portrait(paths, reference, node.view.features, limit, f"{model.spec.name} was trained")
            except OrchestraiError as exc:
                found_none = portrait(paths, [], node.view.features, limit, "")
                missing = Verdict("drift", False, f"the champion's training set cannot be read: {exc.message}", "warn")
                return Portrait(found_none.rows, found_none.columns, (), missing, found_none.plots)
        return portrait(paths, [], node.view.features, limit, "no champion yet: nothing to compare with")
