"""The audit trail tells every operation on data once, with who, when and why, and from the vault alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError, SignatureInvalid
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.decisions.standing import Decision
from orchestrai.ledger.decisions.transactions import Transaction, decide
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.privacy.persons import PersonKeys
from orchestrai.provenance.audit_trail import Event, trail
from orchestrai.provenance.erasure.erasure import erase
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.provenance.verified_records import Records
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World, uri
from orchestrai_tests.provenance.test_recall import DAYS, poisoned, roll_back

RAW = f"{ORDERS}/raw_events"


def busy(world: World) -> None:
    """Everything that can be done to data, once."""
    poisoned(world)
    plan = plan_recall(world.ledger, ReceiptIndex.build(world.lake, world.keyring), uri(DAYS[2]), "bad export", "ann")
    apply_recall(world.ledger, plan, roll_back)
    keys = PersonKeys(MemoryStore())
    keys.key("17850")
    erase(world.ledger, keys, "17850", by="ben")
    world.vault.forget(world.vault.snapshots()[0].snapshot_id, reason="retention")
    for overrides in ((), None):
        session = world.ledger.session(RAW, producer("raw_events"))
        session.add_bytes("2026-01-09", "part-00000.parquet", b"few", rows=1)
        waive = (
            [
                Override(
                    RAW, "2026-01-09", last_refusal(world.lake, RAW, "2026-01-09").root, ("row_volume",), "holiday", "cem"
                )
            ]
            if overrides is None
            else []
        )
        session.commit(
            {"2026-01-09": (Verdict("row_volume", False, "expected more"),)},
            materials=[Material("s3://l/x.csv", "0" * 64, 1, partition="2026-01-09")],
            overrides=waive,
        )


def events(world: World) -> list[Event]:
    return trail(Records(world.store, world.keyring))


def test_every_operation_is_told_once_with_who_and_why(world: World) -> None:
    busy(world)
    found = events(world)
    told = {event.action: (event.subject, event.who.partition(" (")[0], event.why) for event in found}
    key = f"key {world.signer.key_id}"
    assert told["recall"] == (uri(DAYS[2]), "ann", "bad export")
    assert told["retraining request"] == (uri(DAYS[2]), "ann", "bad export")
    assert told["erasure"][1] == "ben"
    assert told["override"] == (RAW, "cem", "holiday")
    assert told["forget"] == (RAW, key, "retention")
    assert told["rollback"][:2] == (f"{MODEL}/champion", key)
    assert told["drop"][2].startswith("recalled with")
    assert [event.time for event in found] == sorted(event.time for event in found)
    heads = sum(1 for _ in world.store.list("heads/"))
    assert sum(event.record.startswith("heads/") and event.action != "override" for event in found) == heads
    assert "17850" not in str(found)


def test_a_rollback_that_did_not_go_through_is_told_as_that_and_moved_nothing(world: World) -> None:
    poisoned(world)
    transaction = Transaction(world.ledger, "back")
    session = world.ledger.session(RAW, producer("raw_events"))
    session.commit({}, drop=[DAYS[0]], action="rollback", reason="bad week", transaction=transaction)
    decide(world.ledger, Decision(transaction.id, "abort"))
    (event,) = [event for event in events(world) if event.action == "aborted rollback"]
    assert (event.subject, event.why) == (RAW, "bad week")
    assert event.what == f"transaction {transaction.id[:12]} was not committed: nothing moved"
    assert not [event for event in events(world) if event.action == "drop"]
    assert DAYS[0] in world.ledger.open(RAW).partitions


def test_a_forged_entry_stops_the_trail(world: World) -> None:
    busy(world)
    key = next(info.key for info in world.store.list("recalls/"))
    world.store.write(key, world.store.read(key).replace(b'"sig"', b'"sIg"'))
    with pytest.raises((SignatureInvalid, IntegrityError)):
        events(world)


def test_the_command_needs_the_vault_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = load_or_create_signer(tmp_path / "keys")
    world = World(store=LocalStore(tmp_path / "vault"), signer=signer)
    busy(world)
    (tmp_path / "pub.pem").write_bytes(signer.public_pem)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "none"))
    arguments = ["trail", "--vault", str(tmp_path / "vault"), "--key", str(tmp_path / "pub.pem")]

    def run(*more: str) -> str:
        done = CliRunner().invoke(app, [*arguments, *more])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "bad export" in run()
    assert {event["action"] for event in json.loads(run("--asset", f"{MODEL}/champion", "--json"))} == {
        "champion",
        "rollback",
    }
    (recalled,) = json.loads(run("--action", "recall", "--json"))
    assert recalled["who"] == f"ann (key {signer.key_id})"
    assert json.loads(run("--since", "2099-01-01", "--json")) == []
