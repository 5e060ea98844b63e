"""A recall reaches exactly what came of something bad, and everything reached is refused and rolled back."""

import os
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, NotReceipted, RestoreError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import StageReport
from orchestrai.models.registry.versions import versions
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall, recall
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.restore.folder_plan import plan_folder
from orchestrai_tests.copies import copies
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, VIEW, World, uri, written

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
EDGES = int(os.environ.get("ORCHESTRAI_TEST_EDGES", "50000"))


def index(world: World) -> ReceiptIndex:
    return ReceiptIndex.build(world.store, world.keyring)


def roll_back(ledger: Ledger, champion: str, to: str, reason: str) -> StageReport:
    """As the registry does it, for stand-in models without golden rows."""
    dataset = ledger.open(champion, to)
    session = ledger.session(champion, producer("champion"))
    for entry in dataset.files("all").files:
        session.add_entry("all", entry)
    before = dataset.receipt("all")
    inputs = [*before.inputs, InputRef(champion, to, dataset.roots())]
    return session.commit({"all": ()}, inputs=inputs, action="rollback", reason=reason)


def poisoned(world: World) -> str:
    """Two clean days and a clean champion; then a poisoned day, and a champion that learned from it too."""
    for day in DAYS[:2]:
        world.prove({day: day.encode()})
    world.features(DAYS[:2])
    world.train(b"clean")
    clean = world.ledger.open(f"{MODEL}/champion").version
    world.prove({DAYS[2]: b"poison"})
    world.features([DAYS[2]])
    world.train(b"poisoned")
    world.predict()
    return clean


def places(found: object) -> set[tuple[str, str]]:
    return {(d.asset, d.partition) for d in found.derivations if d.receipt}  # type: ignore[attr-defined]


def test_an_object_reaches_exactly_what_was_derived_from_it(world: World) -> None:
    poisoned(world)
    world.prove({"2026-01-03": b"others"}, dataset="churn/clicks")
    found = recall(index(world), uri(DAYS[2]))
    stages = [(f"{ORDERS}/{stage}", DAYS[2]) for stage in ("raw_events", "snapshot", "restored")]
    models = [(f"{MODEL}/{s}", "all") for s in ("training_set", "candidate", "evaluation", "champion", "predictions")]
    assert places(found) == {*stages, (VIEW, DAYS[2]), *models}
    assert {d.root for d in found.of("champion")} == set(world.ledger.open(f"{MODEL}/champion").roots().values())
    assert [d.asset for d in found.of("landing")] == [uri(DAYS[2])]


def test_a_clean_object_reaches_both_champions(world: World) -> None:
    poisoned(world)
    assert len(recall(index(world), uri(DAYS[0])).of("champion")) == 2


def test_a_champion_that_was_only_compared_with_reaches_nothing(world: World) -> None:
    clean = poisoned(world)
    found = recall(index(world), clean)
    assert {d.root for d in found.derivations} == set(world.ledger.open(f"{MODEL}/champion", clean).roots().values()) | {
        d.root for d in found.of("evaluation")
    }
    assert len(found.of("champion")) == len(found.of("evaluation")) == 1


def test_a_target_may_be_a_snapshot_an_object_s_hash_a_partition_or_a_root(world: World) -> None:
    poisoned(world)
    built = index(world)
    whole = places(recall(built, uri(DAYS[2])))
    taken = world.vault.latest(f"{ORDERS}/raw_events").snapshot_id
    assert places(recall(built, taken)) == whole - {(f"{ORDERS}/raw_events", DAYS[2])}
    root = world.ledger.open(VIEW).partitions[DAYS[2]].root
    assert places(recall(built, root)) == places(recall(built, f"{VIEW}@{DAYS[2]}"))
    assert (VIEW, DAYS[2]) in places(recall(built, root[:20]))
    object_hash = next(d.root for d in recall(built, uri(DAYS[2])).of("landing"))
    assert places(recall(built, object_hash)) == whole


def test_a_backup_of_features_is_reached_partition_by_partition(world: World) -> None:
    poisoned(world)
    from orchestrai_tests.running import snapshot

    kept = "churn/customer_rfm/feature_backup"
    snapshot(world.ledger, world.vault, source=VIEW, asset=kept, partitions=list(DAYS), producer=producer("feature_backup"))
    found = places(recall(index(world), uri(DAYS[2])))
    assert [place for place in found if place[0] == kept] == [(kept, DAYS[2])]
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[2])), roll_back)
    assert sorted(world.ledger.open(kept).partitions) == sorted(DAYS[:2])


