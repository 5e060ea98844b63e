"""The features stage: restored datasets in, a receipted feature table out.

A partition whose inputs (the partition roots inside its look-back) and code are unchanged is not computed again.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import Grain, dimension_of
from orchestrai.core.time.partition_key import by_value, value_part, values_of
from orchestrai.core.verdict import Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.completeness.lacking import DatasetState, Reasons, dataset_state
from orchestrai.features.engines.engine import Engine, Reads
from orchestrai.features.plan import Planner, Task, union
from orchestrai.features.ports import DeclaredView, Engines
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.staleness.stale_features import stale_features
from orchestrai.features.views.declared_checks import declared_checks
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Files, Inputs, open_inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport, together
from orchestrai.stage.context import RunContext
from orchestrai.stage.last_judgement import FACT
from orchestrai.stage.outcomes import Partitioned, published, settle, with_outcomes
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.stage.staleness import flags_of

if TYPE_CHECKING:
    from orchestrai.features.incremental.slices import Mend
    from orchestrai.features.incremental.tail_run import Continuation, TailRuns

# engines are handed in, and give the same bytes only as long as they are these
PRODUCER = Producer("features", __name__, also=("orchestrai.features.engines.spark_engine",))
LAYOUT = "parquet-3"
# a receipt is no place for thousands of lines: `orchestrai stale` has them all
MOST_LISTED = 50


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
    """Compute partitions of a view and publish them, of a dimension those of each value by themselves: those asked for, and as declared
    others that changed inputs have made stale.

    Idempotent: a partition whose input roots, view and code version are unchanged is reported and left as it is. A folder for tails
    makes no other difference than to time.
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
    from orchestrai.features.engines.duckdb_engine import DuckDbEngine
    from orchestrai.features.engines.python_engine import PythonEngine
    from orchestrai.features.incremental.tail_run import tail_runs
    from orchestrai.features.partition_run import PartitionRuns
    from orchestrai.features.staleness.current_partitions import judged_today, with_unchanged
    from orchestrai.features.staleness.recompute import to_compute
    from orchestrai.features.staleness.stale_features import FeatureStaleness, judged
    from orchestrai.features.views.column_lineage import COLUMNS, recorded_columns

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
        whole = Planner(view, open_inputs(ledger, view, task.inputs, task.grain))
        opened = whole.opened.of_value(task.value)
        current = ledger.find(asset)
        code, planner = code_of(view), Planner(view, opened)
        due = planner.due(task.partitions, ledger.clock())
        # of all values, for the receipt tells the state of the whole table; what is computed is of this one
        stale = FeatureStaleness(whole, current, code).partitions() if current is not None else {}
        own = {key: one for key, one in stale.items() if value_part(key) == task.value}
        todo = planner.tasks(to_compute(planner, current, own, due, asked=task.partitions is not None))
        used = union(view, todo)
        verdicts: dict[str, list[Verdict]] = {}
        with ExitStack() as stack:
            runs = tail_runs(ledger, view, opened, local, tails, code) if tails is not None and engine is local else None
            mends, going_on, files = _fetched(view, todo, _Basis(current, opened, code), stack, runs)
            if view.kind == "entity":
                stack.enter_context(engine.resident(view, _reads(todo, files)))
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-features-"))
            states = _states(task, opened, todo, rows=bool(view.lookback.rows))
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
                max((*due, *(one.key for one in todo)), default=""),
                runs,
                going_on,
                states,
                Reasons(ledger, task.declared, tuple(states.values())).of,
            ).side_by_side([one for one in todo if one.key not in mends], Path(scratch))
            for number, one in enumerate(todo):
                context.begin(f"{asset}@{one.key}")
                context.told(f"{asset} {one.key}", number, len(todo))
                verdicts[one.key] = run.partition(one, mends.get(one.key), Path(scratch) / f"{number:06d}")
            meter.read = sum(path.stat().st_size for part in files.values() for paths in part.values() for path in paths)
        made = {key for key, judged_now in verdicts.items() if not any(verdict.closes_gate for verdict in judged_now)}
        left = [key for key in own if key not in made]
        unchanged = [key for key in due if key not in verdicts]
        facts: dict[str, JsonValue] = {
            "engine": engine.name,
            "computed": len(todo),
            "unchanged": len([key for key in unchanged if key not in stale]),
        }
        if mends:
            facts["mended"] = len(mends)
        if going_on:
            facts["from_tail"] = len(going_on)
        if left:
            facts["stale"] = {key: stale[key].why for key in left[-MOST_LISTED:]}
            facts["stale_partitions"] = len(left)
        report = session.commit(
            verdicts,
            inputs=opened.refs(used),
            parameters=_parameters(view, engine),
            cost=meter.cost(),
            facts={
                **facts,
                FACT: judged(whole, current, stale, code, made),
                COLUMNS: recorded_columns(view, {name: one.asset for name, one in opened.datasets.items()}),
            },
        )
    context.told(asset, len(todo), len(todo))
    report = replace(report, facts=facts)
    judged_table = judged_today(ledger, PRODUCER, view, current, unchanged, facts)
    report = with_unchanged(report, judged_table, unchanged, facts)
    return report


