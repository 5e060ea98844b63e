"""A site opens its ledger in one way, whoever asks: the command line, a run, a schedule."""

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.cli import lookup
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.ledger import open_ledger
from orchestrai.pipeline.runtime import Runtime as Site
from orchestrai.settings import load_settings
from orchestrai_tests.producers import producer

ROOT = Path(__file__).resolve().parent.parent.parent / "orchestrai"


def test_the_key_is_made_once_in_a_folder_of_its_owner(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    first, second = open_ledger(settings), open_ledger(settings)
    assert first.signer.key_id == second.signer.key_id
    assert settings.key_folder.stat().st_mode & 0o777 == 0o700
    assert set(first.keyring.keys) == {first.signer.key_id}


def test_a_run_and_a_command_open_the_same_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    now = datetime(2026, 1, 2, tzinfo=UTC)
    run, command = Site(load_settings(), clock=lambda: now).ledger, lookup.open_ledger()
    session = run.session("x/y/raw_events", producer("raw_events"))
    session.add_bytes("all", "a.bin", b"a", rows=1)
    session.commit({"all": [Verdict("schema", True)]})
    head = command.head("x/y/raw_events")
    assert head is not None and datetime.fromisoformat(head.time) == now
    assert command.vault is not None and list(command.vault.list("heads/x/y/raw_events/"))


def test_the_site_key_is_read_in_one_place_besides_that_of_a_reproduction() -> None:
    callers = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_or_create_signer"
    }
    # those of the command line open another's vault in a home that has no ledger of it
    others = {"provenance/recall/reproduce.py", "cli/vault/pull_commands.py", "cli/vault/recover_commands.py"}
    assert callers == {"ledger/ledger.py"} | others


def callers(name: str) -> set[str]:
    """The modules that call a function, by its name or as an attribute."""
    return {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    }


def test_a_site_is_opened_for_use_in_one_place_and_for_its_records_in_few() -> None:
    """Every ledger of a site comes from `open_ledger`, which hands out no byte unless it is told what to demand: one caller tells it."""
    assert callers("demanding_ledger") == {"pipeline/runtime.py"}
    assert callers("open_by_settings") == {"cli/lookup.py"}
    # the command line's own of that name is the one for records
    others = {path for path in callers("open_ledger") if not path.startswith("cli/")}
    assert others == {"pipeline/admission.py"}
    # made by hand, and so undemanding: what is read there was made from the vault by that process, or is a vault's alone
    by_hand = {"provenance/recall/reproduce.py", "cli/lookup.py", "backup/airgap/run.py"}
    assert callers("Ledger") == {"ledger/ledger.py"} | by_hand


def test_who_looks_at_bytes_without_asking_for_evidence_is_listed() -> None:
    """They tell of data, erase it or put it back, and make nothing of it."""
    showing = {
        "cli/commands/audit_commands.py",
        "cli/commands/erase_commands.py",
        "cli/commands/export_commands.py",
        "cli/reports/page_commands.py",
        "provenance/state/model_versions.py",
    }
    assert callers("showing") == showing
    using = {
        "pipeline/runtime.py",
        "pipeline/refresh/trial.py",
        "cli/commands/model_commands.py",
        "cli/commands/rollback_commands.py",
        "cli/features/feature_commands.py",
    }
    assert callers("using") == using
