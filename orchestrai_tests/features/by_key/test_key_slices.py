"""Online features column-wise: whatever becomes of files, a key has its newest row, and only changed keys are written."""

import random
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.errors import IntegrityError
from orchestrai.features.by_key import key_slices, online
from orchestrai.features.by_key.entity_keys import key_of, keys_of
from orchestrai.features.by_key.online import OnlineStore, flag_online, update_online
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.features.test_serving import view
from orchestrai_tests.producers import producer

TABLE = "p/rolling/features"
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
Row = tuple[str, datetime, float]
# partition -> file -> rows
Files = Mapping[str, Mapping[str, Sequence[Row]]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_slices, "BLOCK_ROWS", 4)


def table(rows: Sequence[Row], of: FeatureView) -> pa.Table:
    columns: dict[str, Any] = {"device_id": [row[0] for row in rows], "ts": [row[1] for row in rows]}
    for name in of.features:
        columns[name] = pa.array([row[2] for row in rows], pa.float64()).cast(of.schema.field(name).type, safe=False)
    return pa.table([pa.array(columns[field.name], field.type) for field in of.schema], of.schema)


def put(ledger: Ledger, folder: Path, files: Files, of: FeatureView, drop: Sequence[str] = ()) -> None:
    session = ledger.session(TABLE, producer("features"))
    for key, parts in files.items():
        for name, rows in parts.items():
            path = folder / "staged.parquet"
            pq.write_table(table(rows, of), path)
            session.add_file(key, name, path, rows=len(rows))
    session.commit(parameters={"view_hash": of.hash}, drop=drop)


def newest(files: Files) -> dict[str, Row]:
    """What a reader of all rows would say."""
    found: dict[str, Row] = {}
    for parts in files.values():
        for rows in parts.values():
            for row in rows:
                if row[0] not in found or row[1] >= found[row[0]][1]:
                    found[row[0]] = row
    return found


def served(path: Path, names: Sequence[str]) -> dict[str, Row]:
    with OnlineStore(path) as store:
        rows = {name: store.get(name) for name in names}
    return {name: (name, row.time, float(str(row.values["temp_avg_10"]))) for name, row in rows.items() if row is not None}


@pytest.mark.parametrize("seed", range(4))
def test_after_any_history_of_files_each_key_has_its_newest_row(ledger: Ledger, tmp_path: Path, seed: int) -> None:
    rng, of, path = random.Random(seed), view(), tmp_path / "online.sqlite"
    names = [f"d{number:02d}" for number in range(30)]
    keys = [f"2026-01-05-{hour:02d}:00" for hour in range(4)]
    state: dict[str, dict[str, list[Row]]] = {}
    marker = 0.0
    for _ in range(12):
        before = {key: dict(parts) for key, parts in state.items()}
        for _ in range(rng.randint(1, 3)):
            hour = rng.randrange(len(keys))
            parts = state.setdefault(keys[hour], {})
            name, what = f"part-{rng.randrange(4)}.parquet", rng.random()
            if what < 0.2 and name in parts:
                del parts[name]
            elif what < 0.4 and name in parts:
                # rows are taken back: the entities that had them fall back to what other files say
                parts[name] = [row for row in parts[name] if rng.random() < 0.5]
            else:
                rows = []
                for device in rng.sample(names, rng.randint(1, 12)):
                    marker += 1
                    rows.append((device, BEGIN + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000)), marker))
                parts[name] = rows
            if not parts:
                del state[keys[hour]]
        changed = {key: parts for key, parts in state.items() if before.get(key) != parts}
        put(ledger, tmp_path, changed, of, drop=[key for key in before if key not in state])
        update = update_online(ledger, of, asset=TABLE, path=path)
        expected = newest(state)
        assert served(path, names) == expected
        assert update.entities == len(expected)


def written(path: Path) -> dict[int, int]:
    with sqlite3.connect(path) as db:
        return dict(db.execute("SELECT number, rows FROM slice"))


def test_an_update_writes_the_changed_keys_and_slices_stay_few(ledger: Ledger, tmp_path: Path) -> None:
    of, path = view(), tmp_path / "online.sqlite"
    files: dict[str, dict[str, list[Row]]] = {"2026-01-05-00:00": {}}
    files["2026-01-05-00:00"]["part-000.parquet"] = [(f"d{n:04d}", BEGIN, 0.0) for n in range(400)]
    put(ledger, tmp_path, files, of)
    update_online(ledger, of, asset=TABLE, path=path)
    base = written(path)
    assert list(base.values()) == [400]
    total = 0
    for number in range(1, 17):
        at = BEGIN + timedelta(minutes=number)
        rows = [(f"d{(number * 4 + n) % 400:04d}", at, float(number)) for n in range(4)]
        files["2026-01-05-00:00"][f"part-{number:03d}.parquet"] = rows
        put(ledger, tmp_path, files, of)
        before = written(path)
        update_online(ledger, of, asset=TABLE, path=path)
        after = written(path)
        total += sum(rows for slice_, rows in after.items() if slice_ not in before)
        assert len(after) <= 7
    # 16 x 4 keys: each is written again a few times as slices merge, and the 400 others not once
    assert total <= 16 * 4 * 6 and base.items() <= written(path).items()
    assert served(path, [f"d{n:04d}" for n in range(400)]) == newest(files)


