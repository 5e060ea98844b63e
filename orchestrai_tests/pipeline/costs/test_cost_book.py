"""Every run of a node leaves one signed record of what it used and cost, and nothing else depends on it."""

from datetime import datetime
from pathlib import Path

import pytest

from orchestrai.errors import ObjectExists, OrchestraiError, SignatureInvalid, TransientStorageError
from orchestrai.ledger.costs.cost_record import COSTS, costs_of_day, days_of
from orchestrai.ledger.costs.price_table import DECLARED
from orchestrai.ledger.costs.run_meter import note_job
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.runtime import Runtime
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.shop import FEATURES, FIRST, RAW, RESTORED, Shop, sales_of
from orchestrai_tests.observability.simulated import HOUR, keep, land, morning, of_kind
from orchestrai_tests.pipeline.costs.cost_records import records


def in_a_new_process(shop: Shop) -> None:
    shop.runtime = Runtime(shop.runtime.settings, shop.project, clock=lambda: shop.now)


def test_each_working_run_leaves_one_record_whatever_its_partitions_and_a_quiet_one_none(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    morning(shop, 2)
    days = [land(shop, number) for number in range(3)]
    for asset in (RAW, "late/sales/snapshot", RESTORED):
        shop.run(asset, *days)
    found = {record.asset: record for record in records(shop.runtime)}
    assert set(found) == {RAW, "late/sales/snapshot", RESTORED} and len(records(shop.runtime)) == 3
    raw = found[RAW]
    dataset = shop.runtime.ledger.open(RAW)
    assert set(raw.receipts) >= {entry.receipt for entry in dataset.partitions.values()}
    assert (raw.outcome, raw.partitions, raw.rows) == ("published", 3, dataset.rows)
    assert raw.usage.cpu_seconds > 0 and raw.usage.wall_seconds > 0 and raw.usage.peak_rss_bytes > 1e7
    traffic = raw.usage.stores["file"]
    # three days, their originals, manifests, receipts and heads
    assert traffic.writes >= 9 and traffic.reads >= 3 and traffic.bytes_written > 1000
    assert raw.usd == 0.0 and raw.charges == () and raw.prices == ""
    keep(shop, *days)
    assert len(records(shop.runtime)) == 3, "nothing was due, so nothing is written"
    shop.now = morning(shop, 3)
    shop.run(RAW, land(shop, 3))
    (newest,) = [record for record in records(shop.runtime) if record.partitions == 1]
    assert newest.quiet.runs == 3 and newest.quiet.cpu_seconds > 0


def test_versions_and_what_receipts_say_are_those_of_a_run_that_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = []
    for name in ("measured", "not"):
        if name == "not":
            monkeypatch.setattr("orchestrai.pipeline.costs.cost_book.CostBook.perform", lambda self, node, keys, run: run())
        shop = Shop(tmp_path / name)
        days = shop.days(0, 10)
        shop.restored(days)
        shop.run(FEATURES)
        found = {asset: shop.runtime.ledger.open(asset) for asset in (RAW, RESTORED, FEATURES)}
        facts = {asset: sorted(one.ledger.receipt(one.head.receipt).facts) for asset, one in found.items()}
        versions.append(({asset: one.version for asset, one in found.items()}, facts))
    assert versions[0] == versions[1]


def test_a_refused_run_and_one_that_fails_cost_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "shop")
    morning(shop, 0)
    day = land(shop, 0, "customer_id,ts,cents\nc1,2026-10-07T00:00:00+00:00,5\n")
    assert shop.runtime.run(shop.runtime.project.nodes[RAW], [day]).refused
    node = shop.runtime.project.nodes[RESTORED]
    with pytest.raises(OrchestraiError):
        shop.runtime.run(shop.runtime.project.nodes[FEATURES], ["all"])
    assert {(one.asset, one.outcome) for one in records(shop.runtime)} >= {(RAW, "refused"), (FEATURES, "failed")}
    assert node.executable


def test_a_store_that_does_not_answer_is_owed_the_record_and_the_run_ends_as_it_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop")
    morning(shop, 1)
    first, second = land(shop, 0), land(shop, 1)
    write = LocalStore.write

    def no_costs(self: LocalStore, key: str, data: object, **more: bool) -> object:
        if key.startswith("costs/"):
            raise TransientStorageError("expected the store to answer, found 503: wait")
        return write(self, key, data, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "write", no_costs)
        report = shop.run(RAW, first)
    assert "503" in report.measured["orchestrai/cost_problem"] and records(shop.runtime) == []
    assert "orchestrai/cost_problem" not in shop.run(RAW, second).measured
    assert len(records(shop.runtime)) == 2, "what was owed came with the next"