def test_an_unknown_target_is_a_usage_error(world: World) -> None:
    poisoned(world)
    with pytest.raises(ConfigError, match="in no receipt"):
        recall(index(world), "s3://landing/nothing.csv")


def test_the_index_of_the_vault_equals_that_of_the_lake(world: World) -> None:
    poisoned(world)
    lake = ReceiptIndex.build(world.lake, world.keyring)
    assert recall(lake, uri(DAYS[2])) == recall(index(world), uri(DAYS[2]))


def test_planning_changes_nothing(world: World) -> None:
    poisoned(world)
    before = {info.key for info in world.lake.list()}
    plan_recall(world.ledger, index(world), uri(DAYS[2]))
    assert {info.key for info in world.lake.list()} == before


def test_applying_refuses_what_was_reached_and_serves_the_last_clean_champion(world: World, tmp_path: Path) -> None:
    clean = poisoned(world)
    plan = plan_recall(world.ledger, index(world), uri(DAYS[2]), "bad export")
    assert [(m.asset, m.to) for m in plan.champions] == [(f"{MODEL}/champion", clean)]
    done = apply_recall(world.ledger, plan, roll_back)
    assert done.champions == ()
    assert world.ledger.open(f"{MODEL}/champion").version == clean
    copies(world.ledger.open(f"{MODEL}/champion"), "all", tmp_path)
    for asset in (f"{ORDERS}/restored", VIEW):
        assert DAYS[2] not in world.ledger.open(asset).partitions
    with pytest.raises(NotReceipted, match="bad export"):
        copies(world.ledger.open(f"{MODEL}/training_set"), "all", tmp_path)
    assert done.retrain == tuple(f"{MODEL}/{s}" for s in ("training_set", "candidate", "evaluation", "predictions"))


def listed(world: World) -> dict[str, tuple[tuple[str, ...], str]]:
    found = versions(world.ledger, candidate=f"{MODEL}/candidate", champion=f"{MODEL}/champion")
    return {version.version: (version.aliases, version.withdrawn) for version in found}


def test_a_recalled_version_lists_as_withdrawn_and_never_as_champion(world: World) -> None:
    clean = poisoned(world)
    before = listed(world)
    (poison,) = [version for version, (aliases, _) in before.items() if "champion" in aliases]
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[2]), "bad export"), roll_back)
    after = listed(world)
    assert after[clean] == (("champion",), "")
    assert after[poison][0] == ()
    assert "bad export" in after[poison][1]


def test_a_champion_that_nothing_can_take_the_place_of_is_withdrawn_too(world: World) -> None:
    world.whole(DAYS)
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[0]), "bad export"), roll_back)
    ((aliases, why),) = listed(world).values()
    assert aliases == ()
    assert "bad export" in why


def test_restoring_a_recalled_day_from_a_snapshot_must_be_asked_for(world: World) -> None:
    poisoned(world)
    newest = world.vault.snapshots()[-1]
    plan_folder(world.vault, newest).require_standing()
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[2]), "bad export"), roll_back)
    plan = plan_folder(world.vault, newest)
    assert list(plan.recalled) == [DAYS[2]]
    with pytest.raises(RestoreError, match="bad export"):
        plan.require_standing()
    plan_folder(world.vault, newest, [DAYS[0]]).require_standing()


def test_applying_twice_writes_nothing_more(world: World) -> None:
    poisoned(world)
    built = index(world)
    apply_recall(world.ledger, plan_recall(world.ledger, built, uri(DAYS[2]), "once"), roll_back)
    before = {info.key for info in world.lake.list()}
    again = apply_recall(world.ledger, plan_recall(world.ledger, built, uri(DAYS[2]), "twice"), roll_back)
    assert again.in_force
    assert {info.key for info in world.lake.list()} == before


def test_a_recall_that_died_half_way_is_mended_by_applying_again(world: World) -> None:
    clean = poisoned(world)
    plan = plan_recall(world.ledger, index(world), uri(DAYS[2]))

    def dies(ledger: Ledger, champion: str, to: str, reason: str) -> StageReport:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_recall(world.ledger, plan, dies)
    with pytest.raises(NotReceipted):
        world.ledger.open(f"{MODEL}/champion").receipt("all")
    apply_recall(world.ledger, plan, roll_back)
    assert world.ledger.open(f"{MODEL}/champion").version == clean


