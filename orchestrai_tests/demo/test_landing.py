"""The demo's landing: the same bytes for a seed, plausible days, and planted faults where the summary says."""

import csv
import hashlib
import json
import sqlite3
from datetime import date, timedelta
from pathlib import Path

import pytest

from orchestrai.contracts.odcs import load_contract
from orchestrai.demo.demo_landing import LandingSummary, write_landing
from orchestrai.errors import ConfigError
from orchestrai.ingest.sources.stream_log import StreamLog

PIPELINES = Path(__file__).resolve().parents[2] / "orchestrai" / "pipelines"


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LandingSummary:
    return write_landing(tmp_path_factory.mktemp("landing"), days=42, click_days=21, hours=6)


def _orders(made: LandingSummary, day: str) -> list[dict[str, str]]:
    with (made.folder / "orders" / f"{day}.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _good_days(made: LandingSummary) -> list[str]:
    return sorted(path.stem for path in (made.folder / "orders").iterdir() if path.stem != made.bad_day)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made: LandingSummary, tmp_path: Path) -> None:
    again = write_landing(tmp_path / "again", days=42, click_days=21, hours=6)
    assert _digests(again.folder) == _digests(made.folder)
    other = write_landing(tmp_path / "other", seed=8, days=42, click_days=21, hours=6)
    assert _digests(other.folder)["orders/2026-10-19.csv"] != _digests(made.folder)["orders/2026-10-19.csv"]


def test_summary_counts_what_is_on_disk(made: LandingSummary) -> None:
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    assert (made.objects, made.size) == (len(files), sum(path.stat().st_size for path in files))
    assert made.orders == (min(_good_days(made)), max(_good_days(made)))
    assert len(list((made.folder / "readings").iterdir())) == 6 * 12


def test_orders_have_the_columns_of_the_contract_and_no_saturday(made: LandingSummary) -> None:
    contract = load_contract(PIPELINES / "churn" / "orders.contract.yaml")
    for day in _good_days(made):
        assert date.fromisoformat(day).weekday() != 5
        rows = _orders(made, day)
        assert list(rows[0]) == [column.source for column in contract.columns]
        assert {row["InvoiceDate"][:10] for row in rows} == {day}
        assert all(float(row["UnitPrice"]) > 0 for row in rows)
        assert all((int(row["Quantity"]) < 0) == row["InvoiceNo"].startswith("C") for row in rows)


def test_some_customers_are_blank_and_some_days_have_no_cancellation(made: LandingSummary) -> None:
    days = [_orders(made, day) for day in _good_days(made)]
    rows = [row for day in days for row in day]
    assert 0.05 < sum(not row["CustomerID"] for row in rows) / len(rows) < 0.5
    assert any(all(row["InvoiceNo"].isdigit() for row in day) for day in days)
    assert any(row["InvoiceNo"].startswith("C") for row in rows)


def test_the_planted_day_lost_its_rows_and_its_clock(made: LandingSummary) -> None:
    bad = _orders(made, made.bad_day)
    week_before = _orders(made, str(date.fromisoformat(made.bad_day) - timedelta(days=7)))
    assert len(bad) < 0.1 * len(week_before)
    assert min(row["InvoiceDate"] for row in bad) == "1970-01-01 00:00:00"
    assert "#REF!" in {row["UnitPrice"] for row in bad}


def test_only_the_planted_micro_batch_is_broken(made: LandingSummary) -> None:
    broken = {}
    for path in (made.folder / "readings").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                fine = not isinstance(json.loads(line)["temperature"], str)
            except json.JSONDecodeError:
                fine = False
            if not fine:
                broken[f"readings/{path.name}"] = broken.get(f"readings/{path.name}", 0) + 1
    assert broken == {made.bad_batch: 4}


def test_readings_lie_in_the_batch_that_names_them_and_numbers_never_repeat(made: LandingSummary) -> None:
    seen: set[tuple[str, int]] = set()
    for path in sorted((made.folder / "readings").iterdir()):
        if f"readings/{path.name}" == made.bad_batch:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            reading = json.loads(line)
            assert path.stem[:13] == reading["ts"][:13]
            assert int(path.stem[14:]) <= int(reading["ts"][14:16]) < int(path.stem[14:]) + 5
            assert (reading["device_id"], reading["seq"]) not in seen
            seen.add((reading["device_id"], reading["seq"]))


def test_clicks_name_known_customers_and_items(made: LandingSummary) -> None:
    items = {json.loads(line)["item_id"] for line in (made.folder / "items" / "items.jsonl").read_text().splitlines()}
    events: set[str] = set()
    for path in (made.folder / "clicks").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            click = json.loads(line)
            assert click["item_id"] in items
            assert click["user_id"].isdigit()
            assert click["ts"][:10] == path.stem
            assert click["event_id"] not in events
            events.add(click["event_id"])
    assert len(events) > 1000


def _sent(folder: Path, topic: str) -> list[bytes | None]:
    return [record.value for record in StreamLog(folder, topic).read({0: 0}, 10**6, 10**9, 0)]


def test_streams_hold_what_the_files_would_once_however_often_it_runs(made: LandingSummary, tmp_path: Path) -> None:
    for _ in range(2):
        again = write_landing(
            tmp_path / "landing", days=42, click_days=21, hours=6, streams=tmp_path / "streams", database=tmp_path / "db"
        )
    assert again.rows == made.rows and not (tmp_path / "landing" / "readings").exists()
    for topic in ("readings", "clicks"):
        files = sorted((made.folder / topic).iterdir())
        assert _sent(tmp_path / "streams", topic) == [line for path in files for line in path.read_bytes().splitlines()]
    with sqlite3.connect(tmp_path / "db") as database:
        lines = database.execute("SELECT count(*), count(DISTINCT invoice_date) FROM purchases").fetchone()
        bad = database.execute("SELECT count(*) FROM purchases WHERE invoice_date LIKE ?", (f"{made.bad_day}%",)).fetchone()
    assert lines[0] > sum(len(_orders(made, day)) for day in _good_days(made)) and bad[0] > 20


def test_another_seed_does_not_mix_into_a_stream(tmp_path: Path) -> None:
    write_landing(tmp_path / "landing", days=28, click_days=1, hours=6, streams=tmp_path / "streams")
    with pytest.raises(ConfigError, match="found others"):
        write_landing(tmp_path / "landing", seed=8, days=28, click_days=1, hours=6, streams=tmp_path / "streams")


def test_scale_multiplies_rows(tmp_path: Path) -> None:
    small = write_landing(tmp_path / "one", days=28, click_days=7, hours=6)
    large = write_landing(tmp_path / "three", days=28, click_days=7, hours=6, scale=3)
    assert 2.6 < large.rows / small.rows < 3.4


def test_too_few_days_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 28 days"):
        write_landing(tmp_path / "landing", days=5)
    assert not (tmp_path / "landing").exists()
