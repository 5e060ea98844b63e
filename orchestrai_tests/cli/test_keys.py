"""The ceremony of keys by the command line, and a vault recovered on a machine that has nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrai.errors import ApprovalNeeded, ConfigError, IntegrityError, KeyRefused
from orchestrai.ledger.ledger import open_ledger
from orchestrai.ledger.signing import load_signer, new_signer
from orchestrai.settings import load_settings
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.protection import open_vault
from orchestrai.vault.vault import Vault
from orchestrai_tests.cli.conftest import command

DATASET = "shop/orders/raw_events"


def opened(seal: bool = False) -> Vault:
    """The vault of the settings, as a process of its own would open it."""
    settings = load_settings()
    return open_vault(open_ledger(settings), settings.key_folder, lambda: seal)


def commit(text: str, seal: bool = False) -> str:
    """One more snapshot; its id."""
    return opened(seal).commit(DATASET, {"p": [SourceFile("a.csv", len(text), text.encode())]}).snapshot_id


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one snapshot."""
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ORCHESTRAI_VAULT_URL", raising=False)
    commit("one")
    return tmp_path / "home"


def listed() -> dict[str, object]:
    code, text = command("keys", "list", "--json")
    assert code == 0
    log: dict[str, object] = json.loads(text)["key_log"]
    return log


