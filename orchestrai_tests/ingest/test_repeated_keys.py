"""A key that is unique in each partition and stands in two is found, exactly, at the cost of what is new."""

import json
import shutil
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.core.verdict import Verdict
from orchestrai.errors import DeclarationError
from orchestrai.ingest.keys.key_audit import CHECK
from orchestrai.ingest.keys.key_hashes import hashed, hashes_of
from orchestrai.ingest.keys.key_index import KeyIndex
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.ingest.declaring import NOW, RAW, declare, hour, opened, reading, run


def batch(values: list[object], kind: pa.DataType) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], ["k"])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["", "a", "b", "ab", "ba", "a\0", "\0a", "é", "aaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaab"]),
        (pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63), 256]),
        (pa.int32(), [0, 1, -1, 2**31 - 1]),
        (pa.bool_(), [True, False]),
        (pa.float64(), [0.0, 1.0, -1.0, 1e300]),
        (pa.date32(), [date(2026, 1, 1), date(1969, 12, 31)]),
        (pa.timestamp("us", tz="UTC"), [datetime(2026, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]),
        (pa.decimal128(12, 2), [Decimal("0.00"), Decimal("0.01"), Decimal("-0.01"), Decimal("9999999999.99")]),
    ],
)
def test_equal_values_have_equal_hashes_wherever_they_stand_and_others_do_not(
    kind: pa.DataType, values: list[object]
) -> None:
    whole = hashed(batch(values, kind))
    assert len(np.unique(whole)) == len(values)
    longer = batch([values[0], *values, values[-1]], kind)
    assert hashed(longer.slice(1, len(values))).tolist() == whole.tolist()
    assert hashed(batch(values[::-1], kind)).tolist() == whole.tolist()[::-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.integers(-5, 5)), min_size=1, max_size=30))
def test_hashes_of_two_columns_are_equal_where_the_pairs_are(rows: list[tuple[str, int]]) -> None:
    pair = pa.RecordBatch.from_arrays(
        [pa.array([text for text, _ in rows], pa.string()), pa.array([number for _, number in rows], pa.int64())], ["a", "b"]
    )
    assert len(set(hashed(pair).tolist())) == len(set(rows))


def test_a_row_without_the_whole_key_has_none(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"a": ["x", None, "x"], "b": [1, 2, None]}), path)
    assert len(hashes_of([path], ("a", "b"))) == 1


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_the_index_answers_by_partition_and_forgets_what_is_no_longer_current(tmp_path: Path) -> None:
    with KeyIndex(tmp_path, ("id",)).held() as index:
        index.add(("d1", "r1"), numbers(1, 2, 3), {})
        index.add(("d2", "r2"), numbers(3, 4), {"d1": "r1"})
        assert {name: list(found) for name, found in index.matches(numbers(3, 9), {"d1": "r1", "d2": "r2"}).items()} == {
            "d1": [3],
            "d2": [3],
        }
        assert list(index.matches(numbers(3), {"d1": "another", "d2": "r2"})) == ["d2"]
    with KeyIndex(tmp_path, ("id",)).held() as index:
        assert index.entries == {("d1", "r1"), ("d2", "r2")}
    with KeyIndex(tmp_path, ("id", "more")).held() as index:
        assert index.entries == frozenset()


@pytest.mark.parametrize("harm", ["gone", "cut", "not json"])
def test_a_damaged_index_is_no_index(tmp_path: Path, harm: str) -> None:
    with KeyIndex(tmp_path, ("id",)).held() as index:
        index.add(("d1", "r1"), numbers(*range(100)), {})
    run = next(tmp_path.glob("*.hashes.npy"))
    if harm == "gone":
        run.unlink()
    elif harm == "cut":
        run.write_bytes(run.read_bytes()[:-64])
    else:
        (tmp_path / "index.json").write_text("{")
    with KeyIndex(tmp_path, ("id",)).held() as index:
        assert index.entries == frozenset()


def test_the_number_of_runs_grows_with_the_logarithm_of_the_history(tmp_path: Path) -> None:
    current = {f"d{number:03d}": "r" for number in range(200)}
    with KeyIndex(tmp_path, ("id",)).held() as index:
        for number, name in enumerate(current):
            index.add((name, "r"), np.arange(number * 50, number * 50 + 50, dtype=np.uint64), current)
        assert len(list(tmp_path.glob("*.hashes.npy"))) <= 6
        assert len(index.entries) == 200
        assert list(index.matches(numbers(0, 9_999), current)) == ["d000", "d199"]


