"""Feature tables in other hands: online reads by key."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from orchestrai.errors import FeatureViewError
from orchestrai.features.by_key import newest_rows
from orchestrai.features.by_key.online import OnlineStore, update_online
from orchestrai.features.by_key.online_http import features_app
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.features.conftest import PIPELINES, READINGS, START, Publish, by_hour, readings
from orchestrai_tests.running import compute

IN, OUT = "p/readings/restored", "p/rolling/features"


def view() -> FeatureView:
    spec = {"name": "rolling", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": "device_rolling.sql"}
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES / "telemetry", {"readings": READINGS})


def run(ledger: Ledger) -> None:
    compute(ledger, view(), asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)


def table_of(ledger: Ledger) -> pa.Table:
    dataset = ledger.open(OUT)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        return pa.concat_tables([pq.read_table(file.path) for key in sorted(files) for file in files[key]])


def newest(ledger: Ledger) -> dict[str, tuple[datetime, float | None]]:
    rows = sorted(table_of(ledger).to_pylist(), key=lambda row: row["ts"])
    return {row["device_id"]: (row["ts"], row["temp_avg_10"]) for row in rows}


def served(path: Path, devices: int) -> dict[str, tuple[datetime, float | None]]:
    with OnlineStore(path) as store:
        rows = [store.get(f"d{number:04d}") for number in range(devices)]
    return {str(row.entity[0]): (row.time, row.values["temp_avg_10"]) for row in rows if row is not None}


def test_the_newest_features_are_read_by_key_with_their_version(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    path = tmp_path / "online.sqlite"
    with pytest.raises(FeatureViewError, match="build it"):
        OnlineStore(path)
    rows = readings(8, 60, gap=200)
    hours = by_hour(rows)
    early = sorted(hours)[:2]
    publish(IN, READINGS, {key: hours[key] for key in early})
    run(ledger)
    update_online(ledger, view(), asset=OUT, path=path)
    reader = OnlineStore(path)
    before = reader.get("d0000")
    assert served(path, 8) == newest(ledger) and reader.get("nobody") is None
    publish(IN, READINGS, {key: part for key, part in hours.items() if key not in early})
    run(ledger)
    update = update_online(ledger, view(), asset=OUT, path=path)
    after = reader.get("d0000")
    assert served(path, 8) == newest(ledger) and update.partitions == len(hours) - 2
    assert before is not None and after is not None and after.time > before.time
    assert after.version == reader.version == ledger.open(OUT).version != before.version
    assert update_online(ledger, view(), asset=OUT, path=path).partitions == 0


def test_an_entity_whose_newest_row_was_withdrawn_falls_back(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    base = {"device_id": "d0000", "failed": False, "vibration": 1.0, "temperature": 20.0}
    rows = [{**base, "ts": START + timedelta(hours=hour), "seq": hour} for hour in range(4)]
    other = {**base, "device_id": "d0001", "ts": START + timedelta(hours=3, minutes=1), "seq": 9}
    publish(IN, READINGS, by_hour([*rows, other]))
    run(ledger)
    update_online(ledger, view(), asset=OUT, path=tmp_path / "o.sqlite")
    publish(IN, READINGS, by_hour([other]))
    run(ledger)
    update_online(ledger, view(), asset=OUT, path=tmp_path / "o.sqlite")
    assert served(tmp_path / "o.sqlite", 2) == newest(ledger)
    assert newest(ledger)["d0000"][0] == START + timedelta(hours=2)


def test_features_of_another_definition_are_not_served(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    path, hours = tmp_path / "o.sqlite", by_hour(readings(8, 60, gap=200))
    other = replace(view(), hash="0" * 64)
    publish(IN, READINGS, hours)
    run(ledger)
    update_online(ledger, view(), asset=OUT, path=path)
    last = max(hours)
    compute(ledger, other, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=[last])
    assert update_online(ledger, other, asset=OUT, path=path).entities == len({row["device_id"] for row in hours[last]})
    with OnlineStore(path) as store:
        assert store.definition == other.hash
    answer = TestClient(features_app({"rolling": path})).post("/rolling", json={"keys": [["d0000"]]}).json()
    assert answer["definition"] == other.hash
    # the bytes are the same, the receipts are not
    compute(ledger, other, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
    update_online(ledger, other, asset=OUT, path=path)
    assert served(path, 8) == newest(ledger)


def test_a_micro_batch_reaches_the_online_store_by_its_own_files_alone(
    ledger: Ledger, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {
        "name": "rolling", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": "device_rolling.sql",
        "files_every": "5m",
    }  # fmt: skip
    sliced = load_view(FeatureViewSpec.model_validate(spec), PIPELINES / "telemetry", {"readings": READINGS})
    rows = sorted(readings(6, 60, gap=40), key=lambda row: row["ts"])
    hour = f"{START:%Y-%m-%d-%H:00}"
    inside = [row for row in rows if row["ts"] < START + timedelta(hours=1)]
    path, opened = tmp_path / "online.sqlite", []
    read = newest_rows._in_file
    monkeypatch.setattr(newest_rows, "_in_file", lambda *given: opened.append(given) or read(*given))
    for count in (200, 230, 260):
        publish(IN, READINGS, {hour: [inside[:200], inside[200:230], inside[230:260]][: 1 + (count > 200) + (count > 230)]})
        compute(ledger, sliced, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
        opened.clear()
        update_online(ledger, sliced, asset=OUT, path=path)
        assert served(path, 6) == newest(ledger)
    with ledger.open(OUT).fetched([hour]) as files:
        assert 0 < len(opened) < len(files[hour])


def test_a_client_reads_features_by_key_over_http(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    path = tmp_path / "online.sqlite"
    client = TestClient(features_app({"rolling": path, "other": tmp_path / "none.sqlite"}))
    assert client.post("/rolling", json={"keys": [["d0000"]]}).status_code == 503
    publish(IN, READINGS, by_hour(readings(3, 30)))
    run(ledger)
    update_online(ledger, view(), asset=OUT, path=path)
    version = ledger.open(OUT).version
    answer = client.post("/rolling", json={"keys": [["d0001"], ["nobody"]]}).json()
    found = newest(ledger)["d0001"]
    assert answer["version"] == version and [row["key"] for row in answer["rows"]] == [["d0001"], ["nobody"]]
    assert (datetime.fromisoformat(answer["rows"][0]["time"]), answer["rows"][0]["values"]["temp_avg_10"]) == found
    never = {"age_seconds": None, "stale": None, "why": None}
    assert answer["rows"][1] == {"key": ["nobody"], "time": None, "values": {}, **never}
    # nobody looked yet which features are stale
    assert (answer["judged"], answer["rows"][0]["stale"]) == (None, None) and answer["rows"][0]["age_seconds"] > 0
    assert client.post("/nothing", json={"keys": [["d"]]}).status_code == 404
    assert client.post("/rolling", json={"keys": []}).status_code == 422
    assert client.get("/").json() == {"rolling": version}
