"""`orchestrai vault ...` on what is no event: by every name a person may use, into a database, out of a cold tier."""

import json
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, RestoreError
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.backup.conftest import published_shop
from orchestrai_tests.backup.kept_shop import DATABASE, MODEL, VIEW, materialize
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.servers.postgres import PostgresServer

__all__ = ["published_shop"]


@pytest.fixture
def kept(published_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A shop with a backup of each kind, and a shell there."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CRM_URL", str(kept_shop.make_sqlite(tmp_path / "crm.sqlite")))
    runtime = kept_shop.fresh(kept_shop.copied(published_shop, tmp_path / "home"), tmp_path / "declared")
    monkeypatch.setenv("ORCHESTRAI_HOME", str(runtime.settings.home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "declared"))
    monkeypatch.chdir(tmp_path)
    for asset in (f"{VIEW}/feature_backup", f"{MODEL}/model_backup", "orchestrai/definitions/snapshot"):
        materialize(runtime, asset)
    return runtime


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("shop/levels", "shop/levels/features"),
        ("shop/levels/feature_backup", "shop/levels/features"),
        ("shop/alarm", "shop/alarm/registry"),
        ("shop/alarm/model_backup", "shop/alarm/registry"),
        ("shop/readings", "shop/readings/raw_events"),
        ("shop/readings/snapshot", "shop/readings/raw_events"),
        ("orchestrai/definitions/snapshot", "orchestrai/definitions/files"),
    ],
)
def test_a_dataset_is_found_by_each_of_its_names(kept: Runtime, name: str, dataset: str) -> None:
    listed = json.loads(command("vault", "list", name, "--json")[1])
    assert {snapshot["dataset"] for snapshot in listed} == {dataset}
    code, text = command("vault", "restore", name, "--into", "back", "--json")
    assert (code, json.loads(text)["snapshot"]["dataset"]) == (0, dataset)


def test_an_unknown_name_lists_those_there_are(kept: Runtime) -> None:
    for name in ("shop/nothing", "shop/nothing/feature_backup"):
        with pytest.raises(RestoreError, match=r"shop/levels/features.*found 'shop/nothing"):
            command("vault", "restore", name, "--into", "back")
    with pytest.raises(ConfigError, match="either --into"):
        command("vault", "restore", "shop/levels")


def test_a_drill_by_name_is_published_like_the_weekly_one(kept: Runtime) -> None:
    code, text = command("vault", "drill", MODEL, "--json")
    told = json.loads(text)
    assert (code, told["asset"], told["passed"]) == (0, f"{MODEL}/drill", True)
    assert kept.ledger.open(f"{MODEL}/drill").rows == 1


def test_prune_keeps_what_is_declared_of_each_kind(kept: Runtime) -> None:
    for _ in range(3):
        materialize(kept, f"{DATABASE}/dump")
    plan = json.loads(command("vault", "prune", "--json")[1])
    assert len(plan["forget"][f"{DATABASE}/dump"]) == 1  # keep: {last: 2}
    applied = json.loads(command("vault", "prune", "--apply", "--json")[1])["applied"]
    assert len(applied["forgotten"]) == 1
    assert len(kept.vault.snapshots(f"{DATABASE}/dump")) == 2


def test_prune_applied_is_the_run_of_the_assets_and_signed(kept: Runtime) -> None:
    for _ in range(3):
        materialize(kept, f"{DATABASE}/dump")
    assert "nothing was changed" in command("vault", "prune", "--dry-run")[1]
    assert kept.ledger.head(f"{DATABASE}/retention") is None
    forgotten = json.loads(command("vault", "prune", "--apply", "--json")[1])["applied"]["forgotten"]
    head = kept.ledger.head(f"{DATABASE}/retention")
    assert head is not None
    facts = kept.ledger.receipt(head.receipt).facts
    assert (facts["forgotten"], facts["policy"]) == (forgotten, "last 2")
    assert kept.ledger.head("orchestrai/vault/prune") is not None
    told = [event for event in json.loads(command("trail", "--vault", kept.settings.vault, "--json")[1])]
    assert [event["why"] for event in told if event["action"] == "forget"] == ["retention: last 2"]
    # nothing is left to do, and nothing new is published
    assert json.loads(command("vault", "prune", "--apply", "--json")[1])["applied"]["forgotten"] == []
    assert kept.ledger.head(f"{DATABASE}/retention") == head


def test_a_person_applies_what_is_declared_only_to_be_shown(kept: Runtime) -> None:
    declared = kept.project.pipelines[0].folder / "pipeline.yaml"
    declared.write_text(declared.read_text().replace("keep: {last: 2}", "keep: {last: 1}, retention: {apply: false}"))
    for _ in range(2):
        materialize(kept, f"{DATABASE}/dump")
    assert len(json.loads(command("vault", "prune", "--apply", "--json")[1])["applied"]["forgotten"]) == 1


def test_another_vault_is_pruned_by_the_same_rules_and_nothing_published(kept: Runtime, tmp_path: Path) -> None:
    for _ in range(3):
        materialize(kept, f"{DATABASE}/dump")
    replica = str(tmp_path / "replica")
    command("vault", "replicate", "--to", replica)
    applied = json.loads(command("vault", "prune", "--apply", "--vault", replica, "--json")[1])["applied"]
    assert len(applied["forgotten"]) == 1 and applied["deleted"] == []
    assert kept.ledger.head(f"{DATABASE}/retention") is None
    assert len(kept.vault.snapshots(f"{DATABASE}/dump")) == 3


def test_warm_on_a_store_without_tiers_is_ready(kept: Runtime) -> None:
    snapshot = kept.vault.latest("shop/levels/features").snapshot_id
    code, text = command("vault", "warm", snapshot, "--json")
    told = json.loads(text)
    assert code == 0 and told["ready"] and told["cold"] == 0 < told["objects"]


@pytest.mark.emulator
def test_a_dump_goes_into_an_empty_database_and_never_into_a_used_one(
    kept: Runtime, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setenv("CRM_URL", source := postgres.database())
    monkeypatch.setenv("NEW_URL", target := postgres.database())
    with psycopg.connect(source, autocommit=True) as opened:
        opened.execute("CREATE TABLE customer AS SELECT generate_series(1, 50) AS id")
    materialize(kept, f"{DATABASE}/dump")
    code, text = command("vault", "restore", DATABASE, "--database", "env://NEW_URL", "--json")
    assert (code, json.loads(text)["tables"]) == (0, {"public.customer": 50})
    with psycopg.connect(target) as opened:
        assert opened.execute("SELECT sum(id) FROM customer").fetchone() == (1275,)
    with pytest.raises(RestoreError, match="empty database"):
        command("vault", "restore", DATABASE, "--database", "env://NEW_URL")
    with pytest.raises(ConfigError, match=r"found no dump\.json"):
        command("vault", "restore", "shop/levels", "--database", "env://NEW_URL")