def test_a_block_with_another_byte_is_not_read_and_the_store_is_filled_anew(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_slices, "_CACHE", key_slices._Blocks(0))
    of, path = view(), tmp_path / "online.sqlite"
    files = {"2026-01-05-00:00": {"part-0.parquet": [(f"d{n:02d}", BEGIN, float(n)) for n in range(9)]}}
    put(ledger, tmp_path, files, of)
    update_online(ledger, of, asset=TABLE, path=path)
    for part in ("heads", "columns"):
        with sqlite3.connect(path) as db:
            (number, body) = db.execute(f"SELECT id, {part} FROM block ORDER BY low LIMIT 1").fetchone()
            altered = bytearray(body)
            altered[len(altered) // 2] ^= 1
            db.execute(f"UPDATE block SET {part} = ? WHERE id = ?", (bytes(altered), number))
        with pytest.raises(IntegrityError, match="remove the store's file"):
            served(path, ["d00"])
        if part == "columns":
            path.unlink()
        files["2026-01-05-00:00"][f"part-{part}.parquet"] = [("d05", BEGIN + timedelta(minutes=1), 50.0)]
        put(ledger, tmp_path, files, of)
        update_online(ledger, of, asset=TABLE, path=path)
        assert served(path, [f"d{n:02d}" for n in range(9)]) == newest(files)


def test_an_update_that_dies_leaves_what_was_served(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, path = view(), tmp_path / "online.sqlite"
    names = [f"d{n:02d}" for n in range(9)]
    files = {"2026-01-05-00:00": {"part-0.parquet": [(name, BEGIN, 1.0) for name in names]}}
    put(ledger, tmp_path, files, of)
    update_online(ledger, of, asset=TABLE, path=path)
    before, version = newest(files), ledger.open(TABLE).version
    files["2026-01-05-00:00"]["part-1.parquet"] = [(name, BEGIN + timedelta(minutes=1), 2.0) for name in names]
    put(ledger, tmp_path, files, of)
    real, calls = key_slices._packed, []

    def dying(given: pa.Table) -> pa.Buffer:
        calls.append(given)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(given)

    monkeypatch.setattr(key_slices, "_packed", dying)
    with pytest.raises(KeyboardInterrupt):
        update_online(ledger, of, asset=TABLE, path=path)
    with OnlineStore(path) as store:
        assert store.version == version
    assert served(path, names) == before
    monkeypatch.setattr(key_slices, "_packed", real)
    update_online(ledger, of, asset=TABLE, path=path)
    assert served(path, names) == newest(files)


def test_a_reader_sees_one_state_while_slices_are_merged(ledger: Ledger, tmp_path: Path) -> None:
    of, path = view(), tmp_path / "online.sqlite"
    files = {"2026-01-05-00:00": {"part-0.parquet": [(f"d{n:02d}", BEGIN, 1.0) for n in range(9)]}}
    put(ledger, tmp_path, files, of)
    update_online(ledger, of, asset=TABLE, path=path)
    with OnlineStore(path) as store, store.reading():
        first = store.get("d03")
        later = [(f"d{n:02d}", BEGIN + timedelta(minutes=1), 2.0) for n in range(9)]
        files["2026-01-05-00:00"]["part-1.parquet"] = later
        put(ledger, tmp_path, files, of)
        update_online(ledger, of, asset=TABLE, path=path)
        assert first is not None and store.get("d03") == first and store.get("d04").values["temp_avg_10"] == 1.0  # type: ignore[union-attr]
    assert served(path, ["d04"])["d04"][2] == 2.0


def test_a_stale_flag_is_of_the_partition_whose_row_is_served(ledger: Ledger, tmp_path: Path) -> None:
    of, path = view(), tmp_path / "online.sqlite"
    first, second = "2026-01-05-00:00", "2026-01-05-01:00"
    files = {
        first: {"part-0.parquet": [("d1", BEGIN, 1.0), ("d2", BEGIN, 1.0)]},
        second: {"part-0.parquet": [("d2", BEGIN + timedelta(hours=1), 2.0)]},
    }
    put(ledger, tmp_path, files, of)
    update_online(ledger, of, asset=TABLE, path=path)
    with OnlineStore(path) as store:
        assert store.get("d1").stale is None  # type: ignore[union-attr]
        flag_online(path, {first: "late rows"}, BEGIN)
        rows = store.get("d1"), store.get("d2")
    assert [(row.stale, row.judged) for row in rows if row] == [("late rows", BEGIN), ("", BEGIN)]


def test_a_store_of_the_layout_before_is_filled_anew(ledger: Ledger, tmp_path: Path) -> None:
    of, path = view(), tmp_path / "online.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript("CREATE TABLE latest (entity TEXT); CREATE TABLE held (partition TEXT); PRAGMA user_version = 3;")
    files = {"2026-01-05-00:00": {"part-0.parquet": [("d1", BEGIN, 1.0)]}}
    put(ledger, tmp_path, files, of)
    assert update_online(ledger, of, asset=TABLE, path=path).entities == 1
    assert served(path, ["d1"]) == newest(files)
    # another definition of the view: what it did not compute is served no more
    other = replace(of, hash="0" * 64)
    assert update_online(ledger, other, asset=TABLE, path=path).entities == 0
    assert served(path, ["d1"]) == {} and online._LAYOUT == 4


@pytest.mark.parametrize("text", ["d1", 'a"b', "a\\b", "Zürich", "tab\t", "", "~", "\x7f"])
def test_keys_of_columns_are_those_of_single_entities(text: str) -> None:
    assert keys_of([pa.array([text, "x"])]).to_pylist() == [key_of([text]), key_of(["x"])]
    columns = [pa.array([text]), pa.array([7]), pa.array([BEGIN], pa.timestamp("us", tz="UTC"))]
    assert keys_of(columns).to_pylist() == [key_of([text, 7, BEGIN.isoformat()])]
