"""A vault pulled by another home that it does not know, the first home and its vault lost, and all restored from the copy."""

import json
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.signing import load_signer
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.cli.test_keys import DATASET, commit, elsewhere, listed


@pytest.mark.parametrize("sealed", [False, True])
def test_a_vault_is_pulled_lost_and_recovered_from_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "first"))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", str(tmp_path / "vault"))
    commit("precious", sealed)
    paper, wrapping = str(listed()["root"]), tmp_path / "first" / "keys" / "vault.key"
    second, copy = tmp_path / "second", str(tmp_path / "copy")
    arguments = ("vault", "pull", "--from", str(tmp_path / "vault"), "--to", copy, "--root", paper)
    if sealed:
        elsewhere(second, *arguments, code=2)
        _give(wrapping, second)
    told = json.loads(elsewhere(second, *arguments, "--json"))
    assert told["ok"] and told["snapshots"] == 1
    commit("more precious", sealed)
    before = _files(tmp_path / "vault")
    assert json.loads(elsewhere(second, *arguments, "--json"))["snapshots"] == 1
    assert json.loads(elsewhere(second, *arguments, "--json"))["snapshots"] == 0
    assert _files(tmp_path / "vault") == before
    # the first home and its vault are lost; the copy, a paper and, where it is sealed, a key in a safe are left
    safe = tmp_path / "safe"
    if sealed:
        safe.write_bytes(wrapping.read_bytes())
    (tmp_path / "first").rename(tmp_path / "ashes")
    (tmp_path / "vault").rename(tmp_path / "more-ashes")
    lost = json.loads(elsewhere(second, *arguments, "--json", code=1))
    assert [one["kind"] for one in lost["findings"]] == ["lost"]
    third = tmp_path / "third"
    elsewhere(third, "vault", "recover", copy, "--root-fingerprint", paper)
    if sealed:
        _give(safe, third)
    assert len(json.loads(elsewhere(third, "vault", "list", "--vault", copy, "--json"))) == 2
    elsewhere(third, "vault", "verify", "--vault", copy, "--level", "read")
    elsewhere(third, "vault", "restore", DATASET, "--vault", copy, "--into", str(tmp_path / "out"))
    assert [path.read_text() for path in (tmp_path / "out").rglob("a.csv")] == ["more precious"]
    monkeypatch.setenv("ORCHESTRAI_HOME", str(third))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", copy)
    assert command("vault", "repair")[0] == 0


def _give(wrapping: Path, home: Path) -> None:
    (home / "keys").mkdir(parents=True, exist_ok=True)
    (home / "keys" / "vault.key").write_bytes(wrapping.read_bytes())
    (home / "keys" / "vault.key").chmod(0o600)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pull_is_pinned_by_a_root_or_a_key_and_by_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "first"))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", str(tmp_path / "vault"))
    commit("one")
    pem = tmp_path / "writer.pem"
    own = load_signer(tmp_path / "first" / "keys")
    assert own is not None
    pem.write_bytes(own.public_pem)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "second"))
    stores = ("vault", "pull", "--from", str(tmp_path / "vault"), "--to", str(tmp_path / "copy"))
    with pytest.raises(ConfigError, match="both or neither"):
        command(*stores)
    with pytest.raises(ConfigError, match="no file"):
        command(*stores, "--key", str(tmp_path / "none.pem"))
    with pytest.raises(IntegrityError, match="another's"):
        command(*stores, "--root", "0" * 64)
    with pytest.raises(ConfigError, match="a duration"):
        command(*stores, "--key", str(pem), "--lock", "long")
    assert not (tmp_path / "copy").exists()
    code, text = command(*stores, "--key", str(pem))
    assert code == 0 and "1 snapshots" in text
    code, text = command(*stores, "--key", str(pem), "--json")
    assert code == 0 and json.loads(text)["snapshots"] == 0
    next((tmp_path / "vault").rglob("snapshots/**/*1.json")).write_bytes(b"altered")
    code, text = command(*stores, "--key", str(pem))
    assert code == 1 and "damaged" in text
