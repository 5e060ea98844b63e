"""Training rows of one's own: landed, contracted, backed up and restored as any dataset, and joined to what was known."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.reproduce import reproduce
from orchestrai.storage.url import open_store
from orchestrai_tests.features.shop import CONTRACT, FEATURES, FIRST, MODEL, PIPELINE, Shop, rows_of

ASKED = "late/asked"
DATASET = """  - name: asked
    source: {url: landing/asked/, format: csv}
    contract: asked.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-12-01}
    backup: {every: "0 2 * * *"}
features:
"""
SPINE = "    spine: {from: asked, label: buys, horizon: 7d}\n    task: binary\n"


def declare(folder: Path, *changes: tuple[str, str]) -> Path:
    """The shop with rows that somebody brings in place of a label in SQL."""
    label = PIPELINE[PIPELINE.index("    label: {") : PIPELINE.index("    estimator:")]
    text = PIPELINE.replace("MORE\n", "    lookback: {time: 14d}\n").replace("features:\n", DATASET, 1).replace(label, SPINE)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(text)
    (folder / "sales.contract.yaml").write_text(CONTRACT)
    asked = CONTRACT.replace("sales", "asked").replace("name: ts", "name: asked_at").replace("value: ts", "value: asked_at")
    (folder / "asked.contract.yaml").write_text(
        asked.replace("{name: cents, logicalType: integer, required: true}", "{name: buys, logicalType: integer}")
    )
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop")
    declare(shop.folder / "declared")
    shop.runtime._project = load_project([shop.folder / "declared"], {})
    landing = shop.landing.parent / "asked"
    landing.mkdir()
    days = [FIRST + timedelta(days=day) for day in range(8, 26, 3)]
    for day in days:
        # two in three customers, at hours of their own; one nobody knows, and one whose answer is not there yet
        lines = [f"c{n},{(day + timedelta(hours=n)).isoformat()},{n % 2}" for n in range(12) if (n + day.day) % 3]
        lines += [f"nobody,{day.isoformat()},1", f"c0,{(day + timedelta(hours=23)).isoformat()},"]
        (landing / f"{day:%Y-%m-%d}.csv").write_text("customer_id,asked_at,buys\n" + "\n".join(lines) + "\n")
    shop.restored(shop.days(0, 27, 27))
    keys = [f"{day:%Y-%m-%d}" for day in days]
    for stage in ("raw_events", "snapshot", "restored"):
        shop.run(f"{ASKED}/{stage}", *keys)
    shop.features()
    return shop


def test_each_labelled_row_learns_what_was_known_at_its_moment_and_the_model_goes_on_as_any(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = shop.run(f"{MODEL}/training_set")
    ledger = shop.runtime.ledger
    known, trained = rows_of(ledger, FEATURES), ledger.open(f"{MODEL}/training_set")
    with trained.fetched(["all"]) as files:
        rows = [row for file in files["all"] for row in pq.read_table(file.path).to_pylist()]
    assert rows and [*rows[0]] == ["customer_id", "event_time", "label", "n", "cents"]
    for row in rows:
        earlier = [key for key in sorted(known) if datetime.fromisoformat(key).replace(tzinfo=UTC) <= row["event_time"]]
        expected = [one for key in earlier for one in known[key] if one["customer_id"] == row["customer_id"]]
        assert (row["n"], row["cents"]) == ((expected[-1]["n"], expected[-1]["cents"]) if expected else (None, None))
        assert row["label"] == (1 if row["customer_id"] == "nobody" else int(row["customer_id"][1:]) % 2)
    assert report.facts["unlabelled"] == 6 and report.facts["unknown_entities"] == {"spent": 6}
    # what was brought is an input like every other: restored, and named by the receipt
    inputs = {ref.asset: ref.version for ref in trained.receipt("all").inputs}
    assert (
        inputs[f"{ASKED}/restored"] == ledger.open(f"{ASKED}/restored").version == ledger.open(f"{ASKED}/snapshot").version
    )
    with monkeypatch.context() as patch:
        # no engine is chosen for it, so that no Spark starts
        patch.setattr(Runtime, "engine", None)
        assert shop.run(f"{MODEL}/training_set").version == trained.version
    for stage in ("candidate", "evaluation"):
        shop.run(f"{MODEL}/{stage}")
    assert ledger.open(f"{MODEL}/evaluation").receipt("all").facts["task"] == "binary"
    # an empty machine with the vault alone makes the model again, the rows that were brought included
    again = reproduce(
        f"{MODEL}/candidate",
        None,
        vault=open_store(shop.runtime.settings.vault),
        keyring=ledger.keyring,
        home=shop.folder / "reproduced",
        project=shop.runtime.project,
    )
    assert again.first_difference is None and again.ok


@pytest.mark.parametrize(
    ("old", "new", "field", "expected", "found"),
    [
        ("from: asked, label", "from: answers, label", "models[0].spine.from", "one of the datasets sales, asked", "'answers'"),
        ("label: buys", "label: bought", "models[0].spine.label", "a column of asked", "'bought'"),
        ("    spine:", "    label: {sql: x.sql, horizon: 7d}\n    spine:", "models[0].label", "either label", "both"),
        (SPINE, "    task: binary\n", "models[0].label", "either label", "none"),
        ("gap: 7d", "gap: 1d", "models[0].split.gap", "at least 7d", "1d"),
        ("    task: binary\n", "", "models[0].task", "binary, multiclass", "none"),
    ],
)  # fmt: skip
def test_mistakes_of_a_spine_are_told(tmp_path: Path, old: str, new: str, field: str, expected: str, found: str) -> None:
    (checked,) = check_project([declare(tmp_path / "late", (old, new))], {})
    (mistake,) = checked.mistakes
    assert mistake.field == field and expected in mistake.expected and found in mistake.found


def test_a_spine_without_the_entity_or_with_one_of_another_type_is_told(tmp_path: Path) -> None:
    folder = declare(tmp_path / "late")
    contract = folder / "asked.contract.yaml"
    contract.write_text(
        contract.read_text().replace("name: customer_id, logicalType: string", "name: customer_id, logicalType: integer")
    )
    (mistake,) = check_project([folder], {})[0].mistakes
    assert mistake.field == "models[0].spine.from" and "the column customer_id of spent (string)" in mistake.expected
