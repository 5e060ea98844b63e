"""Entities and moments of one's own: what was known of each, what is refused, and what the second clock kept out."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from orchestrai.cli.features import feature_commands
from orchestrai.errors import ConfigError, FeatureViewError
from orchestrai.features.spine.entity_frame import read_frame
from orchestrai.models.promotion import read_metrics
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.features.shop import FEATURES, FIRST, MODEL, Shop, rows_of, sales_of
from orchestrai_tests.features.test_arrival_clock import ARRIVAL, LATE, correct

WHO = {"customer_id": pa.string()}


def frame(path: Path, rows: list[tuple[str, datetime]], **more: list[Any]) -> Path:
    """A frame as a person writes it."""
    who, when = zip(*rows, strict=True)
    table = pa.table({"customer_id": list(who), "event_timestamp": pa.array(when, pa.timestamp("us", "UTC")), **more})
    pq.write_table(table, path)
    return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop that knows a row from its arrival on; a correction of the second day came after all moments."""
    shop = Shop(tmp_path / "shop", ARRIVAL)
    shop.restored(shop.days(0, 27, 9))
    correct(shop)
    shop.features()
    monkeypatch.setattr(feature_commands, "open_runtime", lambda: shop.runtime)
    return shop


def get(path: Path, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out = path.with_name("known.parquet")
    code, text = command("features", "get", "late", "--entities", str(path), "--out", str(out), "--json", *options)
    assert code == 0
    return json.loads(text), pq.read_table(out).to_pylist()


def test_each_row_has_the_newest_features_at_its_moment_and_never_a_correction_that_came_later(shop: Shop) -> None:
    known = rows_of(shop.runtime.ledger, FEATURES)
    asked = [("c0", FIRST + timedelta(days=day, hours=day % 3)) for day in (25, 3, 11, 11, 12, 0)]
    asked += [("nobody", FIRST + timedelta(days=20)), ("c3", FIRST + timedelta(days=18))]
    path = frame(shop.folder / "who.parquet", asked, churned=[number % 2 for number in range(len(asked))])
    told, rows = get(path, "--known-at", "arrival")
    # the order, the doubled row and the label are the frame's own
    assert [(row["customer_id"], row["event_timestamp"]) for row in rows] == asked
    assert [row["churned"] for row in rows] == [number % 2 for number in range(len(asked))]
    for row, (who, when) in zip(rows, asked, strict=True):
        earlier = [key for key in sorted(known) if datetime.fromisoformat(key).replace(tzinfo=UTC) <= when]
        expected = [one for key in earlier for one in known[key] if one["customer_id"] == who]
        assert (row["n"], row["cents"]) == ((expected[-1]["n"], expected[-1]["cents"]) if expected else (None, None))
        assert row["cents"] is None or row["cents"] < LATE
        assert row["spent_time"] is None or row["spent_time"] <= when
        assert row["windows_complete"]
    (view,) = told["views"]
    assert (view["unknown_entities"], view["nothing_known"], told["incomplete_rows"]) == (1, 3, 0)
    assert view["clocks"] == {"sales": "arrival"} and view["version"] == shop.runtime.ledger.open(FEATURES).version


def test_a_csv_frame_gives_the_same_as_a_parquet_one_and_goes_out_as_csv(shop: Shop) -> None:
    moments = [FIRST + timedelta(days=day) for day in (13, 20)]
    path = frame(shop.folder / "who.parquet", [("c0", moment) for moment in moments])
    text = "customer_id,event_timestamp\n" + "".join(f"c0,{moment:%Y-%m-%dT%H:%M:%S}\n" for moment in moments)
    (shop.folder / "who.csv").write_text(text)
    out = shop.folder / "known.csv"
    code, _ = command(
        "features", "get", "late", "--entities", str(shop.folder / "who.csv"), "--view", "spent", "--out", str(out)
    )
    assert code == 0
    wanted = get(path)[1]
    assert [row["cents"] for row in csv.read_csv(out).to_pylist()] == [row["cents"] for row in wanted]
    code, shown = command("features", "get", "late", "--entities", str(path))
    assert code == 0 and "The first of 2 rows" in shown and str(wanted[0]["cents"]) in shown


def test_a_window_over_a_day_that_lacks_is_told_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "holed", "    lookback: {time: 7d}\n")
    keys = shop.days(0, 27, 9)
    shop.restored([key for key in keys if key != "2026-10-09"])
    shop.features()
    monkeypatch.setattr(feature_commands, "open_runtime", lambda: shop.runtime)
    path = frame(shop.folder / "who.parquet", [("c0", FIRST + timedelta(days=day)) for day in (5, 12, 20)])
    told, rows = get(path)
    assert [row["windows_complete"] for row in rows] == [True, False, True]
    assert (told["incomplete_rows"], told["lacking"]) == (1, {"late/sales/restored": ["2026-10-09"]})
    # this view reads by the time of events alone, which is said and refused where arrival is asked for
    assert told["views"][0]["clocks"] == {"sales": "event"}
    with pytest.raises(FeatureViewError, match=r"expected tables\.sales\.known_at for --known-at arrival"):
        get(path, "--known-at", "arrival")