def _states(task: FeatureTask, opened: Inputs, todo: Sequence[Task], *, rows: bool) -> dict[str, DatasetState]:
    """What each input lacks from the first window to the end of the last, by table; from its beginning with frames of `rows`."""
    until = max((due.until for due in todo if due.until is not None), default=None)
    states = {}
    for name, dataset in opened.datasets.items():
        begins = [due.since[name] for due in todo]
        # a search for earlier rows may end anywhere
        within = not rows and None not in begins
        since = min((begin for begin in begins if begin is not None), default=None) if within else None
        states[name] = dataset_state(dataset, task.declared.get(dataset.asset), until, since)
    return states


def code_of(view: FeatureView) -> str:
    """What makes a partition of a view, as its manifest notes it: the layout, the definition, and the code of this stage."""
    return f"{LAYOUT} {view.hash} {PRODUCER.code}"


@dataclass(frozen=True)
class _Basis:
    """What a partition is computed from and compared with: the table as published, the inputs as opened, the code of today."""

    current: Dataset | None
    opened: Inputs
    code: str


def _fetched(
    view: FeatureView, todo: Sequence[Task], basis: _Basis, stack: ExitStack, tails: "TailRuns | None"
) -> "tuple[dict[str, Mend], dict[str, Continuation], Files]":
    """Which partitions need only their end computed, which go on from a tail, and the verified files that the others read."""
    from orchestrai.features.incremental.slices import Mend, growth, mend
    from orchestrai.features.incremental.tail_run import Continuation

    current, opened, code = basis.current, basis.opened, basis.code
    primary = next(iter(view.tables))
    grown = {task.key: increment for task in todo if (increment := growth(view, task, current, opened, code)) is not None}
    added = {digest for increment in grown.values() for digest in increment.added}
    new = stack.enter_context(opened.fetched({primary: grown}, added))[primary] if grown else {}
    mends: dict[str, Mend] = {}
    going_on: dict[str, Continuation] = {}
    for task in todo:
        if current is not None and task.key in grown:
            rest = mend(view, task, grown[task.key], current, opened, new[task.key])
            mends |= {task.key: rest} if rest is not None else {}
        mended = mends.get(task.key)
        if tails is not None:
            further = tails.continuation(task, mended, grown[task.key].added if task.key in grown else Counter())
            going_on |= {task.key: further} if further is not None else {}
    needed = union(view, [mends[t.key].task if t.key in mends else t for t in todo if t.key not in going_on])
    return mends, going_on, stack.enter_context(opened.fetched(needed))


def _reads(todo: Sequence[Task], files: Files) -> Reads:
    """The files that each task reads of each input."""
    return {
        name: [[path for key in task.partitions[name] for path in paths[key]] for task in todo]
        for name, paths in files.items()
    }


def _parameters(view: FeatureView, engine: Engine) -> dict[str, JsonValue]:
    return {"view": view.name, "view_hash": view.hash, "sql": view.stored_sql, "engine": engine.name, "layout": LAYOUT}


# -- the stage ---------------------------------------------------------------------------------------------------


def _run(context: RunContext, node: AssetNode[DeclaredView], partitions: Sequence[str]) -> StageReport:
    """A feature table, then the online rows that are kept beside it."""
    subject, ledger = node.subject, context.ledger
    view, like = subject.view, subject.partitioned_like
    missing: tuple[PartitionOutcome, ...] = ()
    wanted: Sequence[str] | None = None
    if like is not None:
        wanted, missing = published(ledger, like.asset("restored"), like, partitions)
        if not wanted:
            return settle(StageReport(node.asset, None, missing), like, partitions)
    restored = {table: dataset.asset("restored") for table, dataset in subject.inputs.items()}
    size = sum(dataset.size for asset in restored.values() if (dataset := ledger.find(asset)))
    tails = context.home / "tails" / subject.pipeline / view.name
    declared = {dataset.asset("restored"): dataset for dataset in subject.inputs.values()}
    task = FeatureTask(node.asset, restored, subject.grain_of_first, wanted, tails, declared)
    engines = context.port(Engines)
    # a view in Python runs on this machine, whatever the settings choose for the others
    engine = engines.embedded() if view.python is not None else engines.choose(view.spec.engine, size)
    report = compute(context, view, task, engine)
    if isinstance(view.spec, FeatureViewSpec):
        if view.spec.online:
            context.begin(f"what is kept beside {node.asset}")
        if view.spec.online and report.version is not None:
            from orchestrai.features.by_key.online import online_path, update_online

            path = online_path(context.home, subject.pipeline, view.name)
            stale = stale_features(ledger, subject, code_of(view), {})
            done = update_online(ledger, view, asset=node.asset, path=path, stale=flags_of(stale))
            facts = {**report.facts, "online_entities": done.entities, "online_version": done.version}
            report = replace(report, facts=facts)
    report = with_outcomes(report, missing)
    return settle(report, like, partitions) if like is not None else report


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
    checks=declared_checks,
    grain=_grain,
    definition=lambda subject: subject.view.hash,
    stale=lambda context, node, above: stale_features(context.ledger, node.subject, code_of(node.subject.view), above),
    proven=True,
    tried=True,
)