def test_what_a_partition_got_since_is_added_to_what_it_held(tmp_path: Path) -> None:
    current: dict[str, str] = {}
    with KeyIndex(tmp_path, ("id",)).held() as index:
        for number in range(120):
            name, before = f"d{number % 3}", current.get(f"d{number % 3}")
            index.add((name, f"r{number}"), numbers(*range(number * 10, number * 10 + 10)), current, before)
            # one that was refused: the next goes on from the same root as it
            index.add((name, f"refused{number}"), numbers(10_000 + number), current, before)
            current[name] = f"r{number}"
    with KeyIndex(tmp_path, ("id",)).held() as index:
        assert index.entries >= set(current.items())
        assert list(index.matches(numbers(0, 30, 1_199), current)) == ["d0", "d2"]
        assert list(index.matches(numbers(10_003), current)) == []
        # a partition that went back to what it held before is read anew
        assert ("d0", "r0") not in index.entries
        index.add(("d0", "r0"), numbers(*range(10)), {**current, "d0": "r0"})
        assert list(index.matches(numbers(5, 35), {**current, "d0": "r0"})) == ["d0"]
        assert list(index.matches(numbers(35), {**current, "d0": "r0"})) == []
        assert sum(len(run.entries) for run in index._runs) <= 12


def test_an_index_of_whole_partitions_is_read_on(tmp_path: Path) -> None:
    with KeyIndex(tmp_path, ("id",)).held() as index:
        index.add(("d1", "r1"), numbers(1, 2), {})
    stored = json.loads((tmp_path / "index.json").read_text())
    del stored["before"]
    (tmp_path / "index.json").write_text(json.dumps(stored | {"format": 1}))
    with KeyIndex(tmp_path, ("id",)).held() as index:
        assert index.entries == {("d1", "r1")}


SOURCE = "{{url: {}/, format: jsonl, partition_from: filename}}"


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


def land(landing: Path, number: int, ids: Sequence[int]) -> None:
    body = b"\n".join(reading(value, at=number, value=1.0) for value in ids)
    (landing / f"2026-11-22-{number:02d}.jsonl").write_bytes(body)


def plant(tmp_path: Path, landing: Path, contract: str = "", *, key: bool = True) -> Runtime:
    folder = declare(tmp_path / "plant", SOURCE.format(landing), key=key)
    if contract:
        path = folder / "readings.contract.yaml"
        path.write_text(path.read_text().replace("value: at}", f"value: at}}, {contract}"))
    return opened(folder, tmp_path / "home")


def verdict_on(report: StageReport, partition: str) -> Verdict | None:
    outcome = next(outcome for outcome in report.outcomes if outcome.partition == partition)
    return next((verdict for verdict in outcome.verdicts if verdict.check == CHECK), None)


def test_a_key_that_an_earlier_partition_has_is_told_with_key_days_and_rows(tmp_path: Path, landing: Path) -> None:
    land(landing, 8, [1, 2, 3])
    land(landing, 9, [4, 5])
    runtime = plant(tmp_path, landing)
    first = run(runtime, [hour(8), hour(9)], "raw_events")
    assert [verdict_on(first, hour(number)).passed for number in (8, 9)] == [True, True]
    land(landing, 10, [3, 5, 6])
    verdict = verdict_on(run(runtime, [hour(10)], "raw_events"), hour(10))
    assert verdict is not None and not verdict.passed and verdict.severity == "warn"
    assert f"found 2 rows whose id stands in {hour(8)}, {hour(9)} too, such as 3, 5" in verdict.message
    assert verdict.details["keys"] == [
        {
            "key": ["id"],
            "repeated_keys": 2,
            "rows": 2,
            "partitions": {hour(8): 1, hour(9): 1},
            "examples": ["3", "5"],
            "more": False,
        }
    ]
    receipt = runtime.ledger.open(RAW).receipt(hour(10))
    assert CHECK in {each.check for each in receipt.verdicts[hour(10)]}
    assert CHECK in {info.name for info in runtime.project.nodes[RAW].stage.checks(runtime.project.nodes[RAW].subject)}


def test_partitions_of_one_run_are_held_against_each_other(tmp_path: Path, landing: Path) -> None:
    land(landing, 8, [1, 2])
    land(landing, 9, [2, 3])
    report = run(plant(tmp_path, landing), [hour(8), hour(9)], "raw_events")
    assert [verdict_on(report, hour(number)).passed for number in (8, 9)] == [True, False]


