"""A stranger with the vault and a public key verifies a model file, and finds whatever was changed."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.signing import Signer
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.trace import trace
from orchestrai.provenance.verify.findings import Verification
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import tombstone_key
from orchestrai.vault.format.records import ANCHOR_TYPE
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.protection import Protection, require_ready
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.copies import copies
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, Remembering, World, written
from orchestrai_tests.provenance.small import CHAMPION, DAYS, Small

TAMPERS = int(os.environ.get("ORCHESTRAI_TEST_TAMPERS", "700"))


def run(world: World, folder: Path, model: bytes, *, read_bytes: bool = False) -> Verification:
    return verify_model(written(folder, model), vault=world.store, keyring=world.keyring, read_bytes=read_bytes)


def test_an_untouched_model_verifies_from_the_vault_alone(world: World, tmp_path: Path) -> None:
    model = world.whole()
    world.lake = MemoryStore()
    found = run(world, tmp_path, model, read_bytes=True)
    assert found.problems == ()
    assert found.ok
    assert found.asset == f"{MODEL}/champion"
    counts = {check.name: check.count for check in found.checks}
    assert counts["snapshots"] == 3
    assert counts["equal"] == 6
    assert counts["bytes"] == 6


def test_a_model_verifies_though_an_object_came_twice_and_the_trace_tells_of_both(tmp_path: Path) -> None:
    small = Small.at(tmp_path / "small")
    for path in small.land(*DAYS):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    small.publish(*DAYS)
    small.train()
    ledger = small.runtime.ledger
    (model,) = [
        file.path for file in copies(ledger.open(CHAMPION), "all", tmp_path) if file.path.name.startswith("model.ubj")
    ]
    found = verify_model(model, vault=small.runtime.vault.store, keyring=ledger.keyring)
    assert found.problems == ()
    assert f"{DAYS[0]}.csv.gz" in trace_text(trace(ledger, CHAMPION)) and "the same as" in trace_text(
        trace(ledger, CHAMPION)
    )


def test_it_says_what_cannot_be_proven(world: World, tmp_path: Path) -> None:
    text = " ".join(run(world, tmp_path, world.whole()).unprovable)
    assert "rollback" in text
    assert "--bytes" in text


def test_a_changed_model_file_is_found(world: World, tmp_path: Path) -> None:
    found = run(world, tmp_path, world.whole() + b"!")
    assert not found.ok
    assert found.problems[0].check == "file"


def test_a_stranger_s_key_proves_nothing(world: World, tmp_path: Path) -> None:
    model = world.whole()
    found = verify_model(written(tmp_path, model), vault=world.store, keyring=World().keyring)
    assert not found.ok
    assert any(problem.check == "signatures" for problem in found.problems)


def test_a_candidate_that_never_served_verifies_as_one(world: World, tmp_path: Path) -> None:
    world.whole()
    found = run(world, tmp_path, world.train(b"rejected", promote=False))
    assert found.ok
    assert found.asset == f"{MODEL}/candidate"


def test_a_model_that_learned_from_raw_events_is_refused(world: World, tmp_path: Path) -> None:
    world.whole()
    world.derive("churn/shortcut/features", b"f", [f"{ORDERS}/raw_events"])
    model = world.train(b"shortcut", features=["churn/shortcut/features"], model="churn/shortcut")
    found = run(world, tmp_path, model)
    assert any("raw_events" in problem.message and problem.check == "lineage" for problem in found.problems)


def test_a_restore_that_differs_from_its_snapshot_is_refused(world: World, tmp_path: Path) -> None:
    world.prove({"2026-01-01": b"orders"})
    kept = world.ledger.open(f"{ORDERS}/snapshot")
    session = world.ledger.session(f"{ORDERS}/restored", producer("restored"))
    session.add_bytes("2026-01-01", "part-00000.parquet", b"poison", rows=1)
    session.commit({}, inputs=[InputRef(kept.asset, kept.version, kept.roots())])
    world.features(["2026-01-01"])
    found = run(world, tmp_path, world.train())
    assert any(problem.check == "equal" for problem in found.problems)


def test_an_input_that_was_never_published_is_refused(world: World, tmp_path: Path) -> None:
    world.whole()
    session = world.ledger.session(f"{MODEL}/candidate", producer("candidate"))
    session.add_bytes("all", "model.ubj", b"elsewhere", rows=1)
    session.commit({}, inputs=[InputRef(f"{MODEL}/training_set", "sha256:" + "1" * 64, {"all": "sha256:" + "2" * 64})])
    found = run(world, tmp_path, b"elsewhere")
    assert any("never published" in problem.message for problem in found.problems)


def test_a_receipt_with_a_closed_gate_is_refused(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.whole()
    monkeypatch.setattr("orchestrai.core.verdict.Audit.is_open", lambda audit, partition: True)
    source = world.ledger.open(f"{MODEL}/training_set")
    session = world.ledger.session(f"{MODEL}/candidate", producer("candidate"))
    session.add_bytes("all", "model.ubj", b"forced", rows=1)
    session.commit({"all": [Verdict("promotion", False)]}, inputs=[InputRef(source.asset, source.version, source.roots())])
    found = run(world, tmp_path, b"forced")
    assert any(problem.check == "receipts" and "promotion" in problem.message for problem in found.problems)


def test_a_snapshot_removed_without_a_tombstone_is_a_problem_and_one_forgotten_is_told(world: World, tmp_path: Path) -> None:
    model = world.whole()
    first = world.vault.snapshots()[0]
    world.vault.forget(first.snapshot_id, reason="retention")
    found = run(world, tmp_path, model)
    assert found.ok
    assert any("1 snapshots" in text for text in found.unprovable)
    second = next(info.key for info in world.store.list("vault/snapshots/") if "000002" in info.key)
    world.store.delete(second)
    assert any(problem.check == "snapshots" for problem in run(world, tmp_path, model).problems)


def test_a_rollback_of_the_whole_vault_is_found_with_an_anchor_and_said_to_be_unprovable_without(tmp_path: Path) -> None:
    store = MemoryStore()
    world = World(store=store)
    model = world.whole()
    earlier = {info.key: store.read(info.key) for info in store.list()}
    world.prove({"2026-01-04": b"later"})
    anchor = tmp_path / "anchor.json"
    Anchor(anchor).update(world.vault)
    file = written(tmp_path, model)
    assert verify_model(file, vault=store, keyring=world.keyring, anchor=anchor).ok
    for info in list(store.list()):
        store.delete(info.key)
    for key, data in earlier.items():
        store.write(key, data)
    assert run(world, tmp_path, model).ok
    found = verify_model(file, vault=store, keyring=world.keyring, anchor=anchor)
    assert [problem.check for problem in found.problems] == ["anchor"]


@pytest.fixture
def revived(tmp_path: Path) -> tuple[World, bytes, Path]:
    """A vault that forgot its first snapshot and was anchored, and whose tombstone was then taken away."""
    world = World(store=MemoryStore())
    model = world.whole()
    world.prove({"2026-01-04": b"later"})
    first = world.vault.snapshots()[0]
    world.vault.forget(first.snapshot_id, reason="retention")
    anchor = tmp_path / "anchor.json"
    Anchor(anchor).update(world.vault)
    assert verify_model(written(tmp_path, model), vault=world.store, keyring=world.keyring, anchor=anchor).ok
    world.store.delete(tombstone_key(first.dataset, first.seq))
    return world, model, anchor


def by_a_stranger(world: World, model: bytes, anchor: Path) -> str:
    found = verify_model(written(anchor.parent, model), vault=world.store, keyring=world.keyring, anchor=anchor)
    return "; ".join(problem.message for problem in found.problems if problem.check == "anchor")


def by_verify(world: World, model: bytes, anchor: Path) -> str:
    report = verify(world.vault, anchor=Anchor(anchor))
    assert report.rollback == "found"
    return "; ".join(finding.problem for finding in report.findings)


def by_the_next_snapshot(world: World, model: bytes, anchor: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        require_ready(world.vault, Protection(BackupSpec(), Anchor(anchor)), "d")
    return caught.value.message


def by_the_next_anchor(world: World, model: bytes, anchor: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        Anchor(anchor).update(world.vault)
    return caught.value.message


@pytest.mark.parametrize("look", [by_a_stranger, by_verify, by_the_next_snapshot, by_the_next_anchor])
def test_a_tombstone_that_is_gone_is_found_by_whoever_looks_at_the_anchor(
    revived: tuple[World, bytes, Path], look: Callable[[World, bytes, Path], str]
) -> None:
    assert "to stay forgotten, found its tombstone gone" in look(*revived)


def test_an_anchor_that_is_another_record_proves_nothing(tmp_path: Path) -> None:
    world = World(store=MemoryStore())
    file, anchor = written(tmp_path, world.whole()), tmp_path / "anchor.json"
    for body in (
        {"format": 1},
        {"format": 1, "vault": world.vault.identity(), "heads": {"d": [1]}},
        {"format": 1, "vault": 5, "heads": 5},
    ):
        anchor.write_bytes(world.signer.sign(ANCHOR_TYPE, canonical_json(body)))
        found = verify_model(file, vault=world.store, keyring=world.keyring, anchor=anchor)
        assert [problem.check for problem in found.problems] == ["anchor"]
        report = verify(world.vault, anchor=Anchor(anchor))
        assert not report.ok and report.rollback == "not provable"


def test_every_single_byte_or_field_that_changes_is_found(tmp_path: Path) -> None:
    """Any byte of any record or stored file in the vault, or of the model: changed, cut, removed, swapped or re-signed."""
    world = World()
    model = world.whole()
    keyring = Remembering(world.keyring.keys)
    keys = [info.key for info in world.store.list() if not info.key.startswith("work/")]
    stranger = World().signer
    file = written(tmp_path, model)
    chosen = random.Random(20261122)
    missed = []
    done = 0
    while done < TAMPERS:
        if done % 20 == 0:
            done += 1
            file.write_bytes(_flip(chosen, model))
            if verify_model(file, vault=world.store, keyring=keyring).ok:
                missed.append(("model", "flip"))
            file.write_bytes(model)
            continue
        key = chosen.choice(keys)
        original = world.store.read(key)
        name, tamper = chosen.choice(_TAMPERS)
        other = world.store.read(chosen.choice([k for k in keys if k.split("/")[:2] == key.split("/")[:2]] or keys))
        changed = tamper(chosen, original, other, stranger)
        beyond_any_list = name == "append" and key.startswith("vault/packs/")
        if changed == original or beyond_any_list:
            continue
        done += 1
        if changed is None:
            world.store.delete(key)
        else:
            world.store.write(key, changed)
        found = verify_model(file, vault=world.store, keyring=keyring, read_bytes=True)
        # without its newest head a champion is a candidate again, and is called so
        if found.ok and found.asset == f"{MODEL}/champion":
            missed.append((key, name))
        world.store.write(key, original)
    assert missed == []
    assert verify_model(file, vault=world.store, keyring=keyring, read_bytes=True).ok


def _flip(chosen: random.Random, data: bytes) -> bytes:
    place = chosen.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << chosen.randrange(8))]) + data[place + 1 :]


def _field(chosen: random.Random, data: bytes, other: bytes, stranger: Signer) -> bytes:
    """Change one field of a JSON record, inside its payload where it has one, keeping the form canonical."""
    try:
        document = json.loads(data)
    except ValueError:
        return _flip(chosen, data)
    import base64

    payload = json.loads(base64.b64decode(document["payload"])) if "payload" in document else document
    _mutate(chosen, payload)
    if "payload" in document:
        if chosen.random() < 0.5:
            return stranger.sign(document["payloadType"], canonical_json(payload))
        document["payload"] = base64.b64encode(canonical_json(payload)).decode()
        return canonical_json(document)
    return canonical_json(payload)


def _mutate(chosen: random.Random, node: object) -> None:
    places: list[tuple[object, object]] = []

    def walk(parent: object) -> None:
        children = parent.items() if isinstance(parent, dict) else enumerate(parent) if isinstance(parent, list) else ()
        for key, child in children:
            if isinstance(child, dict | list) and child:
                walk(child)
            else:
                places.append((parent, key))

    walk(node)
    parent, key = chosen.choice(places)
    value = parent[key]  # type: ignore[index]
    changed = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"
    parent[key] = changed  # type: ignore[index]


_Tamper = Callable[[random.Random, bytes, bytes, Signer], bytes | None]
_TAMPERS: list[tuple[str, _Tamper]] = [
    ("flip", lambda chosen, data, other, stranger: _flip(chosen, data)),
    ("flip", lambda chosen, data, other, stranger: _flip(chosen, data)),
    ("field", _field),
    ("field", _field),
    ("cut", lambda chosen, data, other, stranger: data[: chosen.randrange(len(data))]),
    ("append", lambda chosen, data, other, stranger: data + b" "),
    ("remove", lambda chosen, data, other, stranger: None),
    ("swap", lambda chosen, data, other, stranger: other),
]


def test_verification_imports_neither_dagster_nor_pandas(tmp_path: Path) -> None:
    world = World(lake=LocalStore(tmp_path / "lake"), store=LocalStore(tmp_path / "vault"))
    file = written(tmp_path, world.whole())
    (tmp_path / "key.pem").write_bytes(world.signer.public_pem)
    code = (
        "import sys, pathlib\n"
        "from orchestrai.provenance.verify.model_proof import verify_model\n"
        "from orchestrai.ledger.signing import load_keyring\n"
        "from orchestrai.storage.url import open_store\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "found = verify_model(folder / 'model.ubj', vault=open_store(str(folder / 'vault')),"
        " keyring=load_keyring([(folder / 'key.pem').read_bytes()]), read_bytes=True)\n"
        "assert found.ok, found.problems\n"
        "print(sorted(n for n in ('dagster', 'pandas', 'duckdb', 'xgboost', 'sklearn', 'boto3') if n in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert file.exists()
