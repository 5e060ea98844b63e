"""What a model, or any asset, cost: every run in its lineage once, by stage and by what it was of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from orchestrai.ledger.costs.cost_record import CostRecord, costs_of_day
from orchestrai.ledger.costs.price_table import DECLARED, Charge, newly_charged
from orchestrai.ledger.costs.usage import JobUsage, Usage
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.lineage import Step, use_of, walk
from orchestrai.provenance.verified_records import Records


@dataclass(frozen=True)
class CostLine:
    """What some runs cost together; `measured` of them have a record, of the others the receipt's own figures count."""

    key: str
    runs: int = 0
    measured: int = 0
    usage: Usage = field(default_factory=Usage)
    usd: float = 0.0
    priced: int = 0

    def plus(self, other: "CostLine") -> "CostLine":
        """Both under the key of this one."""
        return CostLine(
            self.key,
            self.runs + other.runs,
            self.measured + other.measured,
            self.usage.plus(other.usage),
            self.usd + other.usd,
            self.priced + other.priced,
        )

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        usage = {name: value for name, value in self.usage.as_json().items() if name not in ("jobs", "peak_raised")}
        return {
            "key": self.key,
            "runs": self.runs,
            "measured": self.measured,
            "usd": round(self.usd, 9),
            "priced": self.priced,
            **usage,
        }


@dataclass(frozen=True)
class LineageCost:
    """The cost of a lineage; `shared` names runs whose output others use too, or that several steps used: each counts once here."""

    asset: str
    version: str
    total: CostLine
    by_stage: tuple[CostLine, ...]
    by_subject: tuple[CostLine, ...]
    shared: Mapping[str, tuple[str, ...]]
    used_twice: int
    prices: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person has to know to read the figures."""
        told = [
            f"a run counts whole and once: the output of {self.used_twice} of {self.total.runs} runs was used in more than one place"
        ]
        for other, subjects in self.shared.items():
            told.append(
                f"{', '.join(subjects)}: shared with {other}, counted here in full, so two models' costs do not add up"
            )
        behind = self.total.runs - self.total.measured
        if behind:
            told.append(
                f"{behind} of {self.total.runs} runs have no record of their own: what their receipts say until they were signed counts"
            )
        if not self.total.priced:
            told.append("no price applies to any of them, so the money says nothing: see docs/cost.md")
        elif self.total.priced < self.total.runs:
            told.append(f"{self.total.priced} of {self.total.runs} runs have a price")
        return tuple(told)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "asset": self.asset,
            "version": self.version,
            "total": self.total.as_json(),
            "by_stage": [line.as_json() for line in self.by_stage],
            "by_dataset": [line.as_json() for line in self.by_subject],
            "shared": {other: list(subjects) for other, subjects in self.shared.items()},
            "prices": list(self.prices),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class _Run:
    """One run behind a lineage: the record of it, or a receipt that no record names."""

    asset: str
    stage: str
    usage: Usage
    charges: tuple[Charge, ...]
    measured: bool
    prices: str = ""


def lineage_cost(
    records: Records, asset: str, version: str | None = None, others: Mapping[str, Iterable[str]] | None = None
) -> LineageCost:
    """Sum what the lineage of an asset cost; `others` are the receipts behind other models, by their names.

    Raises NotReceipted, IntegrityError, SignatureInvalid.
    """
    use = use_of(records, asset, version)
    steps = walk(records, use)
    receipts = {digest: receipt for step in steps for digest, receipt in step.receipts.items()}
    runs, run_of = _runs(records, receipts)
    lines: dict[str, dict[str, CostLine]] = {"stage": {}, "subject": {}}
    total, paid = CostLine("total"), dict[tuple[str, str], float]()
    for run in runs.values():
        line = CostLine("", 1, int(run.measured), run.usage, newly_charged(run.charges, paid), int(bool(run.charges)))
        total = total.plus(line)
        for kind, key in (("stage", run.stage), ("subject", run.asset.rpartition("/")[0])):
            lines[kind][key] = lines[kind].get(key, CostLine(key)).plus(line)
    shared = {}
    for other, digests in sorted((others or {}).items()):
        same = {runs[run_of[digest]].asset.rpartition("/")[0] for digest in set(digests) & set(receipts)}
        if same:
            shared[other] = tuple(sorted(same))
    return LineageCost(
        use.asset,
        use.version,
        total,
        _dearest(lines["stage"]),
        _dearest(lines["subject"]),
        shared,
        _used_twice(steps, run_of),
        tuple(sorted({run.prices for run in runs.values() if run.prices})),
    )


def receipts_behind(records: Records, asset: str) -> frozenset[str]:
    """The digests of all receipts in the lineage of an asset's newest version."""
    return frozenset(digest for step in walk(records, use_of(records, asset)) for digest in step.receipts)


def _runs(records: Records, receipts: Mapping[str, Receipt]) -> tuple[dict[str, _Run], dict[str, str]]:
    """The runs that published some receipts, by name, and which of them each receipt is of."""
    looked: dict[tuple[str, str], dict[str, CostRecord]] = {}
    runs: dict[str, _Run] = {}
    run_of: dict[str, str] = {}
    for digest, receipt in receipts.items():
        record = _record_of(records, looked, digest, receipt)
        if record is not None:
            run_of[digest] = record.name
            runs[record.name] = _Run(record.asset, record.stage, record.usage, record.charges, True, record.prices)
        else:
            run_of[digest] = digest
            runs[digest] = _unrecorded(receipt)
    return runs, run_of


def _record_of(
    records: Records, looked: dict[tuple[str, str], dict[str, CostRecord]], digest: str, receipt: Receipt
) -> CostRecord | None:
    signed = date.fromisoformat(receipt.finished[:10])
    # a run ends after its receipt is signed, now and then on the next day
    for day in (signed, signed + timedelta(days=1)):
        place = (receipt.asset, day.isoformat())
        if place not in looked:
            found = costs_of_day(records.store, records.keyring, day, receipt.asset)
            looked[place] = {one: record for record in found for one in record.receipts}
        if digest in looked[place]:
            return looked[place][digest]
    return None


def _unrecorded(receipt: Receipt) -> _Run:
    cost, job = receipt.cost, receipt.facts.get("job")
    jobs: tuple[JobUsage, ...] = ()
    charges: tuple[Charge, ...] = ()
    if isinstance(job, Mapping):
        name, usd, seconds = str(job.get("name", "")), job.get("usd"), job.get("billable_seconds")
        jobs = (JobUsage(name, str(job.get("place", "")), float(seconds) if isinstance(seconds, int | float) else 0.0),)
        if isinstance(usd, int | float):
            charges = (Charge(DECLARED, "job", 1.0, float(usd), name),)
    usage = Usage(
        cost.wall_seconds, cost.cpu_seconds, 0.0, cost.bytes_read, cost.bytes_written, cost.peak_rss_bytes, jobs=jobs
    )
    return _Run(receipt.asset, receipt.stage, usage, charges, False)


def _used_twice(steps: Iterable[Step], run_of: Mapping[str, str]) -> int:
    counts: dict[str, int] = {}
    for step in steps:
        for run in {run_of[digest] for digest in step.receipts}:
            counts[run] = counts.get(run, 0) + 1
    return sum(count > 1 for count in counts.values())


def _dearest(lines: Mapping[str, CostLine]) -> tuple[CostLine, ...]:
    """By money, then by CPU, most first."""
    return tuple(sorted(lines.values(), key=lambda line: (-line.usd, -line.usage.all_cpu_seconds, line.key)))