def test_a_contract_may_close_the_gate_or_look_away(tmp_path: Path, landing: Path) -> None:
    land(landing, 8, [1])
    land(landing, 9, [1])
    report = run(plant(tmp_path, landing, "{property: keyAcrossPartitions, value: error}"), [hour(8), hour(9)], "raw_events")
    assert [outcome.partition for outcome in report.refused] == [hour(9)]
    runtime = plant(tmp_path, landing, "{property: keyAcrossPartitions, value: error}")
    root = last_refusal(runtime.ledger.lake, RAW, hour(9)).root
    waived = Override(RAW, hour(9), root, (CHECK,), "both meters sent it", "ann")
    assert not runtime.run(runtime.project.nodes[RAW], [hour(9)], overrides=[waived]).refused


def test_what_was_refused_is_not_what_later_partitions_are_held_against(tmp_path: Path, landing: Path) -> None:
    land(landing, 8, [1])
    land(landing, 9, [1])
    closing = plant(tmp_path, landing, "{property: keyAcrossPartitions, value: error}")
    assert [outcome.partition for outcome in run(closing, [hour(8), hour(9)], "raw_events").refused] == [hour(9)]
    # what was refused is not among what later partitions are held against
    land(landing, 9, [2])
    land(landing, 10, [2])
    runtime = plant(tmp_path, landing, "{property: keyAcrossPartitions, value: error}")
    assert not run(runtime, [hour(9)], "raw_events").refused
    assert [outcome.partition for outcome in run(runtime, [hour(10)], "raw_events").refused] == [hour(10)]
    off = plant(tmp_path, landing, "{property: keyAcrossPartitions, value: off}")
    assert verdict_on(run(off, [hour(10)], "raw_events"), hour(10)) is None


def test_another_value_of_the_property_is_refused_with_its_line(tmp_path: Path, landing: Path) -> None:
    with pytest.raises(DeclarationError, match="expected warn, error or off"):
        plant(tmp_path, landing, "{property: keyAcrossPartitions, value: loud}")


def test_the_same_partition_again_is_no_repetition(tmp_path: Path, landing: Path) -> None:
    land(landing, 8, [1, 2])
    runtime = plant(tmp_path, landing)
    run(runtime, [hour(8)], "raw_events")
    land(landing, 8, [1, 2, 3])
    assert verdict_on(run(runtime, [hour(8)], "raw_events"), hour(8)).passed


