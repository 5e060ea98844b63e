"""`orchestrai vault hold|release|holds|rewrap|repair` and the plan of a restore."""

import json
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, RetentionLocked
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.reproduce import _Bench
from orchestrai.provenance.verified_records import Records
from orchestrai.settings import load_settings
from orchestrai.vault.keys.data_keys import wrapped_keys
from orchestrai.vault.protection import open_vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.cli.conftest import DATASET, KEPT, RAW, MakeRuntime, command, run
from orchestrai_tests.servers.s3 import S3Server


@pytest.mark.parametrize("name", ["hold", "release", "holds", "rewrap", "repair", "restore"])
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    code, text = command("vault", name, "--help")
    assert code == 0 and "Example" in text and "--json" in text


def test_a_hold_is_placed_listed_respected_and_released(shop: Runtime, days: list[str]) -> None:
    first = shop.vault.snapshots(RAW)[0].snapshot_id
    # a folder cannot hold, and is not said to
    code, text = command("vault", "hold", first[:12], "--reason", "case 17", "--json")
    told = json.loads(text)
    assert (code, told["enforced"], told["snapshot_ids"]) == (1, False, [first])
    assert command("vault", "hold", DATASET, "--reason", "case 18")[0] == 1
    listed = json.loads(command("vault", "holds", "--json")[1])
    assert [(one["dataset"], one["snapshot_id"], one["reason"]) for one in listed] == [
        (RAW, "", "case 18"),
        (RAW, first, "case 17"),
    ]
    assert "case 17" in command("vault", "prune")[1]
    with pytest.raises(RetentionLocked, match="release it first"):
        command("vault", "forget", first, "--reason", "gone")
    report = run(shop, days[3:4], "raw_events", "snapshot")["snapshot"]
    assert report.facts["held"] is True and report.facts["hold_enforced"] is False
    command("vault", "release", DATASET, "--reason", "closed")
    command("vault", "release", first, "--reason", "closed")
    assert command("vault", "holds", "--json") == (0, "[]\n")
    assert command("vault", "forget", first, "--reason", "gone")[0] == 0


def test_the_plan_of_a_restore_is_shown_and_nothing_written(shop: Runtime, days: list[str], tmp_path: Path) -> None:
    into = tmp_path / "out"
    code, text = command("vault", "restore", DATASET, "--into", str(into), "--plan", "--partitions", days[0], "--json")
    plan = json.loads(text)["plan"]
    assert code == 0 and plan["partitions"] == [days[0]] and not into.exists()
    assert plan["bytes"] > 0 and plan["predicted_seconds"] > 0 and plan["cold"]["ready"] is True
    assert command("vault", "restore", DATASET, "--into", str(into), "--partitions", days[0], "--wait", "1h")[0] == 0
    assert sum(path.stat().st_size for path in into.rglob("*") if path.is_file()) == plan["bytes"]


@pytest.mark.emulator
def test_a_vault_sealed_by_a_file_is_opened_by_a_key_service_after_rewrap(
    make: MakeRuntime, days: list[str], moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = moto.client("kms").create_key()["KeyMetadata"]["KeyId"]
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    run(make("encryption: file"), days[:1])
    code, text = command("vault", "rewrap", "--to", f"awskms://{key}", "--json")
    assert (code, json.loads(text)) == (0, {"port": f"awskms://{key}", "wrapped": 1})
    (tmp_path / "home" / "keys" / "vault.key").unlink()
    assert command("vault", "verify", "--level", "read")[0] == 0
    assert command("vault", "restore", DATASET, "--into", str(tmp_path / "out"))[0] == 0
    # what is declared and what wraps are one, or nothing is written
    with pytest.raises(ConfigError, match="vault rewrap"):
        run(make("encryption: file"), days[1:2], "raw_events", "snapshot")
    declared = make(f"encryption: awskms://{key}")
    run(declared, days[1:2], "raw_events", "snapshot")
    assert len(declared.vault.snapshots(RAW)) == 2 and KEPT


@pytest.mark.emulator
def test_a_vault_declared_with_a_key_service_is_sealed_by_it_from_the_start(
    make: MakeRuntime, days: list[str], moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = moto.client("kms").create_key()["KeyMetadata"]["KeyId"]
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    made = make(f"encryption: awskms://{key}")
    run(made, days[:1])
    vault = made.vault
    assert [one.port for one in wrapped_keys(vault.store, vault.identity(), vault.keyring)] == [f"awskms://{key}"]
    assert not (tmp_path / "home" / "keys" / "vault.key").exists()
    again = open_vault(made.ledger, made.settings.key_folder, lambda: False)
    assert verify(again, level="read").ok


@pytest.mark.emulator
def test_repair_brings_back_a_vault_whose_every_key_was_deleted(
    make: MakeRuntime, days: list[str], moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{moto.bucket(versioned=True)}/v"
    made = make("encrypt: false", vault_url=url)
    run(made, days[:1])
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", url)
    code, text = command("vault", "repair", "--json")
    assert (code, json.loads(text)["mends"]) == (0, [])
    for info in list(made.vault.store.list("vault/")):
        made.vault.store.delete(info.key)
    code, text = command("vault", "repair", "--json")
    mends = json.loads(text)["mends"]
    assert code == 1 and mends and all("deleted" in one["problem"] for one in mends)
    assert {one["from"] for one in mends} == {"its own earlier version"}
    assert command("vault", "repair", "--apply")[0] == 0
    assert command("vault", "verify", "--level", "read")[0] == 0


def test_a_reproduction_opens_a_sealed_vault_by_the_keys_of_who_asks(
    make: MakeRuntime, days: list[str], tmp_path: Path
) -> None:
    made = make("encrypt: true")
    run(made, days[:1])
    store = made.vault.store
    bench = _Bench(
        store,
        made.ledger.keyring,
        load_settings(home=tmp_path / "again"),
        made.project,
        Records(store, made.ledger.keyring),
        None,
        made.settings.key_folder,
    )
    assert bench.vault.encrypted
    assert verify(bench.vault, level="read").ok
