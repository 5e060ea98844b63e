"""A refused day inside windows and horizons: what is not known is no label, what was short is told, and a repair makes it whole."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.ledger.decisions.skips import SKIPS, Skip
from orchestrai.ledger.report import StageReport
from orchestrai.models.evaluation import CARD_FILE
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.trace import trace
from orchestrai_tests.features.shop import FEATURES, FIRST, KEPT, MODEL, RAW, RESTORED, Shop, rows_of, sales_of

TRAINING, CANDIDATE, EVALUATION, CHAMPION, PREDICTIONS = (
    f"{MODEL}/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion", "predictions")
)
BAD = datetime(2026, 10, 14, tzinfo=UTC)
# seen in the first week, and then again on the refused day alone, often enough to be a 1
ZED = "".join(f"zed,{{day:%Y-%m-%d}}T{hour:02d}:00:00+00:00,100\n" for hour in range(5))
LACKING = f"{RESTORED}@2026-10-14"


class Hole(Shop):
    """Six weeks of sales, one day of which came broken."""

    def arrive(self, *, mended: bool = False) -> list[str]:
        keys = []
        for number in range(42):
            day = FIRST + timedelta(days=number)
            keys.append(f"{day:%Y-%m-%d}")
            text = sales_of(day) + (ZED.format(day=day) if number in (1, 13) else "")
            broken = day == BAD and not mended
            (self.landing / f"{keys[-1]}.csv").write_text(text.replace("customer_id", "who", 1) if broken else text)
        self.now = FIRST + timedelta(days=42, hours=6)
        for asset in (RAW, KEPT, RESTORED):
            self.runtime.run(self.runtime.project.nodes[asset], keys)
        return keys

    def made(self, asset: str) -> StageReport:
        return self.runtime.run(self.runtime.project.nodes[asset], ["all"])

    def learned(self) -> dict[tuple[str, str], int]:
        self.made(FEATURES)
        self.made(TRAINING)
        rows = rows_of(self.runtime.ledger, TRAINING)["all"]
        return {(row["customer_id"], f"{row['event_time']:%m-%d}"): row["label"] for row in rows}

    def verdict(self, asset: str, partition: str, check: str) -> Any:
        verdicts = self.runtime.ledger.open(asset).receipt(partition).verdicts[partition]
        return next(verdict for verdict in verdicts if verdict.check == check)


@pytest.fixture
def hole(tmp_path: Path) -> Hole:
    return Hole(tmp_path / "shop", more="    lookback: {time: 14d}\n")


def test_what_happened_on_a_refused_day_is_not_learned_as_not_happened(hole: Hole) -> None:
    hole.arrive()
    labels = hole.learned()
    assert RESTORED in {ref.asset for ref in hole.runtime.ledger.open(TRAINING).receipt("all").inputs}
    assert "2026-10-14" not in hole.runtime.ledger.open(RESTORED).partitions
    # the horizon of the 12th holds the refused 14th
    assert {moment for _, moment in labels} == {"10-05", "10-19", "10-26", "11-02"}
    assert labels["zed", "10-05"] == 0
    verdict = hole.verdict(TRAINING, "all", "horizons_complete")
    assert (
        not verdict.passed and verdict.severity == "warn" and LACKING in verdict.message and "refused: " in verdict.message
    )
    left_out = hole.runtime.ledger.open(FEATURES).partitions["2026-10-12"].rows
    assert verdict.details["left_out_rows"] == left_out > 0


def test_windows_over_a_refused_day_are_kept_and_told_everywhere(hole: Hole) -> None:
    hole.arrive()
    labels = hole.learned()
    # 14 days before the 19th and the 26th hold the 14th; those before the 2nd do not
    for moment, complete in {"2026-10-12": True, "2026-10-19": False, "2026-10-26": False, "2026-11-02": True}.items():
        assert hole.verdict(FEATURES, moment, "windows_complete").passed is complete
        noted = hole.runtime.ledger.open(FEATURES).files(moment).stats["incomplete"]
        assert noted.get("lacks", {}) == ({} if complete else {RESTORED: ["2026-10-14"]})
    short = sum(1 for _, moment in labels if moment in ("10-19", "10-26"))
    verdict = hole.verdict(TRAINING, "all", "windows_complete")
    assert not verdict.passed and verdict.severity == "warn"
    assert (verdict.details["incomplete_rows"], verdict.details["rows"]) == (short, len(labels))
    facts = hole.runtime.ledger.open(TRAINING).receipt("all").facts["incomplete"]
    assert (facts["windows"], facts["windows_were"]) == (short, "kept") and list(facts["lacking"]) == [LACKING]
    for asset in (CANDIDATE, EVALUATION, CHAMPION, PREDICTIONS):
        hole.made(asset)
    ledger = hole.runtime.ledger
    with ledger.open(EVALUATION).fetched(["all"]) as files:
        card = next(file.path.read_text() for file in files["all"] if file.entry.path == CARD_FILE)
    assert f"{short} rows have windows" in card and "are left out" in card and LACKING in card
    told = trace(ledger, CHAMPION)
    assert f"! windows_complete: {verdict.message}" in trace_text(told)
    assert LACKING in json.dumps(told.as_json()["nodes"]) and "horizons_complete" in trace_text(told)


@pytest.mark.parametrize(("choice", "kept"), [("keep", True), ("drop", False)])
def test_a_model_says_what_becomes_of_short_windows(tmp_path: Path, choice: str, kept: bool) -> None:
    hole = Hole(tmp_path / "shop", more="    lookback: {time: 14d}\n")
    text = (tmp_path / "shop" / "declared" / "pipeline.yaml").read_text()
    (tmp_path / "shop" / "declared" / "pipeline.yaml").write_text(f"{text}    incomplete: {{windows: {choice}}}\n")
    hole.runtime.__dict__.pop("project", None)
    hole.runtime._project = hole.project
    hole.arrive()
    moments = {moment for _, moment in hole.learned()}
    assert moments == ({"10-05", "10-19", "10-26", "11-02"} if kept else {"10-05", "11-02"})


@pytest.mark.parametrize(("at_most", "closed"), [("2%", True), ("90%", False)])
def test_a_share_above_the_declared_one_closes_the_gate(tmp_path: Path, at_most: str, closed: bool) -> None:
    hole = Hole(tmp_path / "shop", more=f"    lookback: {{time: 14d}}\n    checks: {{incomplete: {at_most}}}\n")
    text = (tmp_path / "shop" / "declared" / "pipeline.yaml").read_text()
    (tmp_path / "shop" / "declared" / "pipeline.yaml").write_text(f"{text}    incomplete: {{at_most: {at_most}}}\n")
    hole.runtime._project = hole.project
    hole.arrive()
    features = hole.made(FEATURES)
    # every row of a moment has the same windows
    assert [outcome.partition for outcome in features.refused] == ["2026-10-19", "2026-10-26"]
    report = hole.made(TRAINING)
    shut = {verdict.check for outcome in report.refused for verdict in outcome.verdicts if verdict.closes_gate}
    assert shut == ({"horizons_complete"} if closed else set())


def test_a_repaired_day_makes_features_and_labels_whole_again(hole: Hole, tmp_path: Path) -> None:
    hole.arrive()
    hole.learned()
    hole.arrive(mended=True)
    labels = hole.learned()
    assert labels["zed", "10-12"] == 1 and {moment for _, moment in labels} == {"10-05", "10-12", "10-19", "10-26", "11-02"}
    assert (
        hole.verdict(TRAINING, "all", "windows_complete").passed
        and hole.verdict(TRAINING, "all", "horizons_complete").passed
    )
    assert "incomplete" not in hole.runtime.ledger.open(TRAINING).receipt("all").facts
    whole = Hole(tmp_path / "whole", more="    lookback: {time: 14d}\n")
    whole.arrive(mended=True)
    whole.learned()
    for asset in (FEATURES, TRAINING):
        assert hole.runtime.ledger.open(asset).version == whole.runtime.ledger.open(asset).version


def test_predictions_tell_that_what_they_score_is_short(hole: Hole) -> None:
    hole.arrive()
    hole.learned()
    for asset in (CANDIDATE, EVALUATION, CHAMPION, PREDICTIONS):
        hole.made(asset)
    newest = max(hole.runtime.ledger.open(FEATURES).partitions)
    assert hole.verdict(PREDICTIONS, newest, "windows_complete").passed
    later = Hole(hole.folder.parent / "later", more="    lookback: {time: 30d}\n")
    later.arrive()
    later.learned()
    for asset in (CANDIDATE, EVALUATION, CHAMPION, PREDICTIONS):
        later.made(asset)
    verdict = later.verdict(PREDICTIONS, newest, "windows_complete")
    assert not verdict.passed and verdict.severity == "warn" and LACKING in verdict.message


def test_a_day_that_a_person_left_out_is_told_as_such(hole: Hole) -> None:
    hole.arrive()
    skip = Skip("s1", RAW, "2026-10-14", "any", "export lost", "ada", "2026-11-13T00:00:00+00:00")
    SKIPS.put([hole.runtime.ledger.lake], hole.runtime.ledger.signer, skip)
    (hole.landing / "2026-10-14.csv").unlink()
    for record in hole.runtime.ledger.lake.list(f"quarantine/{RAW}/"):
        hole.runtime.ledger.lake.delete(record.key)
    hole.learned()
    assert "skipped: left out by ada (export lost)" in hole.verdict(TRAINING, "all", "horizons_complete").message
    assert "skipped: left out by ada (export lost)" in hole.verdict(FEATURES, "2026-10-19", "windows_complete").message


def test_a_day_on_which_nothing_is_due_is_no_hole(hole: Hole) -> None:
    contract = hole.folder / "declared" / "sales.contract.yaml"
    contract.write_text(contract.read_text() + '  - {property: closedDates, value: ["2026-10-14"]}\n')
    hole.runtime._project = hole.project
    hole.arrive()
    (hole.landing / "2026-10-14.csv").unlink()
    assert {moment for _, moment in hole.learned()} == {"10-05", "10-12", "10-19", "10-26", "11-02"}
    assert hole.verdict(TRAINING, "all", "horizons_complete").passed
