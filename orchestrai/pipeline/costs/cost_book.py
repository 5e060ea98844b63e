"""Where runs are measured: each run of a node leaves one signed record of what it used and cost, whatever became of it.

A run that found nothing to do leaves none: it is counted with the next record of its process. No failure to record stops a run.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.identity import new_session_id
from orchestrai.errors import ConfigError, ObjectExists, OrchestraiError, StorageError
from orchestrai.ledger.costs.cost_record import COSTS, CostRecord, Outcome, Quiet, utc_text
from orchestrai.ledger.costs.price_table import PriceTable, read_prices
from orchestrai.ledger.costs.run_meter import RunMeter, metering
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.ledger.log import Log
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.costs.owed_costs import MOST_OWED, Owed, OwedCosts
from orchestrai.settings import Settings
from orchestrai.stage.stage import AssetNode

FILE = "prices.yaml"


def prices_file(settings: Settings) -> Path | None:
    """The site's file of prices; None where it has none. Raises ConfigError for one that is named and not there."""
    named = Path(settings.prices).expanduser() if settings.prices else settings.home / FILE
    if named.is_file():
        return named
    if settings.prices:
        raise ConfigError(f"ORCHESTRAI_PRICES: expected a YAML file of prices, found none at {named}: write it, or unset it")
    return None


class CostBook:
    """Measures runs of one process and keeps their records in the ledger."""

    def __init__(self, ledger: Callable[[], Log], settings: Settings, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._quiet = Quiet()
        self._owed: list[CostRecord] = []
        self._kept = OwedCosts(settings.home)

    @cached_property
    def prices(self) -> PriceTable:
        """The prices that the site applies; raises ConfigError."""
        return read_prices(prices_file(self._settings))

    def perform(self, node: AssetNode[Any], partitions: Sequence[str], run: Callable[[], StageReport]) -> StageReport:
        """Run a stage and record what that took; the report says it too. Raises what the run raises."""
        with metering(node.asset) as meter:
            if meter is None:
                return run()
            began, report, outage = self._clock(), None, False
            try:
                report = run()
            except StorageError:
                outage = True
                raise
            finally:
                record = self._record(node, len(partitions), meter, report, began)
                problem = self._keep(record, outage)
            return replace(report, measured=_shown(record, problem))

    def _record(
        self, node: AssetNode[Any], partitions: int, meter: RunMeter, report: StageReport | None, began: datetime
    ) -> CostRecord:
        if report is not None:
            for job in _jobs_of(report.facts):
                meter.jobs.setdefault(job.name, job)
        usage, choices = meter.usage(report.cost if report is not None else None), list(meter.choices)
        try:
            prices = self.prices
        except ConfigError as exc:
            # it is told, and the run goes on without a price
            prices = PriceTable()
            choices.append(f"no prices applied: {exc.message}")
        return CostRecord(
            run=new_session_id()[:12],
            asset=node.asset,
            stage=node.stage.name,
            started=utc_text(began),
            finished=utc_text(max(began, self._clock())),
            outcome=_outcome(meter, report),
            partitions=partitions,
            rows=sum(o.rows for o in report.outcomes if o.published and not o.standing) if report and meter.receipts else 0,
            usage=usage,
            receipts=tuple(meter.receipts),
            charges=prices.charges(usage),
            prices=prices.digest,
            engine=str(report.facts.get("engine", "")) if report is not None else "",
            sized=meter.sized,
            choices=tuple(choices),
            quiet=self._quiet,
        )

    def _keep(self, record: CostRecord, outage: bool) -> str:
        """Put a record, or count it as quiet; returns what went wrong. What a store did not take comes with the next."""
        if record.outcome == "nothing" and not record.usage.jobs:
            quiet, usage = self._quiet, record.usage
            wall, cpu = quiet.wall_seconds + usage.wall_seconds, quiet.cpu_seconds + usage.all_cpu_seconds
            self._quiet = Quiet(quiet.runs + 1, wall, cpu)
            return ""
        self._quiet = Quiet()
        self._owed = [*self._owed, record][-MOST_OWED:]
        problem = "the store did not answer: the record of its cost is owed" if outage else self._bring()
        for owed in self._owed if problem else ():
            # this process may end before the store answers
            self._kept.put(Owed(owed, problem))
        return problem

    def _bring(self) -> str:
        """Write what is owed, by this process or another of its home; returns what went wrong first."""
        problem = ""
        mine = {record.name for record in self._owed}
        for record in [*self._owed, *(one.record for one in self._kept.all() if one.record.name not in mine)]:
            try:
                ledger = self._ledger()
                # one whose answer was lost lies there: its name is of this run alone
                with suppress(ObjectExists):
                    ledger.lake.write(COSTS.key(record.name), COSTS.sign(ledger.signer, record), create=True)
            except OrchestraiError as exc:
                return problem or f"the cost was not recorded: {exc.message}"
            except Exception as exc:  # noqa: BLE001 - what the run published stands, whatever a disk or an SDK says to its record
                problem = problem or f"the cost was not recorded: {type(exc).__name__}: {exc}"
                continue
            self._owed = [owed for owed in self._owed if owed.name != record.name]
            self._kept.settle(record)
        return problem


def _outcome(meter: RunMeter, report: StageReport | None) -> Outcome:
    if report is None:
        return "failed"
    if report.refused:
        return "refused"
    return "published" if meter.receipts else "nothing"


def _jobs_of(facts: Mapping[str, JsonValue]) -> list[JobUsage]:
    """The training or transform job that a report tells of."""
    job = facts.get("job")
    if not isinstance(job, Mapping):
        return []
    billed = job.get("billable_seconds")
    usd = job.get("usd")
    return [
        JobUsage(
            name=str(job.get("name", "")),
            place=str(job.get("place", "")),
            seconds=float(billed) if isinstance(billed, int | float) else 0.0,
            instance_type=str(job.get("instance_type", "")),
            spot=bool(job.get("spot", False)),
            usd=float(usd) if isinstance(usd, int | float) else None,
        )
    ]


def _shown(record: CostRecord, problem: str) -> dict[str, JsonValue]:
    """What a person reads on a materialization, numbers that Dagster draws over the runs among it."""
    usage, traffic = record.usage, record.usage.traffic
    shown: dict[str, JsonValue] = {
        "orchestrai/run_wall_seconds": round(usage.wall_seconds, 3),
        "orchestrai/run_cpu_seconds": round(usage.all_cpu_seconds, 3),
        "orchestrai/objects_read": traffic.reads,
        "orchestrai/objects_written": traffic.writes,
        "orchestrai/cost_usd": round(record.usd, 9),
    }
    if record.choices:
        shown["orchestrai/chosen"] = "; ".join(record.choices)
    if problem:
        shown["orchestrai/cost_problem"] = problem
    return shown
