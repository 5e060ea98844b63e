"""By default the shipped recommendations halt when purchases stop while clicks go on, whatever the age of both."""

from datetime import UTC, datetime

import pytest

from orchestrai.features.labels import inputs_current
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai_tests.producers import producer

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def restored(ledger: Ledger, dataset: str, *days: str) -> None:
    session = ledger.session(f"recommendations/{dataset}/restored", producer("restored"))
    for day in days:
        session.add_bytes(day, "part-00000.parquet", f"{dataset} {day}".encode(), rows=1)
    session.commit(dict.fromkeys(days, ()))


@pytest.mark.parametrize(
    ("purchases", "clicks", "halts"),
    [
        ("2026-03-05", "2026-03-05", False),
        ("2026-03-05", "2026-03-08", False),  # 48 h between the end of the one and the start of the other
        ("2026-03-05", "2026-03-09", True),
        ("2026-03-09", "2026-03-05", False),
        (None, "2026-03-05", True),
        ("2026-03-05", None, False),
    ],
)
def test_training_halts_when_purchases_stop_while_clicks_go_on(
    ledger: Ledger, purchases: str | None, clicks: str | None, halts: bool
) -> None:
    (pipeline,) = load_project([SHIPPED / "recommendations"], {}).pipelines
    (model,) = pipeline.models
    for dataset, day in (("purchases", purchases), ("clicks", clicks)):
        if day:
            restored(ledger, dataset, "2026-03-01", day)
    restored(ledger, "items", "all")
    verdict = inputs_current(ledger, model, NOW)
    assert verdict.closes_gate == halts, verdict.message
    if halts:
        assert "expected data of recommendations/purchases at most 50h behind recommendations/clicks" in verdict.message
