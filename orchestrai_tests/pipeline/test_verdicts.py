"""Verdicts over the whole graph: what a stage reports of a published partition is what its signed receipt carries."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrai.core.verdict import Audit, Verdict, combined
from orchestrai.errors import IntegrityError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.stage import AssetNode
from orchestrai_tests.backup.kept_shop import CRM, PUBLISHED, fresh
from orchestrai_tests.producers import producer

LOAD = """
load:
  - {name: wide, from: readings, to: "duckdb:///warehouse.duckdb", table: readings}
"""
CHECKS = "checks: {null_rate: {twice: 0.5}, ranges: {twice: [0, 5000]}, coverage: 0.5, freshness: 60d}"
# freshness is judged of the newest features alone; the views changed, so the champion that serves is of another definition and
# there is none to compare with
UNJUDGED = {"features": {"freshness"}, "evaluation": {"champion_unseen", "feature_drift"}}


def carried(ledger: Ledger, node: AssetNode, report: StageReport) -> dict[str, tuple[Verdict, ...]]:
    """What the receipts say of the partitions that a report names as published."""
    published = [outcome.partition for outcome in report.outcomes if outcome.root is not None]
    dataset = ledger.open(node.asset)
    return {key: dataset.receipt(key).verdicts.get(key, ()) for key in published}


def unjudged_of(node: AssetNode, verdicts: Sequence[Verdict]) -> set[str]:
    """The checks of a node that no verdict is of."""
    return {check.name for check in node.checks} - {verdict.check for verdict in verdicts}


@pytest.fixture
def whole(shop: Runtime, tmp_path: Path) -> Runtime:
    """The shop with every check declared that needs no cloud."""
    changes = {
        # features of another text are computed, and judged, anew
        "level + 1": "level + 2",
        'FROM readings"}': f'FROM readings",\n     {CHECKS}}}',
        '{every: "0 2 * * *"}': f'{{every: "0 2 * * *", cold: {{url: "file://{tmp_path}/cold"}}}}',
    }
    return fresh(shop.settings.home, tmp_path / "whole", CRM + LOAD, changes)


def test_what_every_stage_reports_is_what_its_receipts_carry(whole: Runtime) -> None:
    stages = set()
    for node in whole.project.nodes.values():
        if not node.executable:
            continue
        report = whole.run(node, PUBLISHED if node.grain != "all" else ["all"])
        assert not report.refused, (node.asset, report.refused)
        receipts = carried(whole.ledger, node, report)
        assert receipts, node.asset
        for outcome in report.outcomes:
            told = {verdict.check: verdict for verdict in outcome.verdicts}
            kept = {verdict.check: verdict for verdict in receipts[outcome.partition]}
            assert told == kept, (node.asset, outcome.partition)
        # Dagster shows a stage that is not cut by time as one: there a check may be of one of its parts
        shown = list(receipts.values()) if node.grain != "all" else [sum(receipts.values(), ())]
        for verdicts in shown:
            unjudged = unjudged_of(node, verdicts)
            assert unjudged <= UNJUDGED.get(node.stage.name, set()), (node.asset, unjudged)
        stages.add(node.stage.name)
    assert stages >= {
        "raw_events",
        "snapshot",
        "restored",
        "drill",
        "cold_copy",
        "features",
        "feature_backup",
        "training_set",
    }
    assert stages >= {"candidate", "evaluation", "champion", "predictions", "model_backup", "dump", "warehouse"}


def test_features_that_aged_without_a_change_get_a_receipt_that_says_so(whole: Runtime) -> None:
    node = whole.project.nodes["shop/levels/features"]
    whole.run(node, PUBLISHED)
    before = whole.ledger.open(node.asset)
    later = Runtime(whole.settings, whole.project, clock=lambda: before.ledger.clock().replace(year=2027))
    reports = [later.run(node, PUBLISHED) for _ in range(2)]
    for report in reports:
        (aged,) = [v for outcome in report.outcomes for v in outcome.verdicts if v.check == "freshness"]
        assert (aged.passed, aged.severity) == (False, "warn")
        receipts = carried(later.ledger, node, report)
        assert {outcome.partition: outcome.verdicts for outcome in report.outcomes} == receipts
        assert report.version == before.version
    assert len(list(later.ledger.history(node.asset))) == len(list(whole.ledger.history(node.asset)))


def test_a_second_verdict_of_a_check_is_a_fault(ledger: Ledger) -> None:
    audit = Audit()
    audit.add("a", Verdict("schema", True), Verdict("values", True))
    audit.add("b", Verdict("schema", True))
    with pytest.raises(IntegrityError, match="one verdict of schema on a, found a second"):
        audit.add("a", Verdict("schema", False))
    session = ledger.session("churn/orders/raw_events", producer("raw_events"))
    session.add_bytes("a", "part-0.parquet", b"rows")
    with pytest.raises(IntegrityError, match="found a second"):
        session.commit({"a": [Verdict("schema", False, "no"), Verdict("schema", True)]})
    assert ledger.find("churn/orders/raw_events") is None


def test_findings_of_one_check_are_combined_and_the_worst_speaks() -> None:
    passed, noted = Verdict("schema", True, "8 columns"), Verdict("schema", True, "1 row refused", details={"rows": 1})
    warned = Verdict("schema", False, "a new column", "warn", {"diff": ["+ x"]})
    closed, again = Verdict("schema", False, "one is gone"), Verdict("schema", False, "a file is damaged")
    assert combined(passed, noted) == Verdict("schema", True, "8 columns; 1 row refused", details={"rows": 1})
    assert combined(warned, passed).as_json() == warned.as_json()
    # a finding that passes never hides one that does not, whichever comes last
    assert combined(closed, noted).message == combined(noted, closed).message == "one is gone"
    assert combined(warned, closed, again) == Verdict(
        "schema", False, "one is gone; a file is damaged", details={"diff": ["+ x"]}
    )
    with pytest.raises(IntegrityError, match="findings of one check"):
        combined(passed, Verdict("values", True))
