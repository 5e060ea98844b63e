"""A copy for development: landings and declarations that orchestrai itself runs on, without an original value of a person.

Three looks: at the originals, for what depends on all rows; masked rows written, partition by partition; what was written read back and
proven. The copy appears whole, after its signed record, or not at all.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.columns.older_columns import reading_of
from orchestrai.contracts.contract import physical_type
from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.time.calendar import WHOLE, window
from orchestrai.errors import ConfigError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.privacy.masking.bands import microseconds
from orchestrai.privacy.masking.keyed_values import MaskKey
from orchestrai.privacy.masking.mask_plan import MaskPlan, identifying_names, mask_plan
from orchestrai.privacy.masking.mask_proof import MaskProof
from orchestrai.privacy.masking.mask_survey import MaskSurvey
from orchestrai.privacy.masking.masked_column import Window
from orchestrai.privacy.masking.masker import Masker
from orchestrai.provenance.export.new_place import new_place
from orchestrai.provenance.masking.copied_declarations import landed_name, write_declarations
from orchestrai.provenance.masking.export_record import EXPORTS, ExportRecord

if TYPE_CHECKING:
    import pyarrow as pa

RECORD = "masked-export.json"
Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MaskedCopy:
    """What was written: the record, how many files and bytes of rows, and the first and last partition of each pipeline."""

    record: ExportRecord
    files: int
    size: int
    spans: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """Which pipelines are copied, by whom and why; `asked` are methods that a person chose, by `pipeline/dataset.column`."""

    pipelines: tuple[str, ...]
    by: str
    reason: str
    asked: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Source:
    node: DatasetNode
    plan: MaskPlan
    opened: Dataset | None

    @property
    def partitions(self) -> list[str]:
        return sorted(self.opened.partitions) if self.opened is not None else []

    def window(self, partition: str) -> Window:
        spec = self.node.spec.partitions
        if spec.by != "event_time" or spec.grain == WHOLE:
            return None
        begin, end = window(partition, spec.grain)
        return microseconds(begin), microseconds(end)

    def tables(self, partition: str) -> "Iterator[pa.Table]":
        import pyarrow.parquet as pq

        assert self.opened is not None
        with self.opened.fetched([partition]) as files:
            for file in files[partition]:
                if file.entry.path.endswith(".parquet"):
                    yield self._declared(pq.read_table(file.path, partitioning=None), partition)

    def _declared(self, rows: "pa.Table", partition: str) -> "pa.Table":
        """Rows as the contract has them now, which may be younger than the file: what came to it is null, what left it is left out."""
        import pyarrow as pa

        stored = {field.name: physical_type(field.type) for field in rows.schema}
        columns = []
        for column, kind in zip(self.node.contract.columns, self.node.contract.arrow_schema().types, strict=True):
            reading = reading_of(column.name, column.type, stored, optional=not column.required)
            if reading is None:
                raise ConfigError(
                    f"expected {column.name} of {self.node.prefix} as its contract has it, found another in {partition}: backfill it first"
                )
            columns.append(pa.nulls(rows.num_rows, kind) if reading == "null" else rows.column(column.name).cast(kind))
        return pa.table(columns, schema=self.node.contract.arrow_schema())


def write_masked_copy(
    project: Project, ledger: Ledger, request: Request, key: MaskKey, to: Path, say: Say = lambda what, done, total: None
) -> MaskedCopy:
    """Write a masked copy of pipelines to the new folder `to`, and its record to lake and vault.

    Raises ConfigError for a pipeline that borrows from one that is not copied, and where `to` is taken; IntegrityError, with nothing
    written, where the proof finds an original.
    """
    pipelines = [project.pipeline(name) for name in request.pipelines]
    _require_lenders(pipelines)
    sources = _sources(pipelines, ledger, dict(request.asked))
    survey = MaskSurvey()
    for source, partition in _all(sources, say, "look"):
        for rows in source.tables(partition):
            survey.look(source.plan, rows, source.window(partition))
    masker = Masker(key, survey)
    with new_place(to) as folder:
        folder.mkdir()
        rows_written = sum(_write(source, partition, masker, folder) for source, partition in _all(sources, say, "mask"))
        proof = MaskProof(survey)
        digests: list[list[str]] = []
        size = 0
        for source, partition in _all(sources, say, "prove"):
            path = folder / landed_name(source.node, partition)
            digests.append([str(path.relative_to(folder)), _proven(path, source, partition, proof)])
            size += path.stat().st_size
        verdict = proof.verdict()
        plans = {source.node.prefix: source.plan for source in sources}
        for pipeline in pipelines:
            write_declarations(pipeline, plans, folder)
        record = ExportRecord(
            pipelines=tuple(pipeline.name for pipeline in pipelines),
            versions={source.opened.asset: source.opened.version for source in sources if source.opened is not None},
            columns={name: plan.as_json() for name, plan in plans.items()},
            rows=rows_written,
            files=sha256_hex(canonical_json(sorted(digests))),
            key=key.key_id,
            proof=verdict,
            reason=request.reason,
            by=request.by,
            time=ledger.clock().isoformat(),
        )
        stores = [store for store in (ledger.vault, ledger.lake) if store is not None]
        # before the copy is there: of two that a crash parts, the one to have is the record
        (folder / RECORD).write_bytes(EXPORTS.put(stores, ledger.signer, record))
    return MaskedCopy(record, len(digests), size, _spans(sources))


def _spans(sources: Sequence[_Source]) -> dict[str, tuple[str, str]]:
    spans: dict[str, tuple[str, str]] = {}
    for source in sources:
        keys = [key for key in source.partitions if key != WHOLE]
        if keys:
            first, last = spans.get(source.node.pipeline, (keys[0], keys[-1]))
            spans[source.node.pipeline] = (min(first, keys[0]), max(last, keys[-1]))
    return spans


def _require_lenders(pipelines: Sequence[Pipeline]) -> None:
    names = {pipeline.name for pipeline in pipelines}
    for pipeline in pipelines:
        lacking = sorted({dataset.pipeline for dataset in pipeline.datasets} - names)
        if lacking:
            raise ConfigError(
                f"expected the pipelines that {pipeline.name} takes datasets from to be copied with it, found {', '.join(lacking)} left "
                f"out: name {','.join([*lacking, *sorted(names)])}"
            )


def _sources(pipelines: Sequence[Pipeline], ledger: Ledger, asked: dict[str, str]) -> list[_Source]:
    nodes = [node for pipeline in pipelines for node in pipeline.own_datasets]
    chosen = _chosen(nodes, asked)
    entities = {name for pipeline in pipelines for view in pipeline.views for name in view.view.entity}
    joined = identifying_names([node.contract for node in nodes], entities)
    sources = []
    for node in nodes:
        dimension = node.spec.partitions.dimension
        plan = mask_plan(
            node.prefix, node.contract, joined, chosen.get(node.prefix, {}), dimension.column if dimension else ""
        )
        sources.append(_Source(node, plan, ledger.find(node.asset("raw_events"))))
    _require_whole_joins([source.plan for source in sources], joined)
    return sources


def _require_whole_joins(plans: Sequence[MaskPlan], joined: Collection[str]) -> None:
    """Rows are joined by equal values: a key that is public here and masked there joins nothing."""
    for name in sorted(joined):
        methods = {f"{plan.dataset}.{name}": method for plan in plans if (method := plan.as_json().get(name)) is not None}
        if len({method == "copy" for method in methods.values()}) > 1:
            found = ", ".join(
                f"{place} {'public' if method == 'copy' else 'not'}" for place, method in sorted(methods.items())
            )
            raise ConfigError(
                f"expected {name}, by which rows are joined, to be public everywhere or nowhere, found {found}: declare it"
            )


def _chosen(nodes: Sequence[DatasetNode], asked: Mapping[str, str]) -> dict[str, dict[str, str]]:
    known = {node.prefix for node in nodes}
    chosen: dict[str, dict[str, str]] = {}
    for place, method in asked.items():
        dataset, _, column = place.rpartition(".")
        if dataset not in known:
            raise ConfigError(f"expected PIPELINE/DATASET.COLUMN of {', '.join(sorted(known))}, found {place!r}")
        chosen.setdefault(dataset, {})[column] = method
    return chosen


def _all(sources: Sequence[_Source], say: Say, what: str) -> Iterator[tuple[_Source, str]]:
    places = [(source, partition) for source in sources for partition in source.partitions]
    for number, place in enumerate(places):
        say(what, number, len(places))
        yield place


def _write(source: _Source, partition: str, masker: Masker, folder: Path) -> int:
    import pyarrow.parquet as pq

    path = folder / landed_name(source.node, partition)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with pq.ParquetWriter(path, source.node.contract.arrow_schema(), compression="zstd") as writer:
        for number, table in enumerate(source.tables(partition)):
            writer.write_table(masker.table(source.plan, table, f"{partition} {number}", source.window(partition)))
            rows += table.num_rows
    return rows


def _proven(path: Path, source: _Source, partition: str, proof: MaskProof) -> str:
    """The digest of a written file whose rows the proof has taken in; the bytes that were hashed are those that were read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = path.read_bytes()
    file = pq.ParquetFile(pa.BufferReader(data))
    for number in range(file.num_row_groups):
        proof.look(source.plan, file.read_row_group(number), source.window(partition))
    return hashlib.sha256(data).hexdigest()
