"""`orchestrai vault heal` as a person sees it."""

import json
from pathlib import Path

import pytest

from orchestrai.ledger.ledger import open_ledger
from orchestrai.settings import Settings, load_settings
from orchestrai.storage.url import open_store
from orchestrai.vault.protection import copy_to, open_vault
from orchestrai_tests.cli.test_kept import command
from orchestrai_tests.vault.contents import files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home with a vault of one snapshot, and its replica."""
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    settings = load_settings()
    vault = open_vault(open_ledger(settings), settings.key_folder, lambda: False)
    vault.commit("shop/orders", {"p": files(a=b"a" * 400)})
    copy_to(vault, f"{tmp_path}/replica")
    return settings


def test_heal_plans_then_mends_then_has_nothing_to_do(home: Settings, tmp_path: Path) -> None:
    replica = f"{tmp_path}/replica"
    assert command("vault", "heal", "--replica", replica)[0] == 0
    store = open_store(home.vault)
    key = next(info.key for prefix in ("vault/objects/", "vault/packs/") for info in store.list(prefix))
    right = store.read(key)
    store.write(key, b"\0" * 400)
    code, text = command("vault", "heal", "--replica", replica, "--json")
    plan = json.loads(text)
    assert (code, plan["ok"], plan["applied"], [mend["key"] for mend in plan["mends"]]) == (1, False, None, [key])
    assert command("vault", "heal", "--replica", replica, "--apply")[0] == 0
    assert store.read(key) == right
    code, text = command("vault", "heal", "--replica", replica, "--json")
    assert (code, json.loads(text)["mends"]) == (0, [])


def test_what_no_copy_has_is_named_and_a_vault_alone_is_looked_at_too(home: Settings) -> None:
    store = open_store(home.vault)
    key = next(info.key for prefix in ("vault/objects/", "vault/packs/") for info in store.list(prefix))
    store.delete(key)
    for name in ("heal", "repair"):
        code, text = command("vault", name, "--apply", "--json")
        lost = json.loads(text)["lost"]
        assert (code, [item["key"] for item in lost]) == (1, [key])
        assert lost[0]["loses"][0]["partitions"] == ["p"]
    code, text = command("vault", "heal")
    assert code == 1 and "shop/orders@1 p" in text