def test_equal_hashes_of_other_keys_refuse_nothing(tmp_path: Path, landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("key_hashes", "key_audit"):
        monkeypatch.setattr(f"orchestrai.ingest.keys.{module}.hashed", lambda rows: np.zeros(rows.num_rows, np.uint64))
    land(landing, 8, [1, 2])
    land(landing, 9, [3])
    land(landing, 10, [3, 4])
    runtime = plant(tmp_path, landing, "{property: keyAcrossPartitions, value: error}")
    report = run(runtime, [hour(8), hour(9), hour(10)], "raw_events")
    assert [outcome.partition for outcome in report.refused] == [hour(10)]


def test_an_index_that_is_gone_is_made_again_from_the_data(tmp_path: Path, landing: Path) -> None:
    land(landing, 8, [1])
    runtime = plant(tmp_path, landing)
    run(runtime, [hour(8)], "raw_events")
    shutil.rmtree(tmp_path / "home" / "key_index")
    land(landing, 9, [1])
    assert not verdict_on(run(runtime, [hour(9)], "raw_events"), hour(9)).passed


def test_published_partitions_are_not_read_again_for_a_new_one(
    tmp_path: Path, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = plant(tmp_path, landing)
    for number in range(6):
        land(landing, number, [number])
        run(runtime, [hour(number)], "raw_events")
    monkeypatch.setattr(Dataset, "fetched", lambda *_, **__: pytest.fail("a published partition was read"))
    land(landing, 6, [6])
    assert verdict_on(run(runtime, [hour(6)], "raw_events"), hour(6)).passed


def test_a_key_with_the_event_time_needs_no_look_at_other_partitions(tmp_path: Path, landing: Path) -> None:
    folder = declare(tmp_path / "plant", SOURCE.format(landing), key=True)
    path = folder / "readings.contract.yaml"
    path.write_text(path.read_text().replace("required: true}", "required: true, primaryKey: true, primaryKeyPosition: 2}"))
    land(landing, 8, [1])
    assert verdict_on(run(opened(folder, tmp_path / "home"), [hour(8)], "raw_events"), hour(8)) is None
    assert not (tmp_path / "home" / "key_index").exists()


STREAM = "{url: 'log://readings', format: jsonl, stream: {batch_records: 50}}"


def send(home: Path, *records: bytes) -> None:
    stream = StreamLog(home / "streams", "readings")
    with stream.writer(lambda: NOW) as writer:
        writer.append(list(records), key=b"k")


def streamed(tmp_path: Path, rule: str = "warn") -> Runtime:
    folder = declare(tmp_path / "plant", STREAM, key=True)
    path = folder / "readings.contract.yaml"
    path.write_text(path.read_text().replace("value: at}", f"value: at}}, {{property: keyAcrossPartitions, value: {rule}}}"))
    return opened(folder, tmp_path / "home")


def test_a_stream_is_told_a_key_that_another_partition_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    send(home, reading(1, at=8), reading(2, at=8))
    assert verdict_on(run(streamed(tmp_path), [hour(8)], "raw_events"), hour(8)).passed
    # the hour goes on, and the next one begins with a key of its own and with one that the first batch had
    send(home, reading(3, at=8), reading(1, at=9), reading(4, at=9))
    verdict = verdict_on(run(streamed(tmp_path), [hour(9)], "raw_events"), hour(9))
    assert not verdict.passed and f"found 1 rows whose id stands in {hour(8)} too, such as 1" in verdict.message
    # what came in the second batch is known too, and a key within the batch that begins another hour
    send(home, reading(3, at=10), reading(7, at=10), reading(7, at=11))
    report = run(streamed(tmp_path), [hour(10)], "raw_events")
    assert verdict_on(report, hour(10)).details["keys"][0]["partitions"] == {hour(8): 1}  # type: ignore[index, call-overload]
    assert verdict_on(report, hour(11)).details["keys"][0]["partitions"] == {hour(10): 1}  # type: ignore[index, call-overload]


def test_a_batch_is_held_against_the_index_and_reads_no_other_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for number in range(4):
        send(home, *(reading(10 * number + place, at=number) for place in range(5)), reading(100 + number, at=0))
        assert verdict_on(run(streamed(tmp_path), [hour(number)], "raw_events"), hour(number)).passed
    real, read = Dataset.fetched, list[str]()

    def noted(self: Dataset, partitions: Sequence[str], **options: object) -> object:
        read.extend(partitions)
        return real(self, partitions, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "fetched", noted)
    send(home, reading(200, at=0), reading(201, at=5))
    assert verdict_on(run(streamed(tmp_path), [hour(5)], "raw_events"), hour(5)).passed
    # its own hour is read by the rule that a batch repeats no key of it
    assert set(read) <= {hour(0)}


def test_a_stream_whose_contract_closes_the_gate_keeps_the_batch(tmp_path: Path) -> None:
    home = tmp_path / "home"
    send(home, reading(1, at=8))
    run(streamed(tmp_path, "error"), [hour(8)], "raw_events")
    send(home, reading(1, at=9), reading(2, at=8))
    for _ in range(2):
        report = run(streamed(tmp_path, "error"), [hour(9)], "raw_events")
        assert {outcome.partition for outcome in report.refused} == {hour(8), hour(9)}
        assert CHECK in {verdict.check for verdict in report.refused[-1].verdicts if verdict.closes_gate}
    assert list(streamed(tmp_path).ledger.open(RAW).partitions) == [hour(8)]


def test_a_row_of_a_table_that_moved_to_another_partition_is_told(tmp_path: Path) -> None:
    source = "{url: 'sqlite:///plant.sqlite', format: sql, sql: {table: readings, watermark: changed}}"
    folder = declare(tmp_path / "plant", source, key=True)
    path = folder / "readings.contract.yaml"
    extra = "      - {name: changed, physicalType: TIMESTAMP, required: true}\ncustomProperties"
    path.write_text(path.read_text().replace("customProperties", extra))
    (tmp_path / "home").mkdir()
    database = sqlite3.connect(tmp_path / "home" / "plant.sqlite")
    database.execute("CREATE TABLE readings (id INTEGER, at TEXT, value REAL, changed TEXT)")

    def write(number: int, at: int, changed: int) -> StageReport:
        moments = (f"2026-11-22T{at:02d}:00:00+00:00", f"2026-11-22T{changed:02d}:00:00+00:00")
        database.execute("INSERT INTO readings VALUES (?, ?, 1.0, ?)", (number, *moments))
        database.commit()
        return run(opened(folder, tmp_path / "home"), [hour(at)], "raw_events")

    assert verdict_on(write(1, 8, 8), hour(8)).passed
    assert verdict_on(write(2, 8, 9), hour(8)).passed
    verdict = verdict_on(write(2, 9, 10), hour(9))
    assert not verdict.passed and verdict.details["keys"][0]["partitions"] == {hour(8): 1}  # type: ignore[index, call-overload]
