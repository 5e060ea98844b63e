"""Trace: from a model, or any asset, to the raw objects it came from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrai.ledger.decisions.skips import Skips, skips_in
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Material, Receipt
from orchestrai.ledger.report import Cost
from orchestrai.provenance.lineage import Step, use_of, walk
from orchestrai.provenance.today import Today
from orchestrai.provenance.verified_records import Records


@dataclass(frozen=True)
class TraceNode:
    """Partitions of one asset that were used together; `inputs` are ids of other nodes, `objects` are landed objects.

    `checks` counts passed checks by name, `warned` has those that failed without closing the gate, or were
    waived by an override, which is named; `warned` also tells which partitions a person left out. `rows_by_partition` is in the
    order of `partitions`. `outdated` tells which of them are stale by now, where somebody asked. Times are ISO, UTC.
    """

    id: str
    asset: str
    stage: str
    version: str
    partitions: tuple[str, ...]
    rows: int
    size: int
    receipts: tuple[str, ...]
    started: str
    finished: str
    checks: Mapping[str, int]
    warned: tuple[str, ...]
    code_versions: tuple[str, ...]
    cost: Cost
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    objects: tuple[Material, ...] = ()
    rows_by_partition: tuple[int, ...] = ()
    outdated: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **self.__dict__,
            "checks": dict(self.checks),
            "cost": self.cost.as_json(),
            "facts": dict(self.facts),
            "objects": [material.as_json() for material in self.objects],
        }


@dataclass(frozen=True)
class Trace:
    """A graph without cycles; the first node is what was asked for, `cost` counts each receipt once."""

    nodes: tuple[TraceNode, ...]
    cost: Cost

    @property
    def root(self) -> TraceNode:
        """What was asked for."""
        return self.nodes[0]

    @property
    def objects(self) -> tuple[Material, ...]:
        """Every landed object reached, once each, by URI."""
        materials = {(m.uri, m.sha256): m for node in self.nodes for m in node.objects}
        return tuple(materials[key] for key in sorted(materials))

    def node(self, identity: str) -> TraceNode:
        """A node by id."""
        return next(node for node in self.nodes if node.id == identity)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "asset": self.root.asset,
            "version": self.root.version,
            "cost": self.cost.as_json(),
            "nodes": [node.as_json() for node in self.nodes],
        }


def trace(ledger: Ledger, asset: str, version: str | None = None) -> Trace:
    """Trace an asset at a version (or its first digits; default: the newest) to raw objects, from records alone.

    Raises NotReceipted for a version that was never published, IntegrityError for a record that does not verify.
    """
    return trace_records(Records(ledger.lake, ledger.keyring), asset, version)


def trace_records(records: Records, asset: str, version: str | None = None, today: Today | None = None) -> Trace:
    """As `trace`, from any store of records; with `today` each node tells what of it is stale by now."""
    steps = walk(records, use_of(records, asset, version))
    names = {step.use.identity: f"n{number}" for number, step in enumerate(steps)}
    skips = skips_in(records.store, records.keyring)
    nodes = tuple(
        replace(
            _node(step, names[step.use.identity], [names[use.identity] for use in step.upstream], skips),
            outdated=today.told(step.use) if today is not None else (),
        )
        for step in steps
    )
    distinct = {digest: receipt for step in steps for digest, receipt in step.receipts.items()}
    return Trace(nodes, total(distinct.values()))


def total(receipts: Iterable[Receipt]) -> Cost:
    """The sum of what receipts cost; the peak is the largest."""
    costs = [receipt.cost for receipt in receipts]
    return Cost(
        wall_seconds=sum(cost.wall_seconds for cost in costs),
        cpu_seconds=sum(cost.cpu_seconds for cost in costs),
        bytes_read=sum(cost.bytes_read for cost in costs),
        bytes_written=sum(cost.bytes_written for cost in costs),
        peak_rss_bytes=max((cost.peak_rss_bytes for cost in costs), default=0),
    )


def _node(step: Step, identity: str, inputs: Sequence[str], skips: Skips) -> TraceNode:
    receipts: Sequence[Receipt] = list(step.receipts.values())
    checks: Counter[str] = Counter()
    warned = {f"{skip.partition} {skip.note}" for skip in skips.of(step.use.asset) if skip.asset == step.use.asset}
    for key, entry in step.use.entries.items():
        receipt = step.receipts[entry.receipt]
        override = receipt.override(key)
        for verdict in receipt.verdicts.get(key, ()):
            if verdict.passed:
                checks[verdict.check] += 1
            elif override is not None and verdict.closes_gate:
                warned.add(f"{key} {verdict.check} {override.note}: {verdict.message}")
            else:
                warned.add(f"{verdict.check}: {verdict.message}")
    newest = max(receipts, key=lambda receipt: receipt.finished, default=None)
    return TraceNode(
        id=identity,
        asset=step.use.asset,
        stage=newest.stage if newest else step.use.stage,
        version=step.use.version,
        partitions=tuple(sorted(step.use.entries)),
        rows=sum(entry.rows for entry in step.use.entries.values()),
        size=sum(entry.size for entry in step.use.entries.values()),
        receipts=tuple(step.receipts),
        started=min((receipt.started for receipt in receipts), default=""),
        finished=newest.finished if newest else "",
        checks=dict(sorted(checks.items())),
        warned=tuple(sorted(warned)),
        code_versions=tuple(sorted({receipt.code_version for receipt in receipts if receipt.code_version})),
        cost=total(receipts),
        facts=newest.facts if newest else {},
        inputs=tuple(inputs),
        objects=step.materials,
        rows_by_partition=tuple(entry.rows for _, entry in sorted(step.use.entries.items())),
    )
