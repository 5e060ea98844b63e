"""`orchestrai backfill`: many partitions in one run per dataset, without a daemon, then the models.

Refused partitions do not hold back the others, and every run is an ordinary Dagster run in the same instance as the UI's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.core.progress import Progress
from orchestrai.core.time.calendar import dimension_of, keys_between, span_named
from orchestrai.core.time.partition_key import time_part, value_part
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import RUNTIME, partitions_of
from orchestrai.defs.checks.complete_checks import asked_of
from orchestrai.defs.instance import process_tag
from orchestrai.defs.launch.jobs import job_name, moments_job, offered
from orchestrai.defs.platform.run_traces import send_run_span
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.runtime import Runtime
from orchestrai.pipeline.stage_registry import gates
from orchestrai.restore.open_partitions.pending_restores import pending_restores
from orchestrai.stage.names import StageName
from orchestrai.stage.outcomes import incomplete

# a progress bar and a summary tell it better than two lines an event; the event log keeps everything
SILENT_CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class RunSummary:
    """One run of a backfill.

    `refused` maps partitions to the checks that closed their gate, `reasons` to what those said; `unreadable` tells of stages
    whose records in the ledger are not what was signed.
    """

    job: str
    run_id: str
    success: bool
    refused: dict[str, list[str]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


@contextmanager
def listening(runtime: Runtime, progress: Progress | None) -> Iterator[None]:
    """Send the stages' progress to a person's screen for a while."""
    runtime.listener = progress
    try:
        yield
    finally:
        runtime.listener = None


def backfill(
    definitions: dg.Definitions,
    runtime: Runtime,
    instance: dg.DagsterInstance,
    pipeline: Pipeline,
    first: str | None,
    last: str | None,
    *,
    models: bool = True,
    progress: Progress | None = None,
) -> Iterator[RunSummary]:
    """Run every stage of a pipeline over a span of partitions, yielding a summary after each run; idempotent.

    A key with a value, `2026-01-02|eu`, is one of the datasets that have the dimension; of the others its time counts.
    """
    if (first or last) and not any(dimension_of(dataset.grain) for dataset in pipeline.own_datasets):
        require_time(first, last)
    with listening(runtime, progress):
        for dataset in pipeline.own_datasets:
            yield run_dataset(definitions, instance, dataset, span_of(dataset, first, last))
            for span in fed_beside(runtime, dataset):
                yield run_dataset(definitions, instance, dataset, span)
        if models and pipeline.models:
            yield _run(definitions, instance, job_name(pipeline.name, "train"), None)
        elif models and moments_job(pipeline) is not None:
            yield _run(definitions, instance, job_name(pipeline.name, "features"), None)


def fed_beside(runtime: Runtime, dataset: DatasetNode) -> list[tuple[str, str]]:
    """Spans that a reading of a stream or table fed beside those asked for, and that are not restored yet."""
    if not dataset.spec.source.positioned or dataset.spec.partitions.grain == "all":
        return []
    late = pending_restores(runtime.ledger, dataset, runtime.clock())
    raw, now = runtime.ledger.find(dataset.asset("raw_events")), runtime.clock()
    spans: list[tuple[str, str]] = []
    follows = False
    for key, entry in sorted(raw.partitions.items()) if raw else ():
        wanted = key in late and entry.rows > 0 and offered(dataset, key, now)
        if wanted:
            # days without rows lie between, and count as done where nothing was due
            spans = [*spans[:-1], (spans[-1][0], key)] if follows else [*spans, (key, key)]
        follows = wanted
    return spans


def is_refused_later(definitions: dg.Definitions, dataset: DatasetNode, partition: str) -> bool:
    """Whether a run of only what comes after the gate of a dataset is refused a partition.

    It runs in an instance of its own: a trial is not to be what the UI shows last of assets that are well.
    """
    with dg.DagsterInstance.ephemeral() as instance:
        return not run_dataset(definitions, instance, dataset, (partition, partition), only=("snapshot", "restored")).success


def run_dataset(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    dataset: DatasetNode,
    span: tuple[str, str] | None,
    only: tuple[StageName, ...] = (),
) -> RunSummary:
    """Landing to restored (or only some stages) for a span of partitions, in one run."""
    held = [f"{dataset.prefix}/{name}" for name in gates() if not only or name in only]
    selection = [asset_key(dataset.asset(stage)) for stage in only] or None
    return _run(definitions, instance, job_name(dataset.prefix, "ingest"), span, held, selection)


def span_of(dataset: DatasetNode, first: str | None, last: str | None) -> tuple[str, str] | None:
    """The span in the dataset's own keys; a date, week, month or year stands for the first or last partition that lies in it."""
    grain = dataset.spec.partitions.grain
    if grain == "all":
        return None
    if not first or not last:
        raise ConfigError("expected --from and --to, found one missing: name the first and the last partition")
    if dimension_of(grain) is None:
        first, last = time_part(first), time_part(last)
    keys = (span_named(first, grain)[0], span_named(last, grain)[1])
    if not keys_between(*keys, grain):
        raise ConfigError(f"expected --from before --to, found {first} and {last}")
    known = partitions_of(dataset)
    for key in keys:
        if known is not None and not known.has_partition_key(key):
            spec = dataset.spec.partitions
            raise ConfigError(
                f"expected a partition of {dataset.shown} from {spec.start} on, found {key}: "
                "change partitions.start in pipeline.yaml or the span"
            )
    return keys


def require_time(*words: str | None) -> None:
    """Raises ConfigError for a key with a value, where no dataset has a dimension."""
    for word in words:
        if word and value_part(word):
            raise ConfigError(
                f"expected a partition of a time such as {time_part(word)}, found {word!r}: no dataset has a dimension"
            )


def _run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    span: tuple[str, str] | None,
    gates: Sequence[str] = (),
    selection: Sequence[dg.AssetKey] | None = None,
) -> RunSummary:
    tags = {"orchestrai/backfill": "true", **process_tag()}
    if span:
        tags |= {ASSET_PARTITION_RANGE_START_TAG: span[0], ASSET_PARTITION_RANGE_END_TAG: span[1]}
    try:
        result = definitions.resolve_job_def(job).execute_in_process(
            run_config=SILENT_CONSOLE, instance=instance, tags=tags, raise_on_error=False, asset_selection=selection
        )
    except DagsterExecutionInterruptedError:
        # Dagster's name for what a person did at the terminal
        raise KeyboardInterrupt from None
    refused: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    runtime = (definitions.resources or {}).get(RUNTIME)
    assert isinstance(runtime, Runtime)
    if runtime.settings.traces_url:
        # no daemon looks for runs that are over
        send_run_span(runtime.settings, instance, result.run_id)
    unreadable: list[str] = []
    for gate in gates:
        node = runtime.project.nodes[gate]
        try:
            closed = incomplete(runtime.ledger, node, asked_of(node, tags))
        except OrchestraiError as error:
            # what the ledger says of one stage is not to hide what the run did to the others
            unreadable.append(f"{node.asset}: {error.message}")
            continue
        for partition, checks in closed.items():
            refused.setdefault(partition, []).extend(check for check in checks if check not in refused.get(partition, []))
            reasons.setdefault(partition, next(iter(checks.values())))
    errors = tuple(_told(event.step_failure_data) for event in result.all_events if event.is_step_failure)
    success = result.success and not unreadable
    return RunSummary(job, result.run_id, success, refused, errors, reasons, tuple(unreadable))


def _told(failure: StepFailureData) -> str:
    """What went wrong, as a person should read it: our own words, or the first cause."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason given"
