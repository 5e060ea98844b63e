"""Typing on real local Spark: the same bytes as the embedded path, whatever lands."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.readers import spark_typing
from orchestrai.ingest.readers.spark_typing import Original, grouped
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.copies import copies
from orchestrai_tests.ingest.conftest import NOW
from orchestrai_tests.running import ingest

DAY, ASSET = "2026-11-20", "shop/clicks/raw_events"


@pytest.fixture
def spark(spark_session: Any) -> Any:
    return spark_session


def lines(first: int, count: int, bad: int = -1) -> bytes:
    rows = [
        f'{{"user_id": "u{n}", "item": {chr(34) + "x" + chr(34) if n == bad else n}, "ts": "{DAY}T10:00:00Z", "weight": {n / 8}}}\n'
        for n in range(first, first + count)
    ]
    return "".join(rows).encode()


def land(landing: LocalStore) -> None:
    """Small ones, a packed one, one with a bad row, and one so large that it has a part of its own."""
    landing.write(f"{DAY}-a.jsonl", lines(0, 50))
    landing.write(f"{DAY}-b.jsonl.gz", gzip.compress(lines(50, 50), mtime=0))
    landing.write(f"{DAY}-c.jsonl", lines(100, 4_000))
    landing.write(f"{DAY}-d.jsonl", lines(5_000, 300, bad=5_007))
    landing.write(f"{DAY}-e.jsonl", lines(6_000, 20))


def made(folder: Path, landing: LocalStore, contract: Contract, above: str, spark: Any) -> tuple[Ledger, Any]:
    ledger = Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"), vault=LocalStore(folder / "vault"))
    source = SourceSpec(url="landing", format="jsonl", spark_above=above)
    report = ingest(
        ledger,
        asset=ASSET,
        landing=landing,
        source=source,
        contract=contract,
        grain="day",
        partitions=[DAY],
        now=NOW,
        spark=(lambda: spark) if above else None,
    )
    return ledger, report


@pytest.mark.spark
def test_spark_and_the_embedded_path_give_the_same_bytes_and_letters(
    tmp_path: Path, landing: LocalStore, clicks: Contract, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("readers.object_reader", "partition", "readers.spark_typing"):
        monkeypatch.setattr(f"orchestrai.ingest.{module}.SMALL_BYTES", 100_000)
    land(landing)
    here, embedded = made(tmp_path / "here", landing, clicks, "", None)
    there, typed = made(tmp_path / "there", landing, clicks, "1KB", spark)
    assert not embedded.refused and embedded.rows == 4_419
    assert typed.facts["partitions_on_spark"] == 1 and "partitions_on_spark" not in embedded.facts
    assert typed.version == embedded.version
    parts = [file.path for file in there.open(ASSET).files(DAY).files if file.role == "data"]
    assert len(parts) == 3  # small ones together, the large one, small ones together
    assert list_letters(there, ASSET) == list_letters(here, ASSET) and len(list_letters(here, ASSET)) == 1
    files = copies(there.open(ASSET), DAY, tmp_path / "fetched")
    assert len(files) == 3  # every byte that Spark wrote is what its receipt says


@pytest.mark.spark
def test_an_object_that_cannot_be_read_closes_the_gate_there_too(
    tmp_path: Path, landing: LocalStore, clicks: Contract, spark: Any
) -> None:
    landing.write(f"{DAY}-a.jsonl", lines(0, 50))
    landing.write(f"{DAY}-b.jsonl", b"\x00" * 2_000)
    _, embedded = made(tmp_path / "here", landing, clicks, "", None)
    _, typed = made(tmp_path / "there", landing, clicks, "1KB", spark)
    assert [v.message for v in typed.refused[0].verdicts] == [v.message for v in embedded.refused[0].verdicts]


def test_below_the_declared_size_no_session_is_asked_for(tmp_path: Path, landing: LocalStore, clicks: Contract) -> None:
    land(landing)
    _, report = made(tmp_path / "here", landing, clicks, "10GB", None)
    assert not report.refused and "partitions_on_spark" not in report.facts


def test_small_neighbours_share_a_part_and_a_large_object_has_its_own() -> None:
    limit = spark_typing.SMALL_BYTES
    sizes = [1, 2, limit + 1, limit + 2, 3, limit, limit + 1]
    groups = grouped([Original(n, "", "", size, "") for n, size in enumerate(sizes)])
    assert [[original.index for original in group] for group in groups] == [[0, 1], [2], [3], [4, 5], [6]]
