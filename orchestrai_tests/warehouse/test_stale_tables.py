"""A table that holds an older version of what is published is told stale, and brought up to date with the next load of it."""

from pathlib import Path

from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.staleness import Cause
from orchestrai_tests.ingest.declaring import hour, opened, reading, run
from orchestrai_tests.warehouse.test_warehouse import declared, fill, load

TABLE, SOURCE = "plant/table/warehouse", "plant/readings/restored"


def stale(runtime: Runtime) -> dict[str, tuple[Cause, ...]]:
    left = stale_assets(runtime.context(), runtime.project.nodes, [TABLE])
    return {one.partition: one.causes for one in left.partitions}


def test_a_table_is_stale_until_the_version_that_is_published_was_loaded(tmp_path: Path) -> None:
    folder, home = declared(tmp_path / "plant", "duckdb:///marts.duckdb"), tmp_path / "home"
    home.mkdir()
    fill(home, *(reading(n) for n in range(5)), reading(30, at=11))
    runtime = opened(folder, home)
    run(runtime, [hour(10), hour(11)])
    load(runtime, hour(10), hour(11))
    assert stale(runtime) == {}
    fill(home, reading(31, at=11))
    runtime.run(runtime.project.nodes["plant/readings/raw_events"], [hour(11)])
    # not restored yet: what would be loaded is stale itself
    assert stale(runtime) == {hour(11): (Cause("upstream", SOURCE, (hour(11),)),)}
    run(runtime, [hour(11)])
    assert [(cause.kind, cause.asset) for cause in stale(runtime)[hour(11)]] == [("changed", SOURCE)]
    # the load of another hour takes it along
    assert load(runtime, hour(10)).facts["partitions_loaded"] == 1
    assert stale(runtime) == {}
