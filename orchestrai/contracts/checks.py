"""The audit of one partition: five checks of stable names, from Parquet footers wherever these suffice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrai.contracts.contract import ClosedDays, Contract
from orchestrai.contracts.footers import ColumnStats, Footers, read_footers
from orchestrai.contracts.schema_change import compare_contract
from orchestrai.contracts.values import value_faults
from orchestrai.contracts.volume import judge_volume
from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import Grain, name_of, shown, start_of_day, window, zone_of
from orchestrai.core.verdict import CheckInfo, Severity, Verdict
from orchestrai.errors import UnreadableObject

CLOCK_SKEW = timedelta(minutes=5)
# no zone is further from UTC than this
FAR_ZONE = timedelta(hours=15)
# of a verdict that time alone may change: when that is
PASSES_AT = "passes_at"
# what can be said of a whole partition only
OF_THE_WHOLE = ("row_volume", "freshness")
VALUES = "values"


def check_names(contract: Contract) -> list[CheckInfo]:
    """The checks that `check_partition` reports for a contract, always the same ones in the same order."""
    checks = [
        CheckInfo("schema", True, "Declared columns and types, from the source's header and the Parquet footers."),
        CheckInfo("row_volume", True, f"Rows against what this day should have (rule {contract.volume.method})."),
        CheckInfo(VALUES, True, "Nulls, keys, ranges, enumerations and patterns."),
    ]
    if contract.event_time:
        checks.append(CheckInfo("partition", True, f"{contract.event_time} lies inside the partition's window."))
        checks.append(CheckInfo("freshness", True, f"Newest {contract.event_time} against the declared promise."))
    return checks


def check_partition(
    contract: Contract,
    files: Sequence[Path],
    *,
    partition: str,
    grain: Grain,
    history: Mapping[str, int],
    now: datetime,
    closed: ClosedDays | None = None,
    whole: bool = True,
    sound: Sequence[Path] = (),
) -> list[Verdict]:
    """Audit a partition's Parquet files; one verdict per name in `check_names`, in that order.

    `history` has the rows of other partitions by key; only earlier ones count. `closed` replaces the contract's closed days. Files
    that are not the `whole` partition are what one batch adds to it: volume and freshness then wait for the restored data's audit.
    The columns of `sound` files are not looked at again: they broke no rule on values when they were judged.
    Raises nothing on damaged files: they fail the schema check.
    """
    due = (closed or contract.closed).due(partition, grain)
    judge = _judge(contract, files, partition, grain, history, now, due, sound)
    later = "judged when the partition is restored: it fills batch by batch"
    return [
        judge(info.name) if whole or info.name not in OF_THE_WHOLE else Verdict(info.name, True, later)
        for info in check_names(contract)
    ]


def _judge(
    contract: Contract,
    files: Sequence[Path],
    partition: str,
    grain: Grain,
    history: Mapping[str, int],
    now: datetime,
    due: bool,
    sound: Sequence[Path],
) -> Callable[[str], Verdict]:
    """What gives the verdict of each check on these files."""
    try:
        footers = read_footers(files, contract.names)
    except UnreadableObject as exc:
        unreadable = exc.message
        return lambda check: Verdict(check, False, unreadable if check == "schema" else "not judged: a file cannot be read")
    if footers.rows == 0:
        return lambda check: _empty(contract, footers, check, partition, grain, due)
    schema = _schema(contract, footers)

    def judge(check: str) -> Verdict:
        if check == "schema":
            return schema
        if check == "row_volume":
            return _volume(contract, footers.rows, partition, grain, history, now)
        if schema.closes_gate:
            return Verdict(check, False, "not judged: the schema check failed")
        if check == VALUES:
            return _values(contract, replace(footers, files=[path for path in files if path not in sound]))
        assert contract.event_time is not None
        bounds = _event_bounds(footers.columns[contract.event_time], grain)
        if check == "partition":
            return _partition(contract, bounds, partition, grain)
        return _freshness(contract, bounds, partition, grain, now)

    return judge


def _empty(contract: Contract, footers: Footers, check: str, partition: str, grain: Grain, due: bool) -> Verdict:
    if check == "row_volume" and due:
        message = f"expected rows for {partition}, found 0 rows: have the producer send the {grain} again"
        return Verdict(check, False, message, details={"rows": 0})
    if check == "schema" and footers.schemas:
        return _schema(contract, footers)
    message = "no rows" if due else "nothing is due on this day"
    return Verdict(check, True, message, details={"rows": 0} if check == "row_volume" else {})


def _schema(contract: Contract, footers: Footers) -> Verdict:
    for schema in footers.schemas:
        change = compare_contract(contract, schema)
        if change.kind != "equal":
            severity: Severity = "error" if change.kind == "breaking" else "warn"
            return Verdict("schema", False, change.message, severity, {"diff": list(change.lines), "change": change.kind})
    return Verdict("schema", True, f"{len(contract.columns)} columns as declared in {contract.name} {contract.version}")


def _volume(
    contract: Contract, rows: int, partition: str, grain: Grain, history: Mapping[str, int], now: datetime
) -> Verdict:
    rule = contract.volume
    finding = judge_volume(rule, rows, partition, grain, history)
    details: dict[str, JsonValue] = {**finding.as_json(), "method": rule.method}
    open_still = now < window(partition, grain)[1] and grain != "all"
    if rule.minimum is not None and rows < rule.minimum and not open_still:
        message = f"expected at least {rule.minimum} rows, found {rows}"
        return Verdict("row_volume", False, message, details=details)
    if rule.maximum is not None and rows > rule.maximum:
        return Verdict("row_volume", False, f"expected at most {rule.maximum} rows, found {rows}", details=details)
    if not finding.flagged or finding.expected is None:
        return Verdict("row_volume", True, f"{rows} rows", details=details)
    if open_still and rows < finding.expected:
        return Verdict("row_volume", True, f"{rows} rows so far: {partition} is not over", details=details)
    change = rows / finding.expected - 1
    message = (
        f"expected {finding.low:.0f} to {finding.high:.0f} rows (about {finding.expected:.0f}), "
        f"found {rows} ({change:+.0%}) by the rule {rule.method}"
    )
    return Verdict("row_volume", False, message, "error" if finding.gross else "warn", details)


def _values(contract: Contract, footers: Footers) -> Verdict:
    faults = value_faults(contract, footers)
    if not faults:
        return Verdict(VALUES, True, "nulls, keys, ranges and enumerations as declared")
    errors = [fault for fault in faults if fault.severity == "error"]
    worst = errors or faults
    message = "; ".join(fault.message for fault in worst[:5])
    details: dict[str, JsonValue] = {"faults": [fault.message for fault in faults]}
    return Verdict(VALUES, False, message, "error" if errors else "warn", details)


def _utc(value: Any, grain: Grain) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        # a date is a day of the zone by which the partitions are cut
        return start_of_day(value, grain)
    moment: datetime = value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _event_bounds(stats: ColumnStats, grain: Grain) -> tuple[datetime, datetime] | None:
    if not stats.bounded or stats.low is None:
        return None
    return _utc(stats.low, grain), _utc(stats.high, grain)


def event_window(contract: Contract, partition: str, grain: Grain) -> tuple[datetime, datetime] | None:
    """From when until when, the end left out, the events of a partition may be; None where it is not of a time."""
    if contract.event_time is None or grain == "all":
        return None
    start, end = window(partition, grain)
    return start - contract.tolerance, end + contract.tolerance


def _partition(contract: Contract, bounds: tuple[datetime, datetime] | None, partition: str, grain: Grain) -> Verdict:
    if bounds is None:
        return Verdict("partition", False, f"expected times in {contract.event_time}, found none")
    details: dict[str, JsonValue] = {"earliest": bounds[0].isoformat(), "newest": bounds[1].isoformat()}
    allowed = event_window(contract, partition, grain)
    if allowed is None:
        return Verdict("partition", True, "not partitioned by time", details=details)
    if allowed[0] <= bounds[0] and bounds[1] < allowed[1]:
        return Verdict("partition", True, f"events inside {partition}", details=details)
    start, end = window(partition, grain)
    message = (
        f"expected {contract.event_time} inside {shown(start, grain)} to {shown(end, grain)}, found "
        f"{shown(bounds[0], grain, seconds=True)} to {shown(bounds[1], grain, seconds=True)}: a file of another {grain}, or late events"
    )
    if name_of(grain) != "hour" and start - FAR_ZONE <= bounds[0] and bounds[1] < end + FAR_ZONE:
        message += f", or days of another zone than {zone_of(grain)}: declare partitions.timezone"
    return Verdict("partition", False, message, details=details)


def _freshness(
    contract: Contract, bounds: tuple[datetime, datetime] | None, partition: str, grain: Grain, now: datetime
) -> Verdict:
    if bounds is None:
        return Verdict("freshness", False, f"expected times in {contract.event_time}, found none")
    earliest, newest = bounds
    details: dict[str, JsonValue] = {"newest": newest.isoformat(), "earliest": earliest.isoformat()}
    if earliest < contract.earliest:
        message = f"expected no event before {contract.earliest:%Y-%m-%d}, found {earliest.isoformat()}"
        return Verdict("freshness", False, message, details=details)
    if newest > now + CLOCK_SKEW:
        message = f"expected no event after now, found {newest.isoformat()}: check the producer's clock, and your own"
        # which clock is wrong is seen when that moment has come
        details[PASSES_AT] = (newest - CLOCK_SKEW).isoformat()
        return Verdict("freshness", False, message, details=details)
    if contract.freshness is None:
        return Verdict("freshness", True, f"newest event {newest.isoformat()}; no promise declared", details=details)
    start, end = window(partition, grain)
    # an old partition is judged at its own end: a backfill of 2010 is not stale today
    due_by = min(now, end)
    limit = due_by - contract.freshness
    if grain != "all":
        limit = max(limit, start) if now >= end else limit
    details["promise_seconds"] = contract.freshness.total_seconds()
    if newest >= limit:
        return Verdict("freshness", True, f"newest event {newest.isoformat()}", details=details)
    message = (
        f"expected an event since {limit.isoformat()} (promise: {contract.freshness}), found the newest at "
        f"{newest.isoformat()}: the source is stale"
    )
    return Verdict("freshness", False, message, details=details)
