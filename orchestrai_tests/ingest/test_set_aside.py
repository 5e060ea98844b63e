"""Rows that break a rule of their own: set aside one by one up to the declared share, above it judged with their partition."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.running import ingest

DAY, ASSET, NOW = "2026-11-20", "shop/rides/raw_events", datetime(2026, 11, 22, 12, tzinfo=UTC)
START = datetime(2026, 11, 20, tzinfo=UTC)
CONTRACT = Contract(
    "rides",
    "1.0.0",
    (
        Column("id", "BIGINT", "id", required=True, key=1),
        Column("at", "TIMESTAMP", "at", required=True),
        Column("kind", "STRING", "kind", allowed=("cab", "van"), max_length=4, pattern="[a-z]+"),
        Column("fare", "DECIMAL(12,2)", "fare", minimum=0, maximum=500),
    ),
    event_time="at",
)
BAD: dict[str, dict[str, Any]] = {
    "expected a value, found none": {"at": None},
    "expected at least 0, found -0.01": {"fare": "-0.01"},
    "expected at most 500, found 500.01": {"fare": "500.01"},
    "expected one of the declared values, found 'bus'": {"kind": "bus"},
    "expected DECIMAL(12,2), found": {"fare": "1.005"},
    "expected at inside 2026-11-20, found 2026-11-21T00:00:00+00:00: the row belongs to 2026-11-21": {
        "at": START + timedelta(days=1)
    },
    "expected at inside 2026-11-20, found 2026-11-19T23:59:59+00:00: the row belongs to 2026-11-19": {
        "at": START - timedelta(seconds=1)
    },
}


def rides(rows: int, bad: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = [{"id": n, "at": START + timedelta(seconds=n), "kind": "cab", "fare": "1.50"} for n in range(rows)]
    for number, change in enumerate(bad):
        made[number * 3 + 1] |= change
    return made


def landed(rows: list[dict[str, Any]], form: str, folder: Path) -> bytes:
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows, pa.schema([(n, t) for n, t in TYPES.items()])), folder / "made")
        return (folder / "made").read_bytes()
    texts = [
        {k: "" if v is None else v.isoformat() if isinstance(v, datetime) else str(v) for k, v in row.items()}
        for row in rows
    ]
    if form == "csv":
        return ("id,at,kind,fare\n" + "".join(",".join(row.values()) + "\n" for row in texts)).encode()
    lines = [
        "{" + ",".join(f'"{k}":' + (v if k == "id" else f'"{v}"') for k, v in row.items() if v) + "}\n" for row in texts
    ]
    return "".join(lines).encode()


TYPES = {"id": pa.int64(), "at": pa.timestamp("ns", "UTC"), "kind": pa.string(), "fare": pa.string()}


class Shop:
    """One dataset of one day."""

    def __init__(self, folder: Path, form: str, contract: Contract = CONTRACT, **source: Any) -> None:
        self.folder, self.form, self.contract = folder, form, contract
        self.landing = LocalStore(folder / "landing")
        self.source = SourceSpec(url="landing", format=form, **source)  # type: ignore[arg-type]
        self.ledger = Ledger(
            LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"), vault=LocalStore(folder / "vault")
        )

    def land(self, rows: list[dict[str, Any]], name: str = "a") -> None:
        self.landing.write(f"{DAY}-{name}.{self.form}", landed(rows, self.form, self.folder))

    def run(self, *overrides: Override, contract: Contract | None = None) -> StageReport:
        return ingest(
            self.ledger,
            asset=ASSET,
            landing=self.landing,
            source=self.source,
            contract=contract or self.contract,
            grain="day",
            partitions=[DAY],
            now=NOW,
            overrides=overrides,
        )


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_few_rows_that_break_a_rule_become_letters_and_the_day_is_published(tmp_path: Path, form: str) -> None:
    shop = Shop(tmp_path, form)
    shop.land(rides(1_000, list(BAD.values())))
    report = shop.run()
    assert not report.refused and report.rows == 1_000 - len(BAD)
    letters = list_letters(shop.ledger, ASSET)
    assert [letter.record for letter in letters] == [number * 3 + 2 for number in range(len(BAD))]
    for letter, reason in zip(letters, BAD, strict=True):
        assert letter.reason.startswith(reason), letter
    assert [letter.belongs for letter in letters] == [""] * 5 + ["2026-11-21", "2026-11-19"]
    schema = next(verdict for verdict in report.outcomes[0].verdicts if verdict.check == "schema")
    assert schema.details["belonging"] == {"2026-11-19": 1, "2026-11-21": 1}
    assert "of other partitions" in schema.message


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("change", "check"), [({"fare": "-1"}, "values"), ({"at": START + timedelta(days=1)}, "partition")])
def test_above_the_share_the_day_is_refused_by_the_check_of_the_rule_and_a_person_publishes_all_of_it(
    tmp_path: Path, form: str, change: dict[str, Any], check: str
) -> None:
    shop = Shop(tmp_path, form)
    shop.land(rides(100, [change] * 2))
    shop.land([{**row, "id": row["id"] + 1_000} for row in rides(100, [change] * 3)], "b")
    report = shop.run()
    assert [outcome.partition for outcome in report.refused] == [DAY]
    closed = {verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate}
    assert closed == {check}
    assert list_letters(shop.ledger, ASSET) == []
    root = last_refusal(shop.ledger.lake, ASSET, DAY).root
    again = shop.run(Override(ASSET, DAY, root, (check,), "known to be so", "ada"))
    assert not again.refused and again.rows == 200


def test_rows_of_the_wrong_type_and_broken_rules_count_into_one_share(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "csv")
    shop.land(rides(200, [{"fare": "x"}, {"fare": "-1"}]))
    assert not shop.run().refused
    shop.land(rides(200, [{"fare": "x"}, {"fare": "-1"}, {"fare": "-1"}]))
    report = shop.run()
    assert {verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate} == {"values"}


def test_the_rule_of_a_warning_sets_nothing_aside(tmp_path: Path) -> None:
    columns = tuple(
        Column("fare", "DECIMAL(12,2)", "fare", minimum=0, severity="warn") if c.name == "fare" else c
        for c in CONTRACT.columns
    )
    shop = Shop(tmp_path, "csv", Contract("rides", "1.0.0", columns, event_time="at"))
    shop.land(rides(1_000, [{"fare": "-1"}]))
    report = shop.run()
    assert not report.refused and report.rows == 1_000
    assert any(v.check == "values" and v.severity == "warn" and not v.passed for v in report.outcomes[0].verdicts)


def test_a_wider_tolerance_takes_a_row_of_the_neighbour_where_it_lies(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "csv")
    shop.land(rides(1_000, [{"at": START - timedelta(seconds=1)}]))
    assert shop.run().rows == 999
    wider = Contract("rides", "1.0.1", CONTRACT.columns, event_time="at", tolerance=timedelta(minutes=1))
    shop.land(rides(1_000, [{"at": START - timedelta(seconds=1)}]))
    report = shop.run(contract=wider)
    assert not report.refused and report.rows == 1_000 and list_letters(shop.ledger, ASSET) == []


def test_a_key_that_stands_twice_is_a_matter_of_the_whole_partition(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "csv")
    shop.land(rides(1_000, [{"id": 0}]))
    report = shop.run()
    assert {verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate} == {"values"}


def test_a_column_without_any_value_that_day_breaks_none_of_its_rules(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "csv")
    shop.land([{**row, "kind": None, "fare": None} for row in rides(10, [])])
    assert not shop.run().refused
