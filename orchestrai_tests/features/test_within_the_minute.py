"""From a device's reading in the stream to its features in an inference client's hands, through every stage of the shipped pipeline."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from orchestrai.features.by_key.online_http import features_app
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.features.conftest import PIPELINES, readings

HOUR = "2026-10-05-10:00"
BEGIN = datetime(2026, 10, 5, 10, tzinfo=UTC)
STAGES = [f"telemetry/readings/{stage}" for stage in ("raw_events", "snapshot", "restored")] + [
    "telemetry/device_rolling/features"
]
DEVICES = 20


def body(row: dict[str, Any]) -> bytes:
    plain = {name: value for name, value in row.items() if name != "ts"}
    return json.dumps({**plain, "ts": row["ts"].isoformat()}).encode()


def minute_of(number: int) -> list[bytes]:
    begin = BEGIN + timedelta(minutes=number)
    rows = readings(DEVICES, 9, seed=number, start=begin, gap=3)
    rows = [row for row in rows if row["temperature"] is not None and math.isfinite(row["temperature"])]
    return [body({**row, "seq": 1000 * number + row["seq"]}) for row in rows if row["ts"] < begin + timedelta(minutes=1)]


def test_a_reading_becomes_features_that_a_client_reads_by_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    now = [BEGIN]
    runtime = Runtime(
        load_settings(home=home, engine="duckdb"), load_project([PIPELINES / "telemetry"], {}), clock=lambda: now[0]
    )
    client = TestClient(features_app({"device_rolling": home / "online" / "telemetry" / "device_rolling.sqlite"}))
    for number in range(14):
        now[0] = BEGIN + timedelta(minutes=number + 1)
        sent = minute_of(number)
        with StreamLog(home / "streams", "readings").writer(lambda: now[0]) as writer:
            writer.append(sent)
        if number not in (10, 12, 13):
            continue
        for asset in STAGES:
            report = runtime.run(runtime.project.nodes[asset], [HOUR])
            assert not report.refused, (asset, report.refused)
        answer = client.post("/device_rolling", json={"keys": [["d0003"]]}).json()
        newest = max(item["ts"] for item in map(json.loads, sent) if item["device_id"] == "d0003")
        row = answer["rows"][0]
        assert datetime.fromisoformat(row["time"]) == datetime.fromisoformat(newest)
        assert answer["version"] == runtime.ledger.open(STAGES[-1]).version
        assert row["values"]["temp_n_10m"] > 0
    # the last minutes went on from what the run before them had left
    assert report.facts["from_tail"] == 1 and report.facts["mended"] == 1
