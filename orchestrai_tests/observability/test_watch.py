"""What is wrong is seen from the ledger and a clock alone: nothing runs for it, and nothing is written."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.errors import StorageError
from orchestrai.ledger.receipt import InputRef
from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.watch.dataset_watch import silence
from orchestrai.observability.watch.watcher import watch
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.features.shop import FEATURES, FIRST, KEPT, MODEL, RAW, RESTORED, Shop, sales_of
from orchestrai_tests.observability.simulated import (
    CHAMPION,
    HOUR,
    MODEL_MORE,
    SALES,
    keep,
    land,
    morning,
    of_kind,
    promote,
    shop_with,
)
from orchestrai_tests.producers import producer


def test_a_healthy_shop_has_no_condition_and_looking_writes_nothing(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 0)
    keep(shop, land(shop, 0))
    before = {info.key for store in (shop.runtime.ledger.lake, shop.runtime.ledger.vault) if store for info in store.list()}
    sight = watch(shop.runtime)
    assert sight.conditions == frozenset() and sight.unseen == frozenset()
    after = {info.key for store in (shop.runtime.ledger.lake, shop.runtime.ledger.vault) if store for info in store.list()}
    assert after == before
    assert watch(shop.runtime) == sight, "the same ledger and clock say the same"


def test_a_source_that_stops_is_silent_once_its_next_partition_is_due(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 0)
    keep(shop, land(shop, 0))
    # the day of the 2nd is due twenty hours after its end
    assert of_kind(shop, "silence", FIRST + timedelta(days=2, hours=19)) == []
    (told,) = of_kind(shop, "silence", FIRST + timedelta(days=2, hours=21))
    assert told.subject == SALES and "2026-10-01T" in told.found and "freshness 20h" in told.expected
    shop.now = FIRST + timedelta(days=2, hours=21)
    keep(shop, land(shop, 1))
    assert of_kind(shop, "silence") == []
    # the declared end of the data is waited for, not the end of time
    over = FIRST + timedelta(days=400)
    (told,) = of_kind(shop, "silence", over)
    assert "2026-11-30T04:00" in told.expected


def test_a_pause_that_comes_again_is_waited_for(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    # every third day is closed
    open_days = [number for number in range(9) if number % 3 != 2]
    morning(shop, 8)
    keep(shop, *(land(shop, number) for number in open_days))
    at = FIRST + timedelta(days=9, hours=21)
    assert of_kind(shop, "silence", at) == []
    assert len(of_kind(shop, "silence", at + timedelta(days=1))) == 1
    alone = shop_with(tmp_path / "steady")
    morning(alone, 7)
    keep(alone, *(land(alone, number) for number in range(8)))
    assert len(of_kind(alone, "silence", at)) == 1


def test_without_a_promise_nobody_is_silent(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop", contract="")
    morning(shop, 0)
    keep(shop, land(shop, 0))
    assert list(silence(shop.runtime, shop.runtime.project.dataset(SALES), FIRST + timedelta(days=40))) == []


def test_what_is_in_no_snapshot_for_longer_than_declared_is_told(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 0)
    land(shop, 0)
    assert of_kind(shop, "unprotected", shop.now + 25 * HOUR) == []
    (told,) = of_kind(shop, "unprotected", shop.now + 27 * HOUR)
    assert told.severity == "critical" and "no run has taken it" in told.found
    shop.run(RAW, "2026-10-01")
    (told,) = of_kind(shop, "unprotected", shop.now + 27 * HOUR)
    assert "in no counted snapshot" in told.found
    shop.run(KEPT, "2026-10-01")
    assert of_kind(shop, "unprotected", shop.now + 27 * HOUR) == []


def test_refused_rows_and_closed_gates_are_told_until_they_are_mended(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 0)
    keep(
        shop,
        land(shop, 0, sales_of(FIRST) + "c0,2026-10-01T01:00:00+00:00,5\n" * 200 + "c1,2026-10-01T03:00:00+00:00,many\n"),
    )
    (letters,) = of_kind(shop, "dead_letters")
    assert letters.subject == SALES and letters.members == ("2026-10-01",) and "1 refused" in letters.found
    morning(shop, 1)
    day = land(shop, 1, "customer_id,ts,cents\nc1,2026-10-07T00:00:00+00:00,5\n")
    shop.runtime.run(shop.runtime.project.nodes[RAW], [day])
    (gate,) = of_kind(shop, "gate_closed")
    assert gate.subject == RAW and gate.members == (day,) and f"orchestrai gate show {RAW} {day}" in gate.remedy
    shop.now += HOUR
    keep(shop, land(shop, 1))
    assert of_kind(shop, "gate_closed") == []


def test_what_changed_under_features_and_labels_is_stale(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 23)
    keep(shop, *(land(shop, number) for number in range(24)))
    shop.run(FEATURES)
    shop.run(f"{MODEL}/training_set")
    assert of_kind(shop, "stale") == []
    keep(shop, land(shop, 9, sales_of(FIRST + timedelta(days=9), cents=7)))
    told = {one.subject: one.found for one in of_kind(shop, "stale")}
    assert set(told) == {FEATURES, f"{MODEL}/training_set"} and all("2026-10-10" in found for found in told.values())


def test_a_drill_that_did_not_run_is_told_a_day_after_its_time(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 0)
    keep(shop, land(shop, 0))
    sunday = datetime.fromisoformat("2026-10-04T03:30:00+00:00")
    assert of_kind(shop, "drill_overdue", sunday + 23 * HOUR) == []
    (told,) = of_kind(shop, "drill_overdue", sunday + 25 * HOUR)
    assert told.subject == f"{SALES}/drill" and told.found == "none ever" and "vault drill" in told.remedy
    shop.now = sunday + 26 * HOUR
    shop.run(f"{SALES}/drill")
    assert of_kind(shop, "drill_overdue") == []
    (told,) = of_kind(shop, "drill_overdue", sunday + timedelta(days=8, hours=1))
    assert "2026-10-05T" in told.found


def judge(shop: Shop) -> None:
    """Publish features, a training set, a candidate and its evaluation of what is restored now, with receipts and no training."""
    ledger = shop.runtime.ledger
    before = RESTORED
    for asset, stage in (
        (FEATURES, "features"),
        *((f"{MODEL}/{one}", one) for one in ("training_set", "candidate", "evaluation")),
    ):
        inputs = [InputRef(before, ledger.open(before).version)]
        session = ledger.session(asset, producer(stage))
        # features of a moment, models of everything
        key = "2026-10-26" if asset == FEATURES else "all"
        session.add_bytes(key, "a.bin", inputs[0].version.encode(), rows=1)
        session.commit({key: [Verdict("made", True)]}, inputs=inputs)
        before = asset


def test_what_arrived_and_is_in_no_judged_candidate_after_the_sla_is_told(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop", MODEL_MORE)
    morning(shop, 23)
    keep(shop, *(land(shop, number) for number in (22, 23)))
    judge(shop)
    late = datetime.fromisoformat("2026-11-09T09:00:00+00:00")
    assert of_kind(shop, "sla_missed", late) == [], "nothing came since"
    morning(shop, 30)
    keep(shop, *(land(shop, number) for number in (29, 30)))
    monday = datetime.fromisoformat("2026-11-02T04:00:00+00:00")
    assert of_kind(shop, "sla_missed", monday + 3 * HOUR) == []
    (told,) = of_kind(shop, "sla_missed", monday + 5 * HOUR)
    assert told.subject == MODEL and told.members == (SALES,) and "4h" in told.expected
    shop.now = monday + HOUR
    judge(shop)
    assert of_kind(shop, "sla_missed", monday + 5 * HOUR) == []


def test_an_old_champion_and_a_candidate_that_was_refused_are_told(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop", MODEL_MORE)
    promote(shop, True)
    assert of_kind(shop, "champion_old", shop.now + timedelta(days=6)) == []
    (told,) = of_kind(shop, "champion_old", shop.now + timedelta(days=8))
    assert "7d" in told.expected and "8d ago" in told.found
    shop.now += timedelta(days=1)
    promote(shop, False)
    (told,) = of_kind(shop, "promotion_refused")
    assert told.subject == CHAMPION and "auc 0.4" in told.found and of_kind(shop, "gate_closed") == []
    shop.now += timedelta(days=1)
    promote(shop, True)
    assert of_kind(shop, "promotion_refused") == []


def test_a_check_that_holds_nothing_back_is_told_until_the_next_publication_passes_it(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop")
    asset = f"{SALES}/drill"
    for passed in (False, True):
        session = shop.runtime.ledger.session(asset, producer("drill"))
        session.add_bytes("all", "drill.json", str(passed).encode(), rows=1)
        session.commit(
            {"all": [Verdict("rto", passed, "90 s measured, 60 s declared", "warn"), Verdict("rpo", False, "", "warn")]}
        )
        told = [(one.subject, one.cause, one.found) for one in of_kind(shop, "check_failed")]
        assert told == ([] if passed else [(asset, "rto", "90 s measured, 60 s declared")])


def test_what_cannot_be_looked_at_is_told_and_nothing_under_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shop_with(tmp_path / "shop")
    morning(shop, 0)
    keep(shop, land(shop, 0))

    def down(*_: object, **__: object) -> None:
        raise StorageError("expected an answer, found none")

    monkeypatch.setattr(type(shop.runtime.vault.catalog), "recent", down)
    sight = watch(shop.runtime)
    (told,) = [one for one in sight.conditions if one.subject == SALES]
    assert (told.kind, told.severity) == ("unreadable", "critical") and "found none" in told.found
    unprotected = Condition("unprotected", SALES, "e", "f", "r")
    assert not sight.covers(unprotected) and sight.covers(Condition("unprotected", "late/other", "e", "f", "r"))


def test_a_pipeline_that_is_left_out_is_told_and_what_was_wrong_with_it_is_not_said_to_be_well(tmp_path: Path) -> None:
    from orchestrai.pipeline.load import load_pipelines

    shop = shop_with(tmp_path / "shop")
    other = tmp_path / "other"
    other.mkdir()
    (other / "pipeline.yaml").write_text("pipeline: odd\ndatasets: [{name: x}]\n")
    project = load_pipelines([tmp_path / "shop" / "declared", other], {})
    sight = watch(Runtime(shop.runtime.settings, project, clock=lambda: shop.now))
    (told,) = sight.conditions
    assert (told.kind, told.subject) == ("left_out", "odd") and "odd" in sight.unseen