def test_a_record_that_came_though_its_answer_was_lost_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop")
    morning(shop, 1)
    first, second = land(shop, 0), land(shop, 1)
    write = LocalStore.write

    def answer_lost(self: LocalStore, key: str, data: object, **more: bool) -> object:
        done = write(self, key, data, **more)  # type: ignore[arg-type]
        if key.startswith("costs/"):
            raise TransientStorageError("expected the store to answer, found a closed connection: wait")
        return done

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "write", answer_lost)
        assert "orchestrai/cost_problem" in shop.run(RAW, first).measured
    assert "orchestrai/cost_problem" not in shop.run(RAW, second).measured
    assert len(records(shop.runtime)) == 2


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("an SDK's own")], ids=["disk", "sdk"]
)
def test_whatever_a_record_meets_the_run_stands_people_are_told_and_another_process_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    shop = Shop(tmp_path / "shop")
    morning(shop, 1)
    first, second = land(shop, 0), land(shop, 1)
    write = LocalStore.write

    def no_costs(self: LocalStore, key: str, data: object, **more: bool) -> object:
        if key.startswith("costs/"):
            raise error
        return write(self, key, data, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "write", no_costs)
        report = shop.run(RAW, first)
    assert str(error) in str(report.measured["orchestrai/cost_problem"]) and records(shop.runtime) == []
    assert first in shop.runtime.ledger.open(RAW).partitions
    in_a_new_process(shop)
    assert of_kind(shop, "cost_unrecorded") == [], "an outage of minutes is nobody's work"
    (told,) = of_kind(shop, "cost_unrecorded", shop.now + 2 * HOUR)
    assert told.subject == RAW and str(error) in told.found and told.severity == "warning"
    shop.run(RAW, second)
    assert len(records(shop.runtime)) == 2 and of_kind(shop, "cost_unrecorded", shop.now + 2 * HOUR) == []


def test_an_outage_of_the_stage_itself_is_not_asked_once_more_for_its_record(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    node = shop.runtime.project.nodes[RAW]

    def down() -> StageReport:
        raise TransientStorageError("expected the store to answer, found 503: wait")

    with pytest.raises(TransientStorageError):
        shop.runtime.costs.perform(node, ["2026-10-01"], down)
    assert records(shop.runtime) == []
    morning(shop, 0)
    shop.run(RAW, land(shop, 0))
    assert [one.outcome for one in sorted(records(shop.runtime), key=lambda one: one.outcome)] == ["failed", "published"]


def test_jobs_elsewhere_are_in_the_record_and_only_applied_prices_count(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    (tmp_path / "shop" / "home" / "prices.yaml").write_text(
        "apply: [google-dataproc-dcu]\n"
        "prices:\n  - {name: desk, of: run, unit: wall_hour, usd: 3600, date: 2026-11-01, source: what the desk costs}\n"
    )
    in_a_new_process(shop)
    node = shop.runtime.project.nodes[RAW]

    def works() -> StageReport:
        note_job(JobUsage("batch-1", "dataproc", 60.0, units={"dcu_hour": 0.5}))
        note_job(JobUsage("batch-1", "dataproc", 60.0, units={"dcu_hour": 0.5}))
        note_job(JobUsage("run-1", "emr-serverless", 60.0, units={"vcpu_hour": 10.0}))
        return StageReport(
            RAW, None, (), facts={"job": {"name": "train-1", "place": "sagemaker", "billable_seconds": 90, "usd": 0.25}}
        )

    report = shop.runtime.costs.perform(node, [], works)
    (record,) = records(shop.runtime)
    charges = {charge.price: charge for charge in record.charges}
    assert set(charges) == {"google-dataproc-dcu", "desk", DECLARED}
    assert (
        charges["google-dataproc-dcu"].usd == pytest.approx(0.03)
        and charges[DECLARED].usd == 0.25
        and charges[DECLARED].job == "train-1"
    )
    assert charges["desk"].usd == pytest.approx(record.usage.wall_seconds, abs=0.002)
    assert {job.name for job in record.usage.jobs} == {"batch-1", "run-1", "train-1"}
    assert record.prices and report.measured["orchestrai/cost_usd"] == pytest.approx(record.usd)


def test_a_wrong_file_of_prices_is_told_and_stops_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    (tmp_path / "shop" / "home" / "prices.yaml").write_text("apply: [nothing-of-the-kind]\n")
    in_a_new_process(shop)
    morning(shop, 0)
    report = shop.run(RAW, land(shop, 0))
    assert (
        "no prices applied" in report.measured["orchestrai/chosen"]
        and "nothing-of-the-kind" in report.measured["orchestrai/chosen"]
    )
    assert records(shop.runtime)[0].charges == ()


def test_a_record_is_signed_named_by_what_it_says_and_never_overwritten(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    morning(shop, 0)
    shop.run(RAW, land(shop, 0))
    ledger = shop.runtime.ledger
    (record,) = records(shop.runtime)
    key = COSTS.key(record.name)
    assert key.startswith(f"costs/2026-10-02/{RAW}/") and datetime.fromisoformat(record.finished) == shop.now
    with pytest.raises(ObjectExists):
        ledger.lake.write(key, b"other", create=True)
    envelope = ledger.lake.read(key)
    ledger.lake.write(key, envelope.replace(b'"payload":"', b'"payload":"AA'))
    with pytest.raises(SignatureInvalid):
        records(shop.runtime)


def test_days_are_found_with_a_look_each_and_assets_do_not_mix(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    for number in range(3):
        morning(shop, number)
        shop.run(RAW, land(shop, number, sales_of(FIRST.replace(day=1 + number))))
    ledger = shop.runtime.ledger
    assert days_of(ledger.lake) == ["2026-10-02", "2026-10-03", "2026-10-04"]
    assert [one.asset for one in costs_of_day(ledger.lake, ledger.keyring, "2026-10-03", RAW)] == [RAW]
    assert list(costs_of_day(ledger.lake, ledger.keyring, "2026-10-03", "late/sales")) == []
