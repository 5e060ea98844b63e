"""The stages of an arrival: landing, raw events and dead letters, whatever the source is."""

from collections.abc import Sequence

from orchestrai.contracts.checks import check_names
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import Grain
from orchestrai.core.verdict import CheckInfo
from orchestrai.ingest.anomaly.hold_audit import hold_check
from orchestrai.ingest.keys.key_audit import key_check
from orchestrai.ingest.ports import LandedDataset
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.report import StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.outcomes import settle
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.storage.base import Store
from orchestrai.storage.spread.spark_session import SparkSession

RECONCILED = CheckInfo(
    "reconciled", True, "As many rows were read as the source counts in the window, asked again in the same snapshot."
)
_KINDS = {"objects": "file", "stream": "stream", "http": "api", "sql": "sql"}


def _run(context: RunContext, node: AssetNode[LandedDataset], partitions: Sequence[str]) -> StageReport:
    from orchestrai.ingest.incremental import follow
    from orchestrai.ingest.run import ingest

    dataset, source = node.subject, node.subject.source
    task = DatasetTask(node.asset, source, dataset.contract, node.grain, tuple(partitions))
    if source.positioned:
        return settle(follow(context, task), dataset, partitions)
    spark = context.port(SparkSession).open if source.spark_above else None
    # what an override lets through was looked at before, and may have left the landing since
    report = ingest(context, task, _landing(context, task), recover=bool(context.overrides), spark=spark)
    return settle(report, dataset, partitions)


def _landing(context: RunContext, task: DatasetTask) -> Store:
    """Where objects land; a folder that is gone is an outage, unless all that is wanted was taken or looked at before."""
    from orchestrai.ingest.sources.landing import open_landing, require_landing

    landing, current = open_landing(task.source.url, context.home), context.ledger.find(task.asset)
    taken = current is not None and all(key in current.partitions for key in task.partitions)
    return landing if taken or context.overrides else require_landing(landing, task.source)


def _landing_kinds(dataset: LandedDataset) -> frozenset[str]:
    kafka = dataset.source.url.startswith("kafka://")
    return frozenset({"kafka" if kafka else _KINDS[dataset.source.kind]})


def _grain(dataset: LandedDataset) -> Grain:
    return dataset.grain


def _checks(dataset: LandedDataset) -> list[CheckInfo]:
    """Those of the contract, with its keys across partitions; whether a partition is an ordinary one, where partitions are read whole."""
    contract, grain = dataset.contract, dataset.grain
    whole = () if dataset.source.positioned else hold_check(contract, grain)
    counted = (RECONCILED,) if dataset.source.kind == "sql" and dataset.source.sql.reconcile else ()
    return [*check_names(contract), *key_check(contract, grain), *whole, *counted]


def _after_landing(dataset: LandedDataset) -> tuple[str, ...]:
    return (dataset.asset("landing"),)


def _producer(dataset: LandedDataset) -> Producer:
    module = {"stream": "sources.stream_batch", "sql": "sources.table_batch"}.get(dataset.source.kind, "run")
    return Producer("raw_events", f"orchestrai.ingest.{module}")


LANDING = Stage(
    "landing",
    ("dataset",),
    "Where data comes from: objects, a stream, a database or an API; orchestrai only reads here.",
    _landing_kinds,
    grain=_grain,
    about=lambda dataset: f"{dataset.source.described}\n\n{dataset.about}".strip(),
)
RAW_EVENTS = Stage(
    "raw_events",
    ("dataset",),
    "Typed, contract-checked Parquet, one row per event, the original objects kept beside it. "
    "A partition that breaks its contract is never published.",
    frozenset({"parquet"}),
    _producer,
    _run,
    deps=_after_landing,
    checks=_checks,
    grain=_grain,
    gate=True,
    verbatim=True,
    tried=True,
)
DEAD_LETTERS = Stage(
    "dead_letters",
    ("dataset",),
    "Rows and objects that were refused, with reason and source offset; they can be replayed.",
    frozenset({"json"}),
    deps=_after_landing,
    grain=_grain,
)
