"""A step that had nothing to do for an asset that is not cut: Dagster is told only where it does not know it as it is."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.reporting.stage_events import report_events
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai_tests.defs.conftest import Project

CANDIDATE = "churn/churn/candidate"


def _run(
    project: Project, instance: dg.DagsterInstance, version: str, *, standing: bool, read: str = "r1"
) -> dg.ExecuteInProcessResult:
    """A run of an upstream asset at a version, and of one whose step reports so."""
    node = project.runtime.project.nodes[CANDIDATE]
    report = StageReport(node.asset, version, (PartitionOutcome("all", True, version, standing=standing),))

    @dg.asset(key="above")
    def above() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion(read))

    @dg.asset(key=asset_key(node.asset), deps=["above"], dagster_type=dg.Nothing, code_version="c1")  # type: ignore[call-overload, untyped-decorator]
    def below(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from report_events(context, node, report, {}, {})

    return dg.materialize([above, below], instance=instance)


def _kinds(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.event_type_value for event in result.all_events if event.asset_key == asset_key(CANDIDATE)} & {
        "ASSET_MATERIALIZATION",
        "ASSET_OBSERVATION",
    }


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_what_dagster_knows_as_it_is_is_observed(project: Project, instance: dg.DagsterInstance) -> None:
    assert _kinds(_run(project, instance, "v1", standing=False)) == {"ASSET_MATERIALIZATION"}
    assert _kinds(_run(project, instance, "v1", standing=True)) == {"ASSET_OBSERVATION"}
    # made again and equal: its inputs were seen
    assert _kinds(_run(project, instance, "v1", standing=False)) == {"ASSET_MATERIALIZATION"}


def test_what_dagster_knows_otherwise_is_told(project: Project, instance: dg.DagsterInstance) -> None:
    # a database that knows nothing
    assert _kinds(_run(project, instance, "v1", standing=True)) == {"ASSET_MATERIALIZATION"}
    # another version, as after a rollback
    assert _kinds(_run(project, instance, "v2", standing=True)) == {"ASSET_MATERIALIZATION"}
    # of another version of its input, so that Dagster does not call it out of date for ever
    assert _kinds(_run(project, instance, "v2", standing=True, read="r2")) == {"ASSET_MATERIALIZATION"}
    assert _kinds(_run(project, instance, "v2", standing=True, read="r2")) == {"ASSET_OBSERVATION"}
