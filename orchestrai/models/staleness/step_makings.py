"""What each step of a model is made of, as far as the ledger and the declaration tell without opening a model.

None where a step comes out of more than that, or where what it would read is not there: it is then made, and says so.
"""

from collections.abc import Sequence

from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import WHOLE, time_part
from orchestrai.core.tree.ordered_keys import BEHIND, keys_before
from orchestrai.errors import IntegrityError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Receipt
from orchestrai.models.registry.versions import serving_champion
from orchestrai.models.spec import ModelAssets, ModelSpec
from orchestrai.stage.making import Making

# what a clock decides: training again may come to something else
BY_THE_CLOCK = ("training_time", "search_complete")


def candidate_making(ledger: Ledger, spec: ModelSpec, assets: ModelAssets) -> Making | None:
    """A candidate: its training set and declaration. None for one that is trained elsewhere, by libraries that nobody here knows."""
    from orchestrai.models.training import PRODUCER

    training_set = ledger.find(assets.training_set)
    if training_set is None or spec.train_on is not None:
        return None
    return Making(assets.candidate, PRODUCER, [training_set], _declared(spec), steady=_by_no_clock)


def _declared(spec: ModelSpec) -> object:
    """The declaration; with the package and version of an estimator that another package adds, which trains and scores by its code."""
    added = spec.estimator.plugin
    return spec if added is None else [spec, added.plugin.origin]


def _by_no_clock(receipt: Receipt) -> bool:
    return all(verdict.passed for verdict in receipt.verdicts.get(WHOLE, ()) if verdict.check in BY_THE_CLOCK)


def evaluation_making(ledger: Ledger, spec: ModelSpec, assets: ModelAssets) -> Making | None:
    """An evaluation: the candidate, the training set that it learned from, and whom it is held against."""
    from orchestrai.models.evaluation import PRODUCER, rival_of

    candidate = ledger.find(assets.candidate)
    learned = _learned_from(ledger, candidate, assets.training_set)
    if candidate is None or learned is None:
        return None
    rival = rival_of(ledger, assets, candidate)
    models = [candidate] if rival is None else [candidate, rival]
    return Making(assets.evaluation, PRODUCER, [learned], _declared(spec), contents=models)


def _learned_from(ledger: Ledger, candidate: Dataset | None, training_set: str) -> Dataset | None:
    """The training set at the version that a candidate's receipt names."""
    if candidate is None or WHOLE not in candidate.partitions:
        return None
    try:
        versions = [ref.version for ref in candidate.receipt(WHOLE).inputs if ref.asset == training_set]
        newest = ledger.find(training_set)
        if newest is not None and [newest.version] == versions:
            return newest
        return ledger.open(training_set, versions[0]) if versions else None
    except IntegrityError:
        return None


def champion_making(ledger: Ledger, spec: ModelSpec, assets: ModelAssets) -> Making | None:
    """A champion: the candidate, its evaluation and the rule. One that was brought back or refused since notes no such thing."""
    from orchestrai.models.promotion import PRODUCER

    candidate, judged = ledger.find(assets.candidate), ledger.find(assets.evaluation)
    return (
        Making(assets.champion, PRODUCER, [candidate, judged], _declared(spec))
        if candidate is not None and judged is not None
        else None
    )


def predictions_making(
    ledger: Ledger, spec: ModelSpec, assets: ModelAssets, views: Sequence[str], partition: str | None, join: Producer
) -> Making | None:
    """Predictions of a partition, by default the newest: the champion that serves, the tables of all its views, who joins these.

    None where another system scores.
    """
    from orchestrai.models.inference import PRODUCER

    champion, tables = serving_champion(ledger, assets.champion), [ledger.find(view) for view in views]
    there = [table for table in tables if table is not None and table.partitions]
    if champion is None or not there or len(there) < len(tables):
        return None
    if spec.serve_on is not None and spec.serve_on.batch is not None:
        return None
    scored = partition or time_part(next(keys_before(there[0].partitions, BEHIND)))
    return Making(assets.predictions, PRODUCER, there, [_declared(spec), *views, join.code], scored, [champion])
