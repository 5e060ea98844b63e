"""Clean retraining after a recall: a signed request, what is left to do for it, and how it is done.

`retrainings/<recall>.json`, put-if-absent in the vault and the lake. The request says what to make again; whether it was done is read
from the ledger each time, so that a lost run, a lost database or a second reader changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from orchestrai.core.progress import Progress
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.recalls import RecallRecord
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json, sha256_hex
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import Keyring
from orchestrai.provenance.decision_log import RETRAININGS
from orchestrai.provenance.index import Derivation
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    from orchestrai.pipeline.load import Project
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.stage.stage import AssetNode

MODEL_STAGES = ("training_set", "candidate", "evaluation", "champion", "deployment", "predictions")


@dataclass(frozen=True)
class RetrainingRequest:
    """What a recall asks to be made again: `models` as `<pipeline>/<model>`, feature partitions by asset; `by` names who asked."""

    recall: str
    target: str
    reason: str
    time: str
    by: str
    models: tuple[str, ...]
    features: Mapping[str, tuple[str, ...]]

    def as_json(self) -> dict[str, Any]:
        """For `--json`, and the form that is signed."""
        return {
            **self.__dict__,
            "models": list(self.models),
            "features": {asset: list(keys) for asset, keys in sorted(self.features.items())},
        }


@dataclass(frozen=True)
class Outstanding:
    """What a request still lacks; `inputs` names the data that a run would learn from, so that the same is asked for once."""

    features: Mapping[str, tuple[str, ...]]
    models: tuple[str, ...]
    inputs: str

    @property
    def done(self) -> bool:
        """True when nothing is left."""
        return not self.features and not self.models


def request_retraining(ledger: Ledger, record: RecallRecord, reached: Sequence[Derivation]) -> RetrainingRequest | None:
    """Record what a recall in force asks to be made again of what it reached; None when that is no model. Idempotent."""
    models = sorted({d.asset.rsplit("/", 1)[0] for d in reached if d.receipt and d.stage in MODEL_STAGES})
    if not models:
        return None
    features: dict[str, set[str]] = {}
    for derivation in reached:
        if derivation.stage == "features":
            features.setdefault(derivation.asset, set()).add(derivation.partition)
    request = RetrainingRequest(
        recall=record.digest,
        target=record.target,
        reason=record.reason,
        time=ledger.clock().astimezone(UTC).isoformat(),
        by=record.by,
        models=tuple(models),
        features={asset: tuple(sorted(keys)) for asset, keys in features.items()},
    )
    stores = [ledger.lake] if ledger.vault is None else [ledger.vault, ledger.lake]
    ledger.require_may("decide")
    RETRAININGS.put(stores, ledger.signer, request.as_json(), keyring=ledger.keyring)
    return _request(RETRAININGS.read(stores[-1], ledger.keyring, RETRAININGS.key(record.digest)))


def read_requests(store: Store, keyring: Keyring) -> list[RetrainingRequest]:
    """Every request of a store, oldest first, verified; raises SignatureInvalid, UnknownFormatVersion."""
    requests = map(_request, RETRAININGS.all(store, keyring))
    return sorted(requests, key=lambda request: (request.time, request.recall))


def _request(body: Mapping[str, Any]) -> RetrainingRequest:
    return RetrainingRequest(
        **{name: body[name] for name in ("recall", "target", "reason", "time", "by")},
        models=tuple(body["models"]),
        features={asset: tuple(keys) for asset, keys in body["features"].items()},
    )


def outstanding(ledger: Ledger, project: "Project", request: RetrainingRequest) -> Outstanding:
    """What is left to do: feature partitions whose restored data is there and that are missing or refused, then models.

    Reads only the ledger. What is no longer declared, or has lost its restored partition, is not asked for.
    """
    opened: dict[str, Dataset | None] = {}

    def current(asset: str) -> Dataset | None:
        if asset not in opened:
            opened[asset] = ledger.find(asset)
        return opened[asset]

    features: dict[str, tuple[str, ...]] = {}
    for asset, keys in request.features.items():
        ready = _restored(project, asset, current)
        lacking = tuple(key for key in keys if key in ready and not _stands(current(asset), key))
        if lacking:
            features[asset] = lacking
    models = [name for name in request.models if f"{name}/candidate" in project.nodes and _lacks(name, current)]
    inputs = {
        asset: dataset.version
        for name in models
        for asset in project.nodes[f"{name}/training_set"].deps
        if (dataset := current(asset)) is not None
    }
    return Outstanding(features, tuple(models), sha256_hex(canonical_json(inputs))[:16])


def _restored(project: "Project", asset: str, current: Callable[[str], Dataset | None]) -> set[str]:
    """The restored partitions that a row-level view can be computed from; an as-of view is computed as a whole, with its model."""
    from orchestrai.pipeline.nodes.view_node import ViewNode

    node = project.nodes.get(asset)
    view = node.subject if node is not None else None
    like = view.partitioned_like if isinstance(view, ViewNode) else None
    source = current(like.asset("restored")) if like is not None else None
    return {key for key in source.partitions if _stands(source, key)} if source is not None else set()


def _stands(dataset: Dataset | None, partition: str) -> bool:
    """True for a published partition that no recall covers."""
    entry = dataset.partitions.get(partition) if dataset is not None else None
    if dataset is None or entry is None:
        return False
    return dataset.recalls.find(dataset.asset, partition, entry.root, entry.receipt) is None


def _lacks(model: str, current: Callable[[str], Dataset | None]) -> bool:
    """True while what was made last of any of the model's stages was recalled; older predictions stay refused."""
    datasets = [current(f"{model}/{stage}") for stage in MODEL_STAGES]
    return any(
        dataset is not None and bool(dataset.partitions) and not _stands(dataset, _newest(dataset)) for dataset in datasets
    )


