"""Records of a stream read all at once give what they give one by one."""

import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.ingest.readers import json_records
from orchestrai.ingest.sources import stream_rows
from orchestrai.ingest.sources.stream import MicroBatch
from orchestrai.ingest.sources.stream_records import StreamRecord
from orchestrai.pipeline.load import SHIPPED, load_project

MOMENT = datetime(2026, 10, 5, 10, 30, tzinfo=UTC)


def reading(number: int, **other: Any) -> dict[str, Any]:
    at = MOMENT + timedelta(seconds=number)
    row = {
        "device_id": f"press-{number}",
        "ts": at.isoformat(),
        "seq": number,
        "temperature": 20.5 + number,
        "vibration": 1.25,
    }
    return {**row, "failed": number % 2 == 0, **other}


# what a producer sends now and then; each is tried in a batch of good ones
ODD: list[bytes | None] = [
    None, b"", b"{", b"null", b"[]", b"\xff", b'{"a": 1}{"b": 2}', b'{"a":\n1}',
    *(json.dumps(reading(1, **other)).encode() for other in (
        {"temperature": None}, {"temperature": "21.5"}, {"temperature": 1e3}, {"temperature": 500}, {"seq": 1.0}, {"seq": "7"},
        {"seq": 2**70}, {"device_id": 7}, {"device_id": "A B"}, {"device_id": "pr\u00e9ss"}, {"ts": "2026-10-05 10:31"}, {"ts": 1},
        {"more": [1, {"b": None}]},
        {"ts": "1970-01-01T00:00:00Z"}, {"ts": "2030-01-01T00:00:00Z"}, {"failed": "true"}, {"failed": None}, {"vibration": 0.1 + 0.2},
        {"vibration": 3}, {"ts": (MOMENT - timedelta(hours=2)).isoformat()},
    )),
    json.dumps(reading(2)).encode() + b" ", b"\xef\xbb\xbf" + json.dumps(reading(3)).encode(), json.dumps(reading(4)).encode() + b"\r",
    json.dumps(reading(5)).replace("1.25", "NaN").encode(), json.dumps(reading(6)).replace("{", '{"seq": 1, ', 1).encode(),
    json.dumps(reading(7), indent=1).encode(), json.dumps(reading(8)).replace("28.5", "28.50000000000000000000001").encode(),
]  # fmt: skip


@cache
def declared() -> Contract:
    return load_project([SHIPPED / "telemetry"], {}).dataset("telemetry/readings").contract


def read(values: list[bytes | None], monkeypatch: pytest.MonkeyPatch, fewest: int) -> Any:
    monkeypatch.setattr(json_records, "FEWEST", fewest)
    contract = declared()
    late = MOMENT + timedelta(minutes=20)
    records = tuple(StreamRecord(0, number, late, value) for number, value in enumerate(values))
    batch = MicroBatch("t", "log://t", {0: (0, len(values))}, records)
    slices = stream_rows.sliced(batch, contract, "hour", lambda _: set())
    return {key: (part.rows.to_pylist(), part.records, part.letters) for key, part in slices.items()}


def test_a_batch_is_the_same_all_at_once_and_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    good = [json.dumps(reading(number)).encode() for number in range(40)]
    assert json_records.quick_rows is stream_rows.quick_rows
    for place, odd in enumerate(ODD):
        values = [*good[: place % 40], odd, *good[place % 40 :]]
        assert read(values, monkeypatch, 1) == read(values, monkeypatch, 1 << 30), odd
    mixed = [random.Random(1).choice([*good, *ODD]) for _ in range(100)]
    assert read(mixed, monkeypatch, 1) == read(mixed, monkeypatch, 1 << 30)


def test_a_batch_in_order_is_read_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_by_one(index: int, record: StreamRecord) -> Any:
        raise AssertionError(index)

    monkeypatch.setattr(stream_rows, "_parsed", one_by_one)
    good: list[bytes | None] = [json.dumps(reading(number)).encode() for number in range(100)]
    (rows, records, letters) = read(good, monkeypatch, 64)["2026-10-05-10:00"]
    assert len(rows) == len(records) == 100 and not letters
