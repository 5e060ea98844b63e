"""Retention of a declared pipeline: who has it, what models need, and a champion that is rebuilt after everything else went."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrai.errors import DeclarationError, IntegrityError
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.audit_trail import trail
from orchestrai.provenance.recall.reproduce import reproduce
from orchestrai.provenance.verified_records import Records
from orchestrai.settings import Settings
from orchestrai.storage.url import open_store
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.backup.kept_shop import DATABASE, MODEL, PUBLISHED, RAW, VIEW, materialize
from orchestrai_tests.defs.shop import csv_of

RETENTION, PRUNE = "shop/readings/retention", "orchestrai/vault/prune"
EVERY = 'backup: {every: "0 2 * * *"'
KEEP_ONE = {EVERY: f"{EVERY}, keep: {{last: 1}}"}
DAY = PUBLISHED[1]


def decisions(runtime: Runtime) -> dict[int, tuple[str, str]]:
    rows = materialize(runtime, RETENTION).facts["decisions"]
    assert isinstance(rows, list)
    return {row["seq"]: (row["decision"], row["why"]) for row in rows}  # type: ignore[call-overload, index, misc]


def correct_a_day(runtime: Runtime, *stages: str) -> None:
    """Another version of a day lands and runs up to some stage."""
    landed = runtime.settings.home / "landing" / "readings" / f"{DAY}.csv"
    landed.write_text(csv_of(DAY).replace(",true", ",false", 1).replace(",1", ",2", 1))
    for stage in stages:
        assert not materialize(runtime, f"shop/{stage}", [DAY]).refused, stage


@pytest.fixture
def kept(shop: Runtime, tmp_path: Path) -> Runtime:
    """The shop with `keep: {last: 1}` for its events."""
    return kept_shop.fresh(shop.settings.home, tmp_path / "one", changes=KEEP_ONE)


def test_what_has_snapshots_and_a_policy_has_retention_and_nothing_else(tmp_path: Path) -> None:
    nodes = kept_shop.project(tmp_path / "declared").nodes
    own = [node for node in nodes.values() if node.stage.name == "retention"]
    assert {node.asset: node.deps for node in own} == {
        f"{VIEW}/retention": (f"{VIEW}/feature_backup",),
        f"{MODEL}/retention": (f"{MODEL}/model_backup",),
        f"{DATABASE}/retention": (f"{DATABASE}/dump",),
        "orchestrai/instance/retention": ("orchestrai/instance/dump",),
        "orchestrai/definitions/retention": ("orchestrai/definitions/snapshot",),
    }
    assert set(nodes[PRUNE].deps) == {node.asset for node in own}
    assert "Kept: weekly 5, monthly 12." in nodes[f"{VIEW}/retention"].description
    cold = {EVERY: f"{EVERY}, keep: {{last: 1}}, cold: {{url: {tmp_path}/cold}}"}
    node = kept_shop.project(tmp_path / "cold-declared", changes=cold).nodes[RETENTION]
    # what is to be archived is copied before it may go
    assert node.deps == ("shop/readings/snapshot", "shop/readings/cold_copy")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('retention: "every sunday"', "cron"),
        ("retention: {when: never}", "'when'"),
        ("retention: {apply: perhaps}", "apply"),
    ],
)
def test_a_mistaken_retention_is_one_line(tmp_path: Path, wrong: str, told: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        kept_shop.project(tmp_path / "declared", changes={EVERY: f"{EVERY}, {wrong}"})
    assert told in caught.value.message and "\n" not in caught.value.message


def test_a_champion_is_rebuilt_from_the_vault_after_a_corrected_day_took_its_inputs_place(
    kept: Runtime, tmp_path: Path
) -> None:
    champion = kept.ledger.open(f"{MODEL}/champion").version
    correct_a_day(kept, "readings/raw_events", "readings/snapshot", "readings/restored", "levels/features")
    models = f"candidate {MODEL}@{champion[7:15]}; champion {MODEL}@{champion[7:15]}"
    assert decisions(kept) == {2: ("stays", "newest; last 1"), 1: ("stays", models)}
    found = reproduce(
        f"{MODEL}/champion",
        champion,
        vault=open_store(kept.settings.vault),
        keyring=kept.ledger.keyring,
        home=tmp_path / "again",
        project=kept.project,
    )
    assert found.ok and found.version == champion


def test_a_snapshot_goes_once_no_model_needs_it_any_more(kept: Runtime) -> None:
    correct_a_day(kept, "readings/raw_events", "readings/snapshot", "readings/restored", "levels/features")
    assert decisions(kept)[1][0] == "stays"
    for stage in ("training_set", "candidate", "evaluation"):
        materialize(kept, f"{MODEL}/{stage}")
    assert decisions(kept)[1][1] == f"champion {MODEL}@{kept.ledger.open(f'{MODEL}/champion').version[7:15]}"
    materialize(kept, f"{MODEL}/champion")
    assert kept.ledger.open(f"{MODEL}/champion").version == kept.ledger.open(f"{MODEL}/candidate").version
    assert decisions(kept)[1] == ("forgotten", "retention: last 1")


def test_what_is_restored_now_stays_though_a_newer_snapshot_is_there(kept: Runtime) -> None:
    correct_a_day(kept, "readings/raw_events", "readings/snapshot")
    assert "current shop/readings/restored@" in decisions(kept)[1][1]


def test_a_champion_whose_pipeline_declares_it_no_more_is_served_all_the_same(shop: Runtime, tmp_path: Path) -> None:
    correct_a_day(shop, "readings/raw_events", "readings/snapshot", "readings/restored")
    text = kept_shop.declared(tmp_path / "bare", changes=KEEP_ONE) / "pipeline.yaml"
    text.write_text(text.read_text().split("features:")[0])
    bare = Runtime(Settings(home=shop.settings.home), load_project([tmp_path / "bare"], {}))
    assert not any(node.stage.name == "champion" for node in bare.project.nodes.values())
    assert f"champion {MODEL}@" in decisions(bare)[1][1]


def test_inputs_that_a_person_forgot_are_a_warning_that_names_the_model(kept: Runtime) -> None:
    correct_a_day(kept, "readings/raw_events", "readings/snapshot", "readings/restored", "levels/features")
    first = kept.vault.snapshots(RAW)[0]
    kept.vault.forget(first.snapshot_id, reason="by hand")
    report = materialize(kept, RETENTION)
    (verdict,) = report.outcomes[0].verdicts
    assert (verdict.check, verdict.passed, report.refused) == ("model_inputs", False, ())
    assert f"champion {MODEL}@" in verdict.message and DAY in verdict.message


def test_dumps_and_models_go_by_their_own_policies(shop: Runtime) -> None:
    for _ in range(4):
        materialize(shop, f"{DATABASE}/dump")
    report = materialize(shop, f"{DATABASE}/retention")
    assert (report.facts["stay"], len(report.facts["forgotten"])) == (2, 2)  # type: ignore[arg-type]
    assert materialize(shop, f"{DATABASE}/retention").facts["forgotten"] == []
    materialize(shop, f"{MODEL}/model_backup")
    assert materialize(shop, f"{MODEL}/retention").facts["stay"] == 1
    assert materialize(shop, f"{VIEW}/retention").refused  # nothing of it was backed up yet


def test_the_trail_tells_who_forgot_what_under_which_policy(shop: Runtime) -> None:
    for _ in range(3):
        materialize(shop, f"{DATABASE}/dump")
    materialize(shop, f"{DATABASE}/retention")
    events = trail(Records(open_store(shop.settings.vault), shop.ledger.keyring))
    (forgotten,) = [event for event in events if event.action == "forget"]
    assert (forgotten.subject, forgotten.why) == (f"{DATABASE}/dump", "retention: last 2")
    assert forgotten.who.startswith("key ")
    assert [event.subject for event in events if event.action == "retention"] == [f"{DATABASE}/retention"]


def test_a_policy_that_only_shows_forgets_nothing(shop: Runtime, tmp_path: Path) -> None:
    more = kept_shop.CRM.replace("keep: {last: 2}", "keep: {last: 1}, retention: {apply: false}")
    runtime = kept_shop.fresh(shop.settings.home, tmp_path / "dry", more)
    for _ in range(2):
        materialize(runtime, f"{DATABASE}/dump")
    report = materialize(runtime, f"{DATABASE}/retention")
    assert (report.facts["would_go"], report.facts["forgotten"]) == (1, [])
    assert len(runtime.vault.snapshots(f"{DATABASE}/dump")) == 2


def test_the_anchor_learns_what_was_forgotten_and_a_rolled_back_vault_is_left_alone(shop: Runtime, tmp_path: Path) -> None:
    anchored = Runtime(Settings(home=shop.settings.home, anchor=str(tmp_path / "anchor.json")), shop.project)
    for _ in range(4):
        materialize(anchored, f"{DATABASE}/dump")
    (newest,) = anchored.vault.snapshots(f"{DATABASE}/dump")[-1:]
    materialize(anchored, f"{DATABASE}/retention")
    tombstone = next(info for info in anchored.vault.store.list("vault/forgotten/"))
    anchored.vault.store.delete(tombstone.key)
    again = Runtime(anchored.settings, shop.project)
    with pytest.raises(IntegrityError, match="stay forgotten"):
        materialize(again, f"{DATABASE}/retention")
    assert newest in again.vault.snapshots(f"{DATABASE}/dump")


def test_the_vault_is_pruned_as_an_asset_of_the_house(shop: Runtime) -> None:
    for _ in range(3):
        materialize(shop, f"{DATABASE}/dump")
    materialize(shop, f"{DATABASE}/retention")
    report = materialize(shop, PRUNE)
    groups = report.facts["groups"]
    assert isinstance(groups, list) and isinstance(groups[0], Mapping)
    assert [row["what"] for row in groups if isinstance(row, Mapping)][:2] == ["planned for deletion", "deleted"]
    # what was forgotten just now may still be referred to by a writer that began before
    assert (report.facts["deleted"], report.refused) == (0, ())
    head = shop.ledger.head(PRUNE)
    assert head is not None
    assert [ref.asset for ref in shop.ledger.receipt(head.receipt).inputs] == [f"{DATABASE}/retention"]
