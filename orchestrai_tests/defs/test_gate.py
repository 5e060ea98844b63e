"""The gate through Dagster: the good days flow, the bad one does not, in the same run and in any later one."""

from orchestrai_tests.defs.conftest import Project

RAW, SNAPSHOT, RESTORED = (f"churn/orders/{stage}" for stage in ("raw_events", "snapshot", "restored"))


def test_good_days_flow_beside_a_refused_one_and_the_run_is_red(project: Project) -> None:
    bad = project.landed.bad_day
    first, last = project.landed.orders
    result = project.run("churn_orders_ingest", first, last)
    assert not result.success
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed
    assert all(step.endswith("complete") for step in failed)
    for asset in (RAW, SNAPSHOT, RESTORED):
        done = project.materialized(asset)
        assert bad not in done
        assert len(done) >= 20
    ledger = project.runtime.ledger
    raw, kept, restored = (ledger.open(asset) for asset in (RAW, SNAPSHOT, RESTORED))
    assert raw.version == kept.version == restored.version
    assert bad not in raw.partitions


def test_a_later_run_of_only_the_downstream_of_the_bad_day_is_refused(project: Project) -> None:
    bad = project.landed.bad_day
    project.run("churn_orders_ingest", bad)
    assert project.runtime.ledger.find(RAW) is None
    for only in ((SNAPSHOT,), (RESTORED,), (SNAPSHOT, RESTORED)):
        result = project.run("churn_orders_ingest", bad, only=only)
        assert not result.success
    assert project.runtime.ledger.find(SNAPSHOT) is None
    assert project.runtime.ledger.find(RESTORED) is None


def test_a_day_on_which_nothing_is_due_counts_as_done(project: Project) -> None:
    result = project.run("churn_orders_ingest", "2026-10-10")
    assert result.success
    assert project.materialized(RESTORED) == {"2026-10-10"}
    assert project.runtime.ledger.find(RAW) is None


def test_the_second_run_changes_nothing(project: Project) -> None:
    first, _ = project.landed.orders
    project.run("churn_orders_ingest", first)
    heads = [project.runtime.ledger.head(asset) for asset in (RAW, SNAPSHOT)]
    assert project.run("churn_orders_ingest", first).success
    assert [project.runtime.ledger.head(asset) for asset in (RAW, SNAPSHOT)] == heads
