"""The shipped recommendations over what they are made for: a stream, a real PostgreSQL and an HTTP API (mission row M6)."""

import json
import random
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.demo.items_api import items_api
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.features.shop import rows_of
from orchestrai_tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.emulator
FIRST, NOW = datetime(2026, 9, 7, tzinfo=UTC), datetime(2026, 10, 12, 2, tzinfo=UTC)
DAYS = [FIRST + timedelta(days=number) for number in range(35)]
FEATURES = "recommendations/user_item_affinity/features"
DDL = """CREATE TABLE purchases (line_id bigint PRIMARY KEY, invoice_no text, stock_code text, quantity bigint, unit_price numeric(12,3),
  customer_id text, invoice_date timestamptz, recorded_at timestamptz)"""


def clicked(items: list[str]) -> list[dict[str, Any]]:
    """Six users look at a few items each day."""
    rng = random.Random(8)
    return [
        {
            "event_id": f"e{day:%m%d}{number}", "user_id": f"1000{number % 6}", "item_id": rng.choice(items[:8]),
            "ts": (day + timedelta(minutes=10 * number)).isoformat(), "channel": rng.choice(["email", "ad"]),
        }
        for day in DAYS for number in range(40)
    ]  # fmt: skip


def bought(items: list[str]) -> list[tuple[Any, ...]]:
    """They buy some of them but on Saturdays; one line in five is recorded two days late."""
    rng = random.Random(9)
    rows: list[tuple[Any, ...]] = []
    for day in DAYS:
        for number in range(0 if day.weekday() == 5 else 20):
            at = day + timedelta(minutes=50 * number)
            late = timedelta(days=2 if number % 5 == 0 else 0, seconds=30)
            line = (
                len(rows),
                f"{5000000 + len(rows)}",
                rng.choice(items[:8]),
                1,
                2,
                f"1000{rng.randrange(6)}",
                at,
                at + late,
            )
            rows.append(line)
    return rows


def test_a_stream_a_database_and_an_api_meet_in_one_view(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    url = postgres.database()
    monkeypatch.setenv("PURCHASES_DSN", url)
    settings = load_settings(home=tmp_path / "home", engine="duckdb")
    with items_api() as api:
        with urllib.request.urlopen(api) as answer:
            items = [record["item_id"] for record in json.load(answer)["items"]]
        clicks, purchases = clicked(items), bought(items)
        with psycopg.connect(url, autocommit=True) as database:
            database.execute(DDL)
            database.cursor().executemany(f"INSERT INTO purchases VALUES ({', '.join(['%s'] * 8)})", purchases)
        with StreamLog(settings.home / "streams", "clicks") as log, log.writer(lambda: NOW) as writer:
            writer.append([json.dumps(click).encode() for click in clicks])
        environment = {"PURCHASES_URL": "env://PURCHASES_DSN", "ITEMS_URL": api}
        runtime = Runtime(settings, load_project([SHIPPED / "recommendations"], environment), clock=lambda: NOW)
        nodes = runtime.project.nodes
        for dataset, keys in (
            ("clicks", [f"{day:%Y-%m-%d}" for day in DAYS]),
            ("purchases", [f"{day:%Y-%m-%d}" for day in DAYS if day.weekday() != 5]),
            ("items", ["all"]),
        ):
            for stage in ("raw_events", "snapshot", "restored"):
                report = runtime.run(nodes[f"recommendations/{dataset}/{stage}"], keys)
                assert not report.refused, (dataset, stage, report.refused)
        report = runtime.run(nodes[FEATURES], ["all"])
        assert not report.refused
    found = rows_of(runtime.ledger, FEATURES)
    assert sorted(found) == ["2026-10-05", "2026-10-12"]
    for moment, rows in found.items():
        as_of = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        since = as_of - timedelta(days=28)
        done = [line for line in purchases if since <= line[6] < as_of]
        known = [line for line in done if line[7] < as_of]
        assert len(known) < len(done)
        seen = {(c["user_id"], c["item_id"]) for c in clicks if since <= datetime.fromisoformat(c["ts"]) < as_of}
        assert {(row["user_id"], row["item_id"]) for row in rows} == seen
        for row in rows:
            assert row["buys"] == sum(line[5] == row["user_id"] and line[2] == row["item_id"] for line in known)
            assert row["item_buyers"] == len({line[5] for line in known if line[2] == row["item_id"]})
        assert any(row["bought_together"] for row in rows) and any(row["category"] for row in rows)