def elsewhere(home: Path, *arguments: str, code: int = 0) -> str:
    """Run a command as a process of its own, in a home of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRAI_")}
    done = subprocess.run(
        [sys.executable, "-c", "from orchestrai.cli import main; main()", *arguments],
        env={**environment, "ORCHESTRAI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_a_rotation_ends_the_old_key_and_all_it_signed_counts(home: Path) -> None:
    old = load_signer(home / "keys")
    assert old is not None
    code, _ = command("keys", "rotate", "--reason", "yearly")
    new = load_signer(home / "keys")
    assert code == 0 and new is not None and new.key_id != old.key_id
    commit("two")
    assert command("vault", "verify", "--level", "read")[0] == 0
    assert len(json.loads(command("vault", "list", "--json")[1])) == 2
    keys = {one["key"]: one for one in listed()["keys"]}  # type: ignore[attr-defined]
    assert keys[old.key_id]["ended"] and not keys[new.key_id]["ended"]
    # the second run rotates again, and nothing is lost
    assert command("keys", "rotate", "--reason", "again")[0] == 0
    assert command("vault", "verify", "--level", "read")[0] == 0


def test_a_home_whose_own_key_is_root_keeps_it_as_root_when_it_rotates(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as a home of an earlier release has it
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "old"))
    open_ledger(load_settings())
    (tmp_path / "old" / "keys" / "root.pem").unlink()
    commit("one")
    own = load_signer(tmp_path / "old" / "keys")
    assert own is not None and str(listed()["root"]).startswith(own.key_id)
    with pytest.raises(ConfigError, match="keys rotate"):
        command("keys", "export", str(tmp_path / "root.pem"), "--root")
    command("keys", "rotate", "--reason", "yearly")
    assert command("keys", "export", str(tmp_path / "root.pem"), "--root")[0] == 0
    commit("two")


def test_the_root_moves_out_and_is_asked_for(home: Path, tmp_path: Path) -> None:
    stick = tmp_path / "root.pem"
    assert "moves it out" in command("doctor")[1].replace("\n", " ")
    assert command("keys", "export", str(stick), "--root")[0] == 0
    assert stick.stat().st_mode & 0o077 == 0 and not list((home / "keys").glob("root*"))
    with pytest.raises(ConfigError, match="--root FILE"):
        command("keys", "rotate", "--reason", "yearly")
    with pytest.raises(ConfigError, match="root key"):
        command("keys", "rotate", "--reason", "yearly", "--root", str(home / "keys" / "signing.pem"))
    assert command("keys", "rotate", "--reason", "yearly", "--root", str(stick))[0] == 0
    commit("two")


def test_a_new_root_is_signed_in_and_the_old_one_is_gone(home: Path, tmp_path: Path) -> None:
    before, stick = listed()["root"], tmp_path / "new.pem"
    words = ("keys", "rotate-root", "--to", str(stick), "--reason", "a new stick")
    assert command(*words)[0] == 0
    after = listed()["root"]
    assert after != before and stick.stat().st_mode & 0o077 == 0 and not list((home / "keys").glob("root*"))
    # the same command again changes nothing
    assert command(*words, "--json")[0] == 0 and listed()["root"] == after
    with pytest.raises(ConfigError, match="--root FILE"):
        command("keys", "rotate", "--reason", "yearly")
    assert command("keys", "rotate", "--reason", "yearly", "--root", str(stick))[0] == 0
    commit("two")


def test_a_witness_is_written_held_against_the_vault_and_a_loss_accepted(home: Path) -> None:
    kept = commit("two")
    assert json.loads(command("vault", "witness", kept, "--json")[1])["witnessed"] is None
    code, text = command("vault", "witness", "--now", "--json")
    assert (code, json.loads(text)["records"]) == (0, 1)
    assert json.loads(command("vault", "witness", kept, "--json")[1])["witnessed"] is not None
    assert "witness outside the vault: 1 records" in command("vault", "verify")[1].replace("\n", " ")
    record = sorted((home / "vault" / "vault" / "snapshots").rglob("*.json"))[-1]
    record.unlink()
    code, text = command("vault", "verify", "--json")
    assert (code, json.loads(text)["rollback"]) == (1, "found")
    assert command("vault", "witness")[0] == 1
    with pytest.raises(ConfigError, match="expected a reason"):
        command("vault", "witness", "--accept")
    assert command("vault", "witness", "--accept", "--reason", "the copy of Sunday")[0] == 0
    code, text = command("vault", "verify")
    assert code == 0 and "a loss was accepted" in text.replace("\n", " ")


def test_what_a_stolen_key_signed_is_shown_before_it_stops_counting(home: Path, tmp_path: Path) -> None:
    first = commit("two")
    code, text = command("keys", "rotate", "--reason", "stolen", "--compromised-since", first, "--json")
    told = json.loads(text)
    assert code == 0 and not told["applied"] and any(DATASET in key for key in told["stops"])
    assert len(json.loads(command("vault", "list", "--json")[1])) == 2
    command("keys", "rotate", "--reason", "stolen", "--compromised-since", first, "--apply")
    assert len(json.loads(command("vault", "list", "--json")[1])) == 1
    assert command("vault", "verify")[0] == 1


def test_another_machines_key_is_added_with_a_role_and_revoked(home: Path, tmp_path: Path) -> None:
    other = new_signer()
    (tmp_path / "other.pem").write_bytes(other.public_pem)
    assert command("keys", "add", str(tmp_path / "other.pem"), "--role", "write", "--reason", "night")[0] == 0
    settings = load_settings()
    ledger = open_ledger(settings)
    night = Vault(ledger.vault, other, ledger.keyring)  # type: ignore[arg-type]
    kept = night.commit(DATASET, {"q": [SourceFile("b.csv", 1, b"b")]})
    with pytest.raises(KeyRefused, match="role prune"):
        night.forget(kept.snapshot_id)
    assert command("keys", "revoke", other.key_id, "--reason", "gone")[0] == 0
    with pytest.raises(KeyRefused, match="was ended"):
        night.commit(DATASET, {"q": [SourceFile("c.csv", 1, b"c")]})
    assert len(json.loads(command("vault", "list", "--json")[1])) == 2
    with pytest.raises(ConfigError, match="ended"):
        command("keys", "revoke", other.key_id, "--reason", "again")
    with pytest.raises(ConfigError, match="roles of write"):
        command("keys", "add", str(tmp_path / "other.pem"), "--role", "all", "--reason", "x")


def test_two_people_forget_a_snapshot(home: Path, tmp_path: Path) -> None:
    kept = commit("two")
    second = new_signer()
    (tmp_path / "second.pem").write_bytes(second.public_pem)
    command("keys", "add", str(tmp_path / "second.pem"), "--reason", "colleague")
    assert command("keys", "require", "forget=2", "--reason", "two people")[0] == 0
    with pytest.raises(ApprovalNeeded):
        command("vault", "forget", kept, "--reason", "old")
    (proposal,) = json.loads(command("approvals", "list", "--json")[1])
    assert (proposal["what"], proposal["needed"], len(proposal["signed_by"])) == ("forget", 2, 1)
    # the same vault, at the other person's machine
    from orchestrai.ledger.signing import write_private

    write_private(home / "keys" / "signing.pem", second, replace=True)
    command_second = ("approvals", "approve", proposal["id"])
    from orchestrai.ledger.trust.trust_list import read_trust

    assert read_trust(home / "keys").records
    with pytest.raises(ConfigError, match="signing key"):
        command(*command_second)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_vault_is_recovered_on_an_empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "lost"))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", str(tmp_path / "vault"))
    commit("precious", sealed)
    command("keys", "rotate", "--reason", "yearly")
    commit("more precious", sealed)
    paper, stick = str(listed()["root"]), tmp_path / "root.pem"
    command("keys", "export", str(stick), "--root")
    wrapping = tmp_path / "lost" / "keys" / "vault.key"
    safe = wrapping.read_bytes() if sealed else b""
    # the machine burns with all its keys; the vault, a stick in a safe and a paper are left
    (tmp_path / "lost").rename(tmp_path / "ashes")
    new, url = tmp_path / "new", str(tmp_path / "vault")
    elsewhere(new, "vault", "recover", url, "--root-fingerprint", "0" * 64, code=1)
    told = json.loads(elsewhere(new, "vault", "recover", url, "--root-fingerprint", paper[:40].upper(), "--json"))
    assert not told["may_write"]
    if sealed:
        (new / "keys" / "vault.key").write_bytes(safe)
        (new / "keys" / "vault.key").chmod(0o600)
    assert len(json.loads(elsewhere(new, "vault", "list", "--vault", url, "--json"))) == 2
    elsewhere(new, "vault", "verify", "--vault", url, "--level", "read")
    elsewhere(new, "vault", "restore", DATASET, "--vault", url, "--into", str(tmp_path / "out"))
    assert [path.read_text() for path in (tmp_path / "out").rglob("a.csv")] == ["more precious"]
    monkeypatch.setenv("ORCHESTRAI_HOME", str(new))
    with pytest.raises(KeyRefused, match="keys add"):
        commit("next", sealed)
    # a second run does no harm, and the root lets the new key write
    again = elsewhere(new, "vault", "recover", url, "--root-fingerprint", paper, "--root", str(stick), "--json")
    assert json.loads(again)["may_write"]
    commit("next", sealed)
    assert len(json.loads(command("vault", "list", "--json")[1])) == 3
    with pytest.raises(IntegrityError, match="another's"):
        command("vault", "recover", url, "--root-fingerprint", "0" * 64)
