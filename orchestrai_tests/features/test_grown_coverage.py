"""`coverage` of a partition that grows: counted from few files, and always the verdict over all of them."""

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.features.completeness.entity_coverage import NAMED_BY, GrownCoverage
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.plan import Planner
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.features.views.view_inputs import open_inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai_tests.features.conftest import PIPELINES, READINGS, START, Publish
from orchestrai_tests.running import compute

HOUR = f"{START:%Y-%m-%d-%H:00}"
BEFORE = f"{START - timedelta(hours=1):%Y-%m-%d-%H:00}"
RESTORED, FEATURES = "t/r/restored", "t/v/features"
ROWS = (
    "SELECT device_id, ts, COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts, seq ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n "
    "FROM (SELECT device_id, ts, seq FROM readings WHERE temperature > 0) AS q"
)
TIME = (
    "SELECT device_id, ts, COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING "
    "AND CURRENT ROW) AS n FROM readings WHERE temperature > 0"
)
# no row beside a hot one
COOL = (
    "SELECT device_id, ts, n FROM (SELECT device_id, ts, MAX(temperature) OVER (PARTITION BY device_id ORDER BY ts, seq "
    "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n FROM readings) AS q WHERE n < 5"
)
Row = Mapping[str, Any]


def view_of(sql: str, checks: Mapping[str, Any]) -> FeatureView:
    spec = {
        "name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql, "files_every": "5m",
        "checks": {"coverage": 0.9, **checks},
    }  # fmt: skip
    schema = READINGS.with_metadata({"primary_key": "device_id,ts,seq"})
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": schema})


class Grows:
    """An hour that gains a file at a time, and its features, computed as it grows and, in a second table, from nothing."""

    def __init__(self, ledger: Ledger, publish: Publish, view: FeatureView, tails: Path | None) -> None:
        self.ledger, self.publish, self.view, self.tails = ledger, publish, view, tails
        self.files: list[Sequence[Row]] = []
        self.count = 0
        self.before = self.rows(range(4), -3)

    def rows(self, devices: Sequence[int], minute: float, temperature: float = 1.0) -> list[Row]:
        """A reading of each device at about a minute of the hour."""
        found: list[Row] = []
        for device in devices:
            self.count += 1
            moment = START + timedelta(minutes=minute, milliseconds=self.count)
            found.append({"device_id": f"d{device:02d}", "ts": moment, "seq": self.count, "temperature": temperature})
        return found

    def compute(self, asset: str, tails: Path | None) -> StageReport:
        return compute(
            self.ledger, self.view, asset=asset, inputs={"readings": RESTORED}, grain="hour", partitions=[HOUR], tails=tails
        )

    def add(self, rows: Sequence[Row]) -> tuple[StageReport, Verdict]:
        """Another file; the report of the run that takes it up and its `coverage`, which is the one over the whole."""
        self.files.append(rows)
        self.publish(RESTORED, READINGS, {BEFORE: [self.before], HOUR: self.files})
        report = self.compute(FEATURES, self.tails)
        whole = self.compute(f"t/w{len(self.files)}/features", None)
        assert not whole.facts.get("mended")
        mine, theirs = coverage(report), coverage(whole)
        assert mine == theirs
        return report, mine

    def named_by(self) -> dict[str, Any]:
        stats = self.table.files(HOUR).stats
        noted = stats[NAMED_BY]
        assert isinstance(noted, dict)
        return noted

    @property
    def table(self) -> Dataset:
        return self.ledger.open(FEATURES)


def coverage(report: StageReport) -> Verdict:
    (verdict,) = [v for o in report.outcomes if o.partition == HOUR for v in o.verdicts if v.check == "coverage"]
    return verdict


@pytest.fixture(params=["rows", "time"])
def view(request: pytest.FixtureRequest) -> FeatureView:
    """A view that goes on from earlier rows, or from those of the ten minutes before, which lie in another hour."""
    return view_of({"rows": ROWS, "time": TIME}[request.param], {})


