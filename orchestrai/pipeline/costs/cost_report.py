"""The daily report of what a pipeline cost: one line a closed day, published like any other data; it draws nothing.

The sums are in the receipt too, so that the vault has them. Records of runs are removed once they are old and summed.
"""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.ledger.costs.cost_record import days_of
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.pipeline.costs.day_costs import DayCost, StageSum, day_so_far, keys_of, read_day, whole_day, without_assets
from orchestrai.stage.context import RunContext

PRODUCER = Producer("costs", __name__, also=("orchestrai.pipeline.costs.day_costs",))
FILE = "costs.json"
# a record that a store was owed may come later than its day; what is older stands as it was summed
SETTLED = timedelta(days=1)
# how long the records of single runs stay beside the sums of their days
KEPT = timedelta(days=100)
# days whose sums are in the receipt; the file has all
IN_RECEIPT = 31


def write_costs(context: RunContext, pipeline: str, asset: str) -> StageReport:
    """Publish the days of a pipeline up to yesterday (UTC); the same records give the same bytes."""
    ledger, today = context.ledger, context.now().astimezone(UTC).date()
    with Meter() as meter:
        known = {day.day: day for day in published_days(ledger, asset)}
        there = [day for day in days_of(ledger.lake) if day < today.isoformat()]
        settled = (today - SETTLED).isoformat()
        for day in there:
            if day not in known or day >= settled:
                summed = whole_day(ledger, day, pipeline)
                if summed.total.runs or day in known:
                    known[day] = summed
        days = [known[day] for day in sorted(known)]
        session = ledger.session(asset, PRODUCER)
        lines: list[JsonValue] = [day.as_json() for day in days]
        entry = session.add_bytes(WHOLE, FILE, canonical_json(lines), rows=len(lines))
        meter.written = entry.size
    report = session.commit({WHOLE: ()}, cost=meter.cost(), facts=_facts(days))
    _remove_old(ledger, pipeline, there, (today - KEPT).isoformat())
    return report


def published_days(ledger: Ledger, asset: str) -> list[DayCost]:
    """The days of the published report, oldest first; none where there is none."""
    dataset = ledger.find(asset)
    if dataset is None:
        return []
    with dataset.fetched([WHOLE]) as files:
        (file,) = files[WHOLE]
        return [read_day(line) for line in json.loads(file.path.read_bytes())]


def _facts(days: Sequence[DayCost]) -> dict[str, JsonValue]:
    newest = days[-1] if days else DayCost("none")
    # numbers become series in Dagster's pages: whoever looks draws them
    return {
        "day": newest.day,
        "day_usd": round(newest.total.usd, 6),
        "day_cpu_seconds": round(newest.cpu_seconds, 3),
        "day_runs": newest.total.runs,
        "day_failed": newest.total.failed,
        "by_stage": {stage: one.as_json() for stage, one in sorted(newest.by_stage.items())},
        "days": [_line(without_assets(day)) for day in days[-IN_RECEIPT:]],
    }


def _line(day: DayCost) -> dict[str, JsonValue]:
    return {
        "day": day.day,
        **day.total.as_json(),
        "quiet_runs": day.quiet_runs,
        "quiet_cpu_seconds": round(day.quiet_cpu_seconds, 6),
    }


def recent_days(ledger: Ledger, asset: str) -> dict[str, DayCost]:
    """The newest days of the published report, from its receipt: no bytes are read; none where there is none."""
    head = ledger.head(asset)
    lines = ledger.receipt(head.receipt).facts.get("days") if head is not None else None
    found = {}
    for line in lines if isinstance(lines, list) else ():
        assert isinstance(line, dict)
        body: dict[str, Any] = dict(line)
        day, runs, cpu = body.pop("day"), body.pop("quiet_runs"), body.pop("quiet_cpu_seconds")
        found[day] = DayCost(day, StageSum(**body), {}, runs, cpu)
    return found


def _remove_old(ledger: Ledger, pipeline: str, days: Sequence[str], before: str) -> None:
    """Remove records of days that are in the report and older than KEPT."""
    for day in days:
        if day >= before:
            return
        for key in keys_of(ledger.lake, day, pipeline):
            ledger.lake.delete(key)


def last_days(ledger: Ledger, pipeline: str, now: datetime, count: int) -> list[DayCost]:
    """The last days (UTC) up to today on which something ran, oldest first, by asset, from the records of runs."""
    today = now.astimezone(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in reversed(range(count))]
    summed = [day_so_far(ledger, day, pipeline) for day in days]
    return [day for day in summed if day.total.runs]


def drawn_days(ledger: Ledger, pipeline: str, now: datetime, count: int) -> list[DayCost]:
    """The last days (UTC) on which something ran, oldest first: settled ones by the receipt of the published report, others by records."""
    settled = (now.astimezone(UTC).date() - SETTLED).isoformat()
    asset = f"{pipeline}/costs"
    known = {name: one for name, one in recent_days(ledger, asset).items() if name < settled}
    today = now.astimezone(UTC).date()
    names = [(today - timedelta(days=back)).isoformat() for back in reversed(range(count))]
    summed = [known.get(name) or without_assets(day_so_far(ledger, name, pipeline)) for name in names]
    return [day for day in summed if day.total.runs]


def spent_since(ledger: Ledger, pipeline: str, asset: str, first: date, now: datetime) -> DayCost:
    """What a pipeline cost from a day on: days that are settled by the published report, all others by their records."""
    settled = (now.date() - SETTLED).isoformat()
    known = {name: one for name, one in recent_days(ledger, asset).items() if name < settled}
    total = DayCost(first.isoformat())
    day = first
    while day <= now.date():
        name = day.isoformat()
        one = known.get(name) or day_so_far(ledger, name, pipeline)
        total = total.plus(without_assets(one))
        day += timedelta(days=1)
    return total