def test_retraining_on_clean_data_is_not_refused_and_not_recalled_again(world: World, tmp_path: Path) -> None:
    poisoned(world)
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[2])), roll_back)
    world.train(b"poisoned")
    copies(world.ledger.open(f"{MODEL}/champion"), "all", tmp_path)
    again = plan_recall(world.ledger, index(world), uri(DAYS[2]))
    assert again.retrain == (f"{MODEL}/predictions",)
    assert again.champions == ()


def test_the_same_bad_bytes_landed_again_are_refused(world: World, tmp_path: Path) -> None:
    poisoned(world)
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[2])), roll_back)
    world.land({DAYS[2]: b"poison"})
    with pytest.raises(NotReceipted):
        copies(world.ledger.open(f"{ORDERS}/raw_events"), DAYS[2], tmp_path)
    with pytest.raises(NotReceipted):
        world.back_up([DAYS[2]])
    world.prove({DAYS[2]: b"corrected"})
    copies(world.ledger.open(f"{ORDERS}/restored"), DAYS[2], tmp_path)


def test_a_champion_without_a_clean_predecessor_is_withdrawn(world: World, tmp_path: Path) -> None:
    world.whole(DAYS)
    plan = plan_recall(world.ledger, index(world), uri(DAYS[0]))
    assert [move.to for move in plan.champions] == [""]
    apply_recall(world.ledger, plan, roll_back)
    with pytest.raises(NotReceipted):
        copies(world.ledger.open(f"{MODEL}/champion"), "all", tmp_path)


def test_a_stranger_s_verify_hears_of_the_recall(world: World, tmp_path: Path) -> None:
    poisoned(world)
    apply_recall(world.ledger, plan_recall(world.ledger, index(world), uri(DAYS[2]), "bad export"), roll_back)
    found = verify_model(written(tmp_path, b"poisoned"), vault=world.store, keyring=world.keyring)
    assert any("bad export" in problem.message for problem in found.problems)
    assert verify_model(written(tmp_path, b"clean"), vault=world.store, keyring=world.keyring).ok


def test_a_recall_signed_by_a_stranger_recalls_nothing(world: World) -> None:
    from orchestrai.errors import SignatureInvalid
    from orchestrai.ledger.decisions.recalls import RECALLS

    poisoned(world)
    plan = plan_recall(world.ledger, index(world), uri(DAYS[2]))
    RECALLS.put([world.lake], World().signer, plan.record)
    with pytest.raises(SignatureInvalid):
        world.ledger.open(f"{MODEL}/champion")


def test_a_large_index_answers_exactly() -> None:
    """Objects -> raw -> snapshot -> restored -> features, and models that learn from spans of features."""
    built = ReceiptIndex.empty()
    chains = EDGES // 6
    stages = ("raw_events", "snapshot", "restored", "features")
    nodes, edges = [], []
    for chain in range(chains):
        first = chain * 5 + 1
        nodes.append((first, "object", f"s3://l/{chain}", "", f"{chain:064x}", "", "landing", ""))
        for place, stage in enumerate(stages, 1):
            nodes.append(
                (
                    first + place,
                    "derived",
                    f"p/d/{stage}",
                    str(chain),
                    f"sha256:{first + place:064x}",
                    f"{first + place:064x}",
                    stage,
                    "",
                )
            )
            edges.append((first + place - 1, first + place))
    spans = [range(start, min(start + 2000, chains)) for start in range(0, chains, 1000)]
    for number, span in enumerate(spans):
        model = chains * 5 + 1 + number
        nodes.append(
            (model, "derived", "p/m/champion", "all", f"sha256:{model:064x}", f"{model:064x}", "champion", str(number))
        )
        edges += [(chain * 5 + 5, model) for chain in span]
    built.add_nodes(nodes)
    built.add_edges(edges)
    built.finish()
    assert built.edges == len(edges)
    chain = chains // 2
    found = recall(built, f"s3://l/{chain}")
    expected = {str(number) for number, span in enumerate(spans) if chain in span}
    assert {d.time for d in found.of("champion")} == expected
    assert len(found.derivations) == 5 + len(expected)
