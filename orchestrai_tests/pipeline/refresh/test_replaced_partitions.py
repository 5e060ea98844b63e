"""A partition whose landed content is another than before is told from one that only got more."""

from pathlib import Path

import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.refresh.replaced_partitions import replaced_partitions
from orchestrai_tests.producers import producer

ASSET = "shop/sales/raw_events"


def publish(ledger: Ledger, folder: Path, days: dict[str, list[str]], *, originals: bool) -> None:
    """Days of some originals each, whose rows lie in one file."""
    session = ledger.session(ASSET, producer("raw_events"))
    for day, texts in days.items():
        (folder / "part").write_text("".join(sorted(texts)))
        session.add_file(day, "part-00000.parquet", folder / "part")
        for number, text in enumerate(texts if originals else ()):
            (folder / "original").write_text(text)
            session.add_file(day, f"landed/{number}.csv", folder / "original", role="landed")
    session.commit()


@pytest.mark.parametrize("originals", [True, False])
def test_only_what_is_not_there_any_more_was_replaced(ledger: Ledger, tmp_path: Path, originals: bool) -> None:
    publish(ledger, tmp_path, {"2026-01-01": ["a"], "2026-01-02": ["b"], "2026-01-03": ["c"]}, originals=originals)
    before = ledger.find(ASSET)
    assert replaced_partitions(None, before) == replaced_partitions(before, before) == []
    # one day stays, one gets a second object, one another content, and one is new
    publish(ledger, tmp_path, {"2026-01-02": ["b", "more"], "2026-01-03": ["x"], "2026-01-04": ["d"]}, originals=originals)
    replaced = ["2026-01-03"] if originals else ["2026-01-02", "2026-01-03"]
    assert replaced_partitions(before, ledger.find(ASSET)) == replaced
