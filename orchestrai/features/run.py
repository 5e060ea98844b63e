"""The features stage: restored datasets in, a receipted feature table out.

A partition whose inputs (the partition roots inside its look-back) and code are unchanged is not computed again.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import Grain, dimension_of
from orchestrai.core.time.partition_key import by_value, values_of
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.checks import aged
from orchestrai.features.completeness.incomplete_windows import WINDOWS_COMPLETE, noted
from orchestrai.features.completeness.lacking import DatasetState, Lacks, Reasons, dataset_state
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine
from orchestrai.features.engines.python_engine import PythonEngine
from orchestrai.features.incremental.slices import Mend, growth, mend
from orchestrai.features.incremental.tail_run import Continuation, TailRuns, tail_runs
from orchestrai.features.partition_run import PartitionRuns
from orchestrai.features.plan import Task, fresh, plan, recorded, union
from orchestrai.features.ports import DeclaredView, Engines
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.table_formats import require_delta, shared, write_delta
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Files, Inputs, open_inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport, together
from orchestrai.stage.context import RunContext
from orchestrai.stage.outcomes import Partitioned, published, settle, with_outcomes
from orchestrai.stage.stage import AssetNode, Stage

# engines are handed in, and give the same bytes only as long as they are these
PRODUCER = Producer("features", __name__, also=("orchestrai.features.engines.spark_engine",))
LAYOUT = "parquet-3"


@dataclass(frozen=True)
class FeatureTask:
    """A feature table to bring up to date: `inputs` maps table to restored asset, `partitions` are None for all that are due.

    `tails` is the folder where a run leaves what the next one needs of earlier rows. `declared` are the datasets by the asset that is
    read of them, as far as it is known when their data is due: what a window lacks follows from it. Of a dimension it is one `value`,
    whose partitions are read alone.
    """

    asset: str
    inputs: Mapping[str, str]
    grain: Grain
    partitions: Sequence[str] | None
    tails: Path | None = None
    declared: Mapping[str, Partitioned] = field(default_factory=dict)
    value: str = ""


def compute(context: RunContext, view: FeatureView, task: FeatureTask, engine: Engine | None = None) -> StageReport:
    """Compute partitions of a view and publish them, of a dimension those of each value by themselves.

    Idempotent: a partition whose input roots, view and code version are unchanged is reported and left as it is. A declared
    Delta table is brought to what is then published, also after a run that ended between the two. A folder for tails makes no
    other difference than to time.
    Raises FeatureViewError, NotReceipted, IntegrityError; nothing is published then, of a dimension nothing of that value.
    """
    return together([_compute(context, view, one, engine) for one in _of_each_value(context.ledger, view, task)])


def _of_each_value(ledger: Ledger, view: FeatureView, task: FeatureTask) -> list[FeatureTask]:
    """A task for each value of a dimension that is asked for, or that the first input has; the task itself where there is none."""
    if dimension_of(task.grain) is None or task.value:
        return [task]
    if task.partitions is not None:
        keys: Mapping[str, Sequence[str] | None] = by_value(task.partitions)
    else:
        keys = dict.fromkeys(values_of(ledger.open(task.inputs[next(iter(view.tables))]).partitions))
    tails = task.tails
    tasks = [
        replace(task, partitions=some, value=value, tails=tails / value if tails else None) for value, some in keys.items()
    ]
    return tasks or [task]


def _compute(context: RunContext, view: FeatureView, task: FeatureTask, engine: Engine | None) -> StageReport:
    if _delta(view):
        require_delta()
    ledger, asset, tails = context.ledger, task.asset, task.tails
    engine = engine or DuckDbEngine()
    local = engine if isinstance(engine, DuckDbEngine) else DuckDbEngine()
    if view.python is not None:
        if engine is not local:
            raise FeatureViewError(
                f"{view.name}: expected an engine on this machine for a view in Python, found {type(engine).__name__}: "
                "declare engine: duckdb, or write the view as sql"
            )
        engine = PythonEngine(local)
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        opened = open_inputs(ledger, view, task.inputs, task.grain).of_value(task.value)
        current = ledger.find(asset)
        tasks = plan(view, opened, _with_mended(current, task, opened), ledger.clock())
        code = f"{LAYOUT} {view.hash} {PRODUCER.code}"
        stale = [due for due in tasks if not fresh(current, due, opened, code)]
        used = union(view, stale)
        verdicts: dict[str, list[Verdict]] = {}
        with ExitStack() as stack:
            runs = tail_runs(ledger, view, opened, local, tails, code) if tails is not None and engine is local else None
            mends, going_on, files = _fetched(view, stale, _Basis(current, opened, code), stack, runs)
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-features-"))
            states = _states(task, opened, stale)
            run = PartitionRuns(
                session,
                view,
                engine,
                local,
                current,
                opened,
                files,
                code,
                used,
                max((due.key for due in tasks), default=""),
                runs,
                going_on,
                states,
                Reasons(ledger, task.declared, tuple(states.values())).of,
            )
            for number, due in enumerate(stale):
                context.told(f"{asset} {due.key}", number, len(stale))
                verdicts[due.key] = run.partition(due, mends.get(due.key), Path(scratch) / f"{number:06d}")
            meter.read = sum(path.stat().st_size for part in files.values() for paths in part.values() for path in paths)
        facts: dict[str, JsonValue] = {"engine": engine.name, "computed": len(stale), "unchanged": len(tasks) - len(stale)}
        if mends:
            facts["mended"] = len(mends)
        if going_on:
            facts["from_tail"] = len(going_on)
        report = session.commit(
            verdicts,
            inputs=opened.refs(used),
            parameters=_parameters(view, engine),
            cost=meter.cost(),
            facts=facts,
        )
    context.told(asset, len(stale), len(stale))
    unchanged = [due.key for due in tasks if due not in stale]
    report = _with_unchanged(report, _judged_today(ledger, view, current, unchanged, facts), unchanged, facts)
    if _delta(view) and report.version is not None:
        version = write_delta(ledger, view, asset=asset, table=_delta(view))
        report = replace(report, facts={**report.facts, "delta_version": version})
    return report


def _with_mended(current: Dataset | None, task: FeatureTask, opened: Inputs) -> Sequence[str] | None:
    """The partitions asked for, and published ones after them whose windows lacked what is there by now."""
    if task.partitions is None or current is None or not task.declared:
        return task.partitions
    there = {dataset.asset: dataset.partitions for dataset in opened.datasets.values()}
    asked, spans = set(task.partitions), next(iter(opened.spans.values()))
    # of a dimension `spans` has one value alone
    first = min(asked, default="")
    mended = {
        key
        for key in current.partitions
        if key > first and key in spans and key not in asked
        for asset, keys in _lacked(current, key).items()
        if not there.get(asset, {}).keys().isdisjoint(keys)
    }
    return sorted(asked | mended)


def _lacked(current: Dataset, key: str) -> Lacks:
    windows = noted(recorded(current, key))
    return windows.lacks if windows is not None else {}


def _states(task: FeatureTask, opened: Inputs, stale: Sequence[Task]) -> dict[str, DatasetState]:
    """What each input lacks up to the end of the last window, by table."""
    until = max((due.until for due in stale if due.until is not None), default=None)
    return {
        name: dataset_state(dataset, task.declared.get(dataset.asset), until) for name, dataset in opened.datasets.items()
    }


def _delta(view: FeatureView) -> str:
    return view.spec.delta if isinstance(view.spec, FeatureViewSpec) else ""


@dataclass(frozen=True)
class _Basis:
    """What a partition is computed from and compared with: the table as published, the inputs as opened, the code of today."""

    current: Dataset | None
    opened: Inputs
    code: str


def _fetched(
    view: FeatureView, stale: Sequence[Task], basis: _Basis, stack: ExitStack, tails: TailRuns | None
) -> tuple[dict[str, Mend], dict[str, Continuation], Files]:
    """Which partitions need only their end computed, which go on from a tail, and the verified files that the others read."""
    current, opened, code = basis.current, basis.opened, basis.code
    primary = next(iter(view.tables))
    grown = {task.key: increment for task in stale if (increment := growth(view, task, current, opened, code)) is not None}
    added = {digest for increment in grown.values() for digest in increment.added}
    new = stack.enter_context(opened.fetched({primary: grown}, added))[primary] if grown else {}
    mends: dict[str, Mend] = {}
    going_on: dict[str, Continuation] = {}
    for task in stale:
        if current is not None and task.key in grown:
            rest = mend(view, task, grown[task.key], current, opened, new[task.key])
            mends |= {task.key: rest} if rest is not None else {}
        mended = mends.get(task.key)
        if tails is not None:
            further = tails.continuation(task, mended, grown[task.key].added if task.key in grown else Counter())
            going_on |= {task.key: further} if further is not None else {}
    needed = union(view, [mends[t.key].task if t.key in mends else t for t in stale if t.key not in going_on])
    return mends, going_on, stack.enter_context(opened.fetched(needed))


def _parameters(view: FeatureView, engine: Engine) -> dict[str, JsonValue]:
    return {"view": view.name, "view_hash": view.hash, "sql": view.sql, "engine": engine.name, "layout": LAYOUT}


def _judged_today(
    ledger: Ledger, view: FeatureView, current: Dataset | None, keys: Sequence[str], facts: Mapping[str, JsonValue]
) -> Dataset | None:
    """The published table, after features that did not change and are older than declared by now, or no longer, got a receipt that
    says so: what is reported of a partition is what its receipt carries."""
    most = view.spec.checks.freshness if isinstance(view.spec, FeatureViewSpec) else None
    if current is None or most is None:
        return current
    now, moved = ledger.clock(), False
    for key in keys:
        receipt, manifest = current.receipt(key), current.files(key)
        judged = receipt.verdicts.get(key, ())
        today = [aged(verdict, now, most) for verdict in judged]
        if [verdict.passed for verdict in today] == [verdict.passed for verdict in judged]:
            continue
        session = ledger.session(current.asset, PRODUCER)
        for entry in manifest.files:
            session.add_entry(key, entry)
        session.add_stats(key, **manifest.stats)
        session.commit(
            {key: today},
            inputs=receipt.inputs,
            parameters=receipt.parameters,
            facts=facts,
        )
        moved = True
    return ledger.find(current.asset) if moved else current


def _with_unchanged(
    report: StageReport,
    current: Dataset | None,
    keys: Sequence[str],
    facts: Mapping[str, JsonValue],
) -> StageReport:
    """The report with the partitions that needed no work, as published before."""
    if current is None or not keys:
        return report
    outcomes = list(report.outcomes)
    for key in keys:
        entry = current.partitions[key]
        verdicts = tuple(current.receipt(key).verdicts.get(key, ()))
        outcomes.append(PartitionOutcome(key, True, entry.root, entry.rows, entry.size, verdicts))
    outcomes.sort(key=lambda outcome: outcome.partition)
    return replace(report, version=report.version or current.version, outcomes=tuple(outcomes), facts=dict(facts))


# -- the stage ---------------------------------------------------------------------------------------------------


def _run(context: RunContext, node: AssetNode[DeclaredView], partitions: Sequence[str]) -> StageReport:
    """A feature table, then what is kept beside it: online rows and shared tables."""
    subject, ledger = node.subject, context.ledger
    view, like = subject.view, subject.partitioned_like
    missing: tuple[PartitionOutcome, ...] = ()
    wanted: Sequence[str] | None = None
    if like is not None:
        wanted, missing = published(ledger, like.asset("restored"), like, partitions)
        if not wanted:
            return settle(StageReport(node.asset, None, missing), like, partitions)
    restored = {table: dataset.asset("restored") for table, dataset in subject.inputs.items()}
    size = sum(entry.size for asset in restored.values() if (d := ledger.find(asset)) for entry in d.partitions.values())
    tails = context.home / "tails" / subject.pipeline / view.name
    declared = {dataset.asset("restored"): dataset for dataset in subject.inputs.values()}
    task = FeatureTask(node.asset, restored, subject.grain_of_first, wanted, tails, declared)
    engines = context.port(Engines)
    # a view in Python runs on this machine, whatever the settings choose for the others
    engine = engines.embedded() if view.python is not None else engines.choose(view.spec.engine, size)
    report = compute(context, view, task, engine)
    if isinstance(view.spec, FeatureViewSpec):
        if view.spec.online and report.version is not None:
            from orchestrai.features.by_key.online import online_path, update_online

            done = update_online(ledger, view, asset=node.asset, path=online_path(context.home, subject.pipeline, view.name))
            facts = {**report.facts, "online_entities": done.entities, "online_version": done.version}
            report = replace(report, facts=facts)
        report = shared(ledger, report, view.spec.share, context.home / "tables")
    report = with_outcomes(report, missing)
    return settle(report, like, partitions) if like is not None else report


def _checks(subject: DeclaredView) -> list[CheckInfo]:
    checks = [
        CheckInfo("entity_not_null", True, "No row without its entity."),
        CheckInfo("unique_key", True, "One row per entity and moment: no join multiplied rows."),
    ]
    spec = subject.view.spec
    limited = isinstance(spec, FeatureViewSpec) and spec.checks.incomplete is not None
    checks.append(CheckInfo(WINDOWS_COMPLETE, limited, "No window lacks a partition in which data was due."))
    if isinstance(spec, FeatureViewSpec):
        if spec.checks.null_rate:
            checks.append(CheckInfo("null_rate", True, "Shares of nulls within their declared limits."))
        if spec.checks.ranges:
            checks.append(CheckInfo("value_range", True, "Values within their declared ranges."))
        if spec.checks.coverage is not None:
            checks.append(CheckInfo("coverage", False, "Enough of the entities in the input have features."))
        if spec.checks.freshness is not None:
            checks.append(CheckInfo("freshness", False, "The newest features are young enough."))
    return checks


def _grain(subject: DeclaredView) -> Grain:
    return subject.partitioned_like.grain if subject.partitioned_like is not None else "all"


FEATURES = Stage(
    "features",
    ("view",),
    "One row per entity and moment, computed from restored data, never from the future.",
    frozenset({"duckdb", "parquet"}),
    PRODUCER,
    _run,
    deps=lambda subject: tuple(dataset.asset("restored") for dataset in subject.inputs.values()),
    checks=_checks,
    grain=_grain,
)
