"""What becomes of partitions that needed no work: judged by today's clock where that matters, and reported as published before."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.features.checks import aged
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.stage.recorded_bytes import as_published, with_standing


def judged_today(
    ledger: Ledger,
    producer: Producer,
    view: FeatureView,
    current: Dataset | None,
    keys: Sequence[str],
    facts: Mapping[str, JsonValue],
) -> Dataset | None:
    """The published table, after features that did not change and are older than declared by now, or no longer, got a receipt that
    says so: what is reported of a partition is what its receipt carries."""
    most = view.spec.checks.freshness if isinstance(view.spec, FeatureViewSpec) else None
    if current is None or most is None:
        return current
    now, moved = ledger.clock(), False
    for key in keys:
        receipt, manifest = current.receipt(key), current.files(key)
        judged = receipt.verdicts.get(key, ())
        today = [aged(verdict, now, most) for verdict in judged]
        if [verdict.passed for verdict in today] == [verdict.passed for verdict in judged]:
            continue
        session = ledger.session(current.asset, producer)
        for entry in manifest.files:
            session.add_entry(key, entry)
        session.add_stats(key, **manifest.stats)
        session.commit(
            {key: today},
            inputs=receipt.inputs,
            parameters=receipt.parameters,
            facts=facts,
        )
        moved = True
    return ledger.find(current.asset) if moved else current


def with_unchanged(
    report: StageReport,
    current: Dataset | None,
    keys: Sequence[str],
    facts: Mapping[str, JsonValue],
) -> StageReport:
    """The report with the partitions that needed no work, as published before."""
    if current is None or not keys:
        return report
    return replace(with_standing(report, current, [as_published(current, key) for key in keys]), facts=dict(facts))