@pytest.mark.parametrize(("tailed", "seed"), [(True, 0), (False, 1)])
def test_the_verdict_is_always_that_over_all_files(
    ledger: Ledger, publish: Publish, view: FeatureView, tmp_path: Path, tailed: bool, seed: int
) -> None:
    grows = Grows(ledger, publish, view, tmp_path / "tails" if tailed else None)
    choose = random.Random(seed)
    counts, mended = set(), 0
    for minute in range(4, 60, 9):
        # late rows, entities that come once, that lack features, that come back, rows without an entity
        rows = grows.rows(choose.sample(range(12), choose.randint(1, 5)), minute, choose.choice([1.0, 1.0, -1.0]))
        rows += grows.rows([choose.randint(12, 40)], max(0, minute - choose.choice([0, 0, 3, 30])))
        report, verdict = grows.add(rows)
        counts.add((verdict.details["entities"], verdict.details["with_features"]))
        mended += bool(report.facts.get("mended"))
    assert len(counts) > 3 and mended > 2


def test_a_count_reads_what_is_new_and_the_few_files_that_name_the_rest(
    ledger: Ledger, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows = Grows(ledger, publish, view_of(ROWS, {}), tmp_path / "tails")
    read, opened = list[int](), list[int]()
    grown, inputs = GrownCoverage.verdict, GrownCoverage._input

    def looked_at(self: GrownCoverage, stack: ExitStack) -> Mapping[str, Path]:
        named = inputs(self, stack)
        opened.append(len(named))
        return named

    def verdict(self: GrownCoverage, files: Mapping[str, Path], least: float) -> Verdict:
        found = grown(self, files, least)
        read.append(opened[-1] + len(files))
        return found

    monkeypatch.setattr(GrownCoverage, "_input", looked_at)
    monkeypatch.setattr(GrownCoverage, "verdict", verdict)
    for minute in range(2, 44, 6):
        grows.add(grows.rows(range(8), minute))
    # nothing is noted when the hour grows for the first time, then of each side one file that names all, and a new one
    assert read[1:] == [4] * len(read[1:]) and len(read) > 4
    named = grows.named_by()
    assert len(named["inputs"]) == len(named["features"]) == 1


def test_where_a_file_that_named_entities_is_gone_all_are_counted(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    grows = Grows(ledger, publish, view_of(ROWS, {}), tmp_path / "tails")
    for minute in (2, 8, 14, 20):
        grows.add(grows.rows(range(8), minute))
    # the first file had all eight
    grows.files = [grows.rows([1, 2], 2), *[grows.rows([1, 2, 3], minute) for minute in (8, 14)]]
    _, verdict = grows.add(grows.rows([1], 26))
    assert verdict.details["entities"] == 3


def test_a_note_of_files_that_are_not_there_is_not_believed(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    grows = Grows(ledger, publish, view_of(ROWS, {}), tmp_path / "tails")
    for minute in (2, 8, 14):
        grows.add(grows.rows(range(8), minute))
    rows = grows.rows([3], 20)
    publish(RESTORED, READINGS, {BEFORE: [grows.before], HOUR: [*grows.files, rows]})
    opened = open_inputs(ledger, grows.view, {"readings": RESTORED}, "hour")
    task = Planner(grows.view, opened).tasks([HOUR])[0]
    noted = {**grows.table.files(HOUR).stats, NAMED_BY: {"inputs": ["0" * 64], "features": []}}
    counted = GrownCoverage(DuckDbEngine(), grows.view, opened, task, noted)
    with grows.table.fetched([HOUR]) as files:
        verdict = counted.verdict({file.entry.path: file.path for file in files[HOUR]}, 0.9)
    assert verdict.details["entities"] == 8


def test_an_entity_stays_counted_by_the_files_that_stay_where_its_later_rows_vanish(
    ledger: Ledger, publish: Publish
) -> None:
    grows = Grows(ledger, publish, view_of(COOL, {}), None)
    for minute in (2, 8, 9):
        grows.add(grows.rows(range(4), minute))
    report, verdict = grows.add(grows.rows([0, 1, 2, 3], 7, 9.0))
    assert report.facts["mended"] == 1 and verdict.details["with_features"] == 4
