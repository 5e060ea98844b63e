"""Stages as tests call them: by what a test is about, the rest as a run has it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import Grain
from orchestrai.features import run as features
from orchestrai.features.engines.engine import Engine
from orchestrai.features.views.view import FeatureView
from orchestrai.ingest import dead_letter_list, run
from orchestrai.ingest.sources import stream_batch, table_batch
from orchestrai.ingest.sources.stream import MicroBatch, StreamSource
from orchestrai.ingest.sources.table_source import SqlSource
from orchestrai.ingest.spec import DatasetTask, SourceSpec, StreamOptions
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.session import Session
from orchestrai.privacy.tokens import TokenKeys
from orchestrai.restore import run as restoring
from orchestrai.stage.context import Progress, RunContext
from orchestrai.storage.base import Store
from orchestrai.vault import run as vaulting
from orchestrai.vault.vault import Vault

STREAM = SourceSpec(url="log://topic", format="jsonl")
TABLE = SourceSpec(url="postgresql://", format="sql", sql={"table": "t"})  # type: ignore[arg-type]


def context_of(
    ledger: Ledger,
    now: datetime | None = None,
    progress: Progress | None = None,
    persons: TokenKeys | None = None,
    overrides: Sequence[Override] = (),
) -> RunContext:
    """A run's surroundings."""
    return RunContext(
        ledger,
        clock=None if now is None else lambda: now,
        persons=None if persons is None else lambda: persons,
        progress=progress,
        overrides=overrides,
    )


def ingest(
    ledger: Ledger,
    *,
    asset: str,
    landing: Store,
    source: SourceSpec,
    contract: Contract,
    grain: Grain,
    partitions: Sequence[str],
    now: datetime,
    recover: bool = False,
    spark: Callable[[], object] | None = None,
    **more: Any,
) -> StageReport:
    task = DatasetTask(asset, source, contract, grain, tuple(partitions))
    return run.ingest(context_of(ledger, now, **more), task, landing, recover=recover, spark=spark)


def replay(
    ledger: Ledger,
    *,
    asset: str,
    landing: Store | None,
    source: SourceSpec,
    contract: Contract,
    grain: Grain,
    now: datetime,
    partitions: Sequence[str] | None = None,
    **more: Any,
) -> StageReport | None:
    task = DatasetTask(asset, source, contract, grain)
    return dead_letter_list.replay(context_of(ledger, now, **more), task, landing, partitions)


def ingest_stream(
    ledger: Ledger,
    *,
    asset: str,
    source: StreamSource,
    contract: Contract,
    grain: Grain,
    now: datetime,
    persons: TokenKeys | None = None,
    overrides: Sequence[Override] = (),
    **options: Any,
) -> StageReport:
    names = {"limit_records": "batch_records", "limit_bytes": "batch_bytes", "wait": "wait_seconds"}
    given = StreamOptions(**{names.get(name, name): value for name, value in options.items()})
    task = DatasetTask(asset, STREAM.model_copy(update={"stream": given}), contract, grain)
    return stream_batch.ingest_stream(context_of(ledger, now, persons=persons, overrides=overrides), task, source)


def publish_batch(
    ledger: Ledger,
    batch: MicroBatch,
    *,
    session: Session,
    known: Mapping[int, int],
    contract: Contract,
    grain: Grain,
    now: datetime,
) -> StageReport:
    task = DatasetTask(session.asset, STREAM, contract, grain)
    return stream_batch.publish_batch(context_of(ledger, now), task, batch, session, known)


def ingest_table(
    ledger: Ledger,
    *,
    asset: str,
    source: SqlSource,
    contract: Contract,
    grain: Grain,
    now: datetime,
    persons: TokenKeys | None = None,
    overrides: Sequence[Override] = (),
    **options: Any,
) -> StageReport:
    task = DatasetTask(asset, TABLE, contract, grain)
    return table_batch.ingest_table(context_of(ledger, now, None, persons, overrides), task, source, **options)


def snapshot(ledger: Ledger, vault: Vault, *, progress: Progress | None = None, **task: Any) -> StageReport:
    return vaulting.snapshot(context_of(ledger, progress=progress), vault, vaulting.SnapshotTask(**task))


def restore(
    ledger: Ledger,
    vault: Vault,
    *,
    snapshot: str,
    asset: str,
    partitions: Sequence[str],
    audit: restoring.Audit | None = None,
    **more: Any,
) -> StageReport:
    task = restoring.RestoreTask(snapshot, asset, partitions)
    return restoring.restore(context_of(ledger, **more), vault, task, audit)


def compute(
    ledger: Ledger,
    view: FeatureView,
    *,
    asset: str,
    inputs: Mapping[str, str],
    grain: Grain,
    partitions: Sequence[str] | None,
    engine: Engine | None = None,
    progress: Progress | None = None,
    tails: Path | None = None,
) -> StageReport:
    task = features.FeatureTask(asset, inputs, grain, partitions, tails)
    return features.compute(context_of(ledger, progress=progress), view, task, engine)
