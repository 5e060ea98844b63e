"""What it would take to make a version of a model again: what is read from the vault, what is computed, with which libraries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrai.core.identity import describe
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.export.dossier.dossier_parts import fact_of
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records

# restored from the vault, and computed from that; the others only say what was decided
READ, COMPUTED = "restored", ("features", "training_set", "candidate")


@dataclass(frozen=True)
class RebuildNeed:
    """Bytes, seconds as they were when it was made, libraries, code, and the commands; `rows` has a line for each step."""

    commands: tuple[str, ...]
    snapshots: int
    partitions: int
    restored_bytes: int
    computed: int
    computed_bytes: int
    cpu_seconds: float
    wall_seconds: float
    peak: int
    libraries: Mapping[str, str]
    code: tuple[str, ...]
    rows: tuple[tuple[str, str, int, int, int, str], ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        names = ("asset", "version", "partitions", "rows", "bytes", "how")
        return {**self.__dict__, "rows": [dict(zip(names, row, strict=True)) for row in self.rows]}


def rebuild_need(name: str, records: Records, steps: Sequence[Step]) -> RebuildNeed:
    """Worked out from the records of its lineage; `name` is the model's, `pipeline/model`."""
    read = [step for step in steps if step.use.stage == READ]
    made = [step for step in steps if step.use.stage in COMPUTED]
    receipts: dict[str, Receipt] = {digest: one for step in (*read, *made) for digest, one in step.receipts.items()}
    snapshots = {digest for step in steps if step.use.stage == "snapshot" for digest in step.receipts}
    costs = [one.cost for one in receipts.values()]
    digits = steps[0].use.version.removeprefix("sha256:")[:12]
    return RebuildNeed(
        commands=(f"orchestrai model reproduce {name}@{digits} --home EMPTY_FOLDER --vault VAULT_URL --key signer.pem",),
        snapshots=len(snapshots),
        partitions=len({(step.use.asset, key) for step in read for key in step.use.entries}),
        restored_bytes=_bytes(read),
        computed=len(made),
        computed_bytes=_bytes(made),
        cpu_seconds=round(sum(cost.cpu_seconds for cost in costs), 3),
        wall_seconds=round(sum(cost.wall_seconds for cost in costs), 3),
        peak=max((cost.peak_rss_bytes for cost in costs), default=0),
        libraries=dict(fact_of(steps, "libraries") or {}),
        code=tuple(sorted({one.code_version for one in receipts.values() if one.code_version})),
        rows=tuple(_row(step) for step in (*read, *made)),
    )


def _bytes(steps: Sequence[Step]) -> int:
    """Of partitions that several steps use, each once."""
    sizes = {(step.use.asset, key, entry.root): entry.size for step in steps for key, entry in step.use.entries.items()}
    return sum(sizes.values())


def _row(step: Step) -> tuple[str, str, int, int, int, str]:
    entries = step.use.entries.values()
    how = "restored, every hash checked" if step.use.stage == READ else "computed anew, and compared"
    rows, size = sum(entry.rows for entry in entries), sum(entry.size for entry in entries)
    return step.use.asset, describe(step.use.version), len(entries), rows, size, how
