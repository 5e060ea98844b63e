"""The commands of proof: exit codes, JSON, and what they say."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.errors import ConfigError
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.forgery import undemanding
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World, uri, written


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a small world in it."""
    folder = tmp_path / "home"
    signer = load_or_create_signer(folder / "keys")
    world = World(lake=LocalStore(folder / "lake"), store=LocalStore(folder / "vault"), signer=signer)
    world.whole(("2026-01-01", "2026-01-02"))
    (tmp_path / "pub.pem").write_bytes(signer.public_pem)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(folder))
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_trace_prints_a_tree_json_or_a_page(home: Path) -> None:
    code, text = run("model", "trace", "churn")
    assert code == 0
    assert uri("2026-01-02") in text
    code, text = run("model", "trace", "churn@candidate", "--json")
    assert json.loads(text)["asset"] == f"{MODEL}/candidate"
    page = home / "trace.html"
    assert run("model", "trace", f"{ORDERS}/restored", "--html", str(page))[0] == 0
    assert page.read_text().startswith("<!doctype html>")


def test_trace_of_an_unknown_model_is_a_usage_error(home: Path) -> None:
    with pytest.raises(ConfigError, match="churn/churn"):
        run("model", "trace", "chrun")


def test_verify_answers_by_exit_code(home: Path) -> None:
    arguments = ("--vault", str(home / "home" / "vault"), "--key", str(home / "pub.pem"), "--json")
    code, text = run("model", "verify", str(written(home, b"model")), "--bytes", *arguments)
    assert (code, json.loads(text)["ok"]) == (0, True)
    code, text = run("model", "verify", str(written(home, b"another")), *arguments)
    assert (code, json.loads(text)["ok"]) == (1, False)


def test_audit_finds_a_removed_record(home: Path) -> None:
    assert run("audit")[0] == 0
    next((home / "home" / "lake" / "receipts").rglob("*.json")).unlink()
    assert run("audit")[0] == 1
    assert run("rebuild")[0] == 0
    assert run("audit", "--json")[0] == 0


def test_recall_plans_first(home: Path) -> None:
    code, text = run("recall", uri("2026-01-01"), "--json")
    assert code == 0
    plan = json.loads(text)
    assert not plan["in_force"]
    assert f"{MODEL}/champion" in plan["reach"]["assets"]
    code, text = run("recall", uri("2026-01-01"), "--apply", "--reason", "test")
    assert code == 0
    assert "in force" in text


def test_a_model_signed_for_others_is_a_folder_and_says_how_it_is_checked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undemanding(monkeypatch)
    to = home / "signed"
    code, text = run("export", "churn@champion", "--format", "oms", "--to", str(to))
    assert code == 0
    assert f"--public_key {to}/model_signing.pub" in text
    assert (to / "model/model.ubj").read_bytes() == b"model"
    with pytest.raises(ConfigError, match="new place"):
        run("export", "churn@champion", "--format", "oms", "--to", str(to), "--json")
    again = home / "again"
    code, text = run("export", "churn@champion", "--format", "oms", "--to", str(again), "--json")
    assert list(json.loads(text)["files"]) == ["model.ubj"]
    assert (again / "model_signing.pub").read_bytes() == (to / "model_signing.pub").read_bytes()
    with pytest.raises(ConfigError, match="--to FOLDER"):
        run("export", "churn@champion", "--format", "oms")