def _newest(dataset: Dataset) -> str:
    made = {key: dataset.ledger.receipt(entry.receipt).finished for key, entry in dataset.partitions.items()}
    return max(made, key=lambda key: (made[key], key))


def retrain(runtime: "Runtime", request: RetrainingRequest, progress: Progress | None = None) -> list[StageReport]:
    """Do what is outstanding in this process, upstream first: what the sensor asks Dagster for. Raises OrchestraiError.

    A candidate that its gate refuses is no error: what serves, if anything does, was not reached by the recall.
    """
    from orchestrai.models.registry.versions import serving_champion

    left = outstanding(runtime.ledger, runtime.project, request)
    reports = []
    for node in steps_of(runtime.project, left):
        if node.stage.name == "predictions" and serving_champion(runtime.ledger, node.deps[0]) is None:
            continue
        reports.append(runtime.run(node, left.features.get(node.asset, ("all",)), progress))
    return reports


def redeploy(runtime: "Runtime", champions: Sequence[str], progress: Progress | None = None) -> list[StageReport]:
    """Let registries and endpoints follow champions that moved outside a run, such as by a recall. Raises OrchestraiError.

    Idempotent. A model that declares neither is left alone, and so is one of which nothing serves.
    """
    from orchestrai.models.registry.versions import serving_champion

    serving = [asset for asset in champions if serving_champion(runtime.ledger, asset) is not None]
    nodes = (runtime.project.nodes.get(f"{asset.rsplit('/', 1)[0]}/deployment") for asset in serving)
    return [runtime.run(node, ["all"], progress) for node in nodes if node is not None]


def steps_of(project: "Project", left: Outstanding) -> Iterator["AssetNode[Any]"]:
    """The nodes to run, upstream first: outstanding features, as-of views of the models, then the models' stages."""
    from orchestrai.pipeline.nodes.view_node import ViewNode

    views = {dep for name in left.models for dep in project.nodes[f"{name}/training_set"].deps}
    for node in project.nodes.values():
        whole = isinstance(node.subject, ViewNode) and node.subject.partitioned_like is None and node.asset in views
        mine = node.asset.rsplit("/", 1)[0] in left.models and node.stage.name in MODEL_STAGES
        if node.asset in left.features or whole or mine:
            yield node


def requested(requests: Iterable[RetrainingRequest], models: Sequence[str]) -> list[RetrainingRequest]:
    """Those that concern any of these models."""
    return [request for request in requests if set(request.models) & set(models)]