def test_what_a_correction_would_have_leaked_is_counted_for_the_training_set_and_told_on_the_card(shop: Shop) -> None:
    shop.restored(shop.days(27, 48, 7))
    shop.features()
    for stage in ("training_set", "candidate", "evaluation"):
        shop.run(f"{MODEL}/{stage}")
    ledger = shop.runtime.ledger
    (verdict,) = [
        v for v in ledger.open(f"{MODEL}/training_set").receipt("all").verdicts["all"] if v.check == "second_clock"
    ]
    # in plain words: over all moments, the rows of the 28 days before each that had not come by then
    late, moments = 0, [datetime.fromisoformat(key).replace(tzinfo=UTC) for key in ledger.open(FEATURES).partitions]
    for moment in moments:
        for number in range(48):
            day = FIRST + timedelta(days=number)
            if not moment - timedelta(days=28) <= day < moment:
                continue
            batch = 9 if number < 27 else 7
            first = number // 9 * 9 if number < 27 else 27 + (number - 27) // 7 * 7
            came = FIRST + timedelta(days=first + batch, hours=6)
            rows = len(sales_of(day).splitlines()) - 1
            late += rows if came >= moment else 0
            late += rows if number == 1 and datetime(2026, 10, 28, 6, tzinfo=UTC) >= moment else 0
    assert late > 0 and verdict.details["late_rows"] == late == verdict.details["by_table"]["late/sales/restored"]
    assert verdict.passed and f"{late} input rows were known only after" in verdict.message
    evaluation = ledger.open(f"{MODEL}/evaluation")
    assert read_metrics(evaluation)["second_clock"] == verdict.message
    with evaluation.fetched(["all"]) as files:
        card = next(file.path.read_text() for file in files["all"] if file.entry.path == "model_card.md")
    assert verdict.message in card


REFUSED = {
    "no moment": ("customer_id\nc0\n", "found no event_timestamp"),
    "no entity": ("who,event_timestamp\nc0,2026-10-01\n", "found no customer_id"),
    "no time": ("customer_id,event_timestamp\nc0,soon\n", "expected times such as"),
    "mixed zones": ("customer_id,event_timestamp\nc0,2026-10-01T00:00:00Z\nc1,2026-10-01T00:00:00\n", "all with a zone or all without"),
    "an empty moment": (
        "customer_id,event_timestamp\nc0,2026-10-01\nc1,\n",
        "event_timestamp in every row, found 1 without, the first in row 2",
    ),
    "an empty entity": ("customer_id,event_timestamp\n,2026-10-01\n", "expected customer_id in every row"),
    "doubled": ("customer_id,customer_id,event_timestamp\na,b,2026-10-01\n", "each column once"),
    "ragged": ("customer_id,event_timestamp\na\n", "expected a readable file"),
    "nothing": ("", "expected a readable file"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_frame_that_is_none_is_refused_with_the_column_at_fault(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    (tmp_path / "who.csv").write_text(text)
    with pytest.raises(FeatureViewError, match=message):
        read_frame(tmp_path / "who.csv", WHO)


def test_other_frames_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    (tmp_path / "who.txt").write_text("customer_id")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"customer_id": ["c0"], "event_timestamp": [3]}), tmp_path / "number.parquet")
    for name, message in {
        "who.txt": "ends in .csv or .parquet",
        "bad.parquet": "expected a readable file",
        "number.parquet": "expected event_timestamp to be a time",
        "absent.csv": "found none",
    }.items():
        with pytest.raises(FeatureViewError, match=message):
            read_frame(tmp_path / name, WHO)
    (tmp_path / "typed.csv").write_text("customer_id,event_timestamp\nc0,2026-10-01\n")
    with pytest.raises(FeatureViewError, match="expected customer_id of type int64"):
        read_frame(tmp_path / "typed.csv", {"customer_id": pa.int64()})


def test_entities_keep_their_zeros_and_times_without_a_zone_are_utc(tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text(
        "customer_id,event_timestamp\n007,2026-10-01T02:00:00+02:00\n008,2026-10-01T00:00:00+00:00\n"
    )
    spine = read_frame(tmp_path / "who.csv", WHO).spine
    assert spine.column("customer_id").to_pylist() == ["007", "008"]
    assert spine.column("event_timestamp").to_pylist() == [FIRST, FIRST]


def test_a_column_that_a_feature_would_be_written_over_and_an_unknown_view_are_refused(shop: Shop) -> None:
    path = frame(shop.folder / "who.parquet", [("c0", FIRST)], cents=[1])
    with pytest.raises(FeatureViewError, match="names of their own beside the features, found cents"):
        get(path)
    for options, message in (
        (("--view", "nothing"), "expected views of spent"),
        (("--known-at", "never"), "event or arrival"),
    ):
        with pytest.raises(ConfigError, match=message):
            get(path, *options)
    with pytest.raises(ConfigError, match="expected a pipeline of late"):
        command("features", "get", "nowhere", "--entities", str(path))
