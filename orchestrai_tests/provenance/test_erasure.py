"""After an erasure no snapshot gives the person back, and the person does not come back by landing again."""

import dataclasses
import json
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from orchestrai.contracts.contract import Column, Contract, VolumeRule
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, DigestMismatch, IntegrityError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.report import StageReport
from orchestrai.privacy.persons import PersonKeys
from orchestrai.privacy.tokens import PERSON, reveal, token, tokenise
from orchestrai.provenance.decision_log import ERASURES
from orchestrai.provenance.erasure.dead_letter_erasure import REDACTION_TYPE
from orchestrai.provenance.erasure.erasure import erase, plan_erasure
from orchestrai.provenance.verify.audit import audit
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai.vault.dead_letter_copy import keep_dead_letters
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.lifecycle.lock import lock_snapshot
from orchestrai_tests.copies import copies
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World
from orchestrai_tests.running import ingest
from orchestrai_tests.servers.s3 import S3Server

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_ERASURES", "4"))
SCHEMA = pa.schema([("customer_id", pa.string()), ("email", pa.string()), ("amount", pa.float64())])


def orders(*customers: str | None) -> pa.Table:
    rows = [{"customer_id": c, "email": f"{c}@example.org", "amount": 1.0} for c in customers]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


CONTRACT = Contract(
    name="orders",
    version="1.0.0",
    columns=(
        Column("customer_id", "STRING", "customer_id"),
        Column("email", "STRING", "email", tokenise=True),
        Column("amount", "DOUBLE", "amount"),
    ),
    person="customer_id",
    volume=VolumeRule("none"),
)


CLEAR = dataclasses.replace(
    CONTRACT, person=None, columns=tuple(dataclasses.replace(column, tokenise=False) for column in CONTRACT.columns)
)


def land(world: World, keys: PersonKeys, day: str, table: pa.Table, folder: Path, contract: Contract = CONTRACT) -> None:
    landing = LocalStore(folder / "landing")
    csv.write_csv(table, folder / "table.csv")
    landing.write(f"{day}.csv", (folder / "table.csv").read_bytes())
    report = ingest(
        world.ledger,
        asset=f"{ORDERS}/raw_events",
        landing=landing,
        source=SourceSpec(url="landing", format="csv"),
        contract=contract,
        grain="day",
        partitions=[day],
        now=datetime(2026, 2, 1, tzinfo=UTC),
        persons=keys,
    )
    assert not report.refused


def every_byte(*stores: MemoryStore) -> bytes:
    return b"".join(store.read(info.key) for store in stores for info in store.list())


@given(st.text(), st.text(), st.text())
def test_a_token_turns_back_under_its_own_key_and_column_only(person: str, value: str, column: str) -> None:
    keys = PersonKeys(MemoryStore())
    mine, other = keys.key(person), keys.key(person + "x")
    assert mine is not None and other is not None
    text = token(mine, column, value)
    assert reveal(mine, column, text) == value
    assert token(mine, column, value) == text
    with pytest.raises(IntegrityError):
        reveal(other, column, text)
    with pytest.raises(IntegrityError):
        reveal(mine, column + "x", text)


def test_tokens_join_across_datasets_and_hide_what_they_stand_for() -> None:
    keys = PersonKeys(MemoryStore())
    first = tokenise(orders("17850", "13047"), ["email"], "customer_id", keys).table
    second = tokenise(orders("17850").rename_columns(["buyer", "email", "amount"]), ["email"], "buyer", keys).table
    assert first.column("customer_id")[0] == second.column("buyer")[0]
    assert first.column("customer_id")[0] != first.column("customer_id")[1]
    assert "17850" not in str(first.to_pylist())
    assert first.schema == SCHEMA


def test_personal_values_of_nobody_become_null() -> None:
    done = tokenise(orders(None), ["email"], "customer_id", PersonKeys(MemoryStore())).table
    assert done.to_pylist() == [{"customer_id": None, "email": None, "amount": 1.0}]


def test_a_column_that_cannot_hold_a_token_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match="STRING"):
        tokenise(orders("1"), ["amount"], "customer_id", PersonKeys(MemoryStore()))


def test_planning_names_partitions_and_models_and_destroys_nothing(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    learn(world, keys, tmp_path)
    plan = plan_erasure(world.ledger, keys, "17850")
    assert [place[:2] for place in plan.partitions] == [(f"{ORDERS}/raw_events", "2026-01-01")]
    assert {model.asset for model in plan.models} == {f"{MODEL}/candidate", f"{MODEL}/champion"}
    assert keys.peek("17850") is not None
    assert plan_erasure(world.ledger, keys, "99999").partitions == ()


def learn(world: World, keys: PersonKeys, folder: Path) -> None:
    days = ["2026-01-01", "2026-01-02"]
    land(world, keys, days[0], orders("17850", "13047"), folder)
    land(world, keys, days[1], orders("13047"), folder)
    world.back_up(days)
    world.restore(days)
    world.features(days)
    world.train()


def test_after_an_erasure_no_store_holds_or_gives_back_the_person(world: World, tmp_path: Path) -> None:
    store = MemoryStore()
    keys = PersonKeys(store)
    learn(world, keys, tmp_path)
    key = keys.peek("17850")
    assert key is not None
    assert erase(world.ledger, keys, "17850").done
    world.restore(["2026-01-01", "2026-01-02"])
    assert isinstance(world.lake, MemoryStore) and isinstance(world.store, MemoryStore)
    everything = every_byte(world.lake, world.store, store)
    assert b"17850" not in everything
    assert key not in everything
    fresh = PersonKeys(store)
    assert fresh.key("17850") is None
    assert fresh.key("13047") is not None
    for file in copies(world.ledger.open(f"{ORDERS}/restored"), "2026-01-01", tmp_path):
        for text in pq.read_table(file.path).column("customer_id").to_pylist():
            with pytest.raises(IntegrityError):
                reveal(b"\0" * 64, PERSON, text)


def test_an_erased_person_who_lands_again_is_left_out() -> None:
    keys = PersonKeys(MemoryStore())
    keys.key("17850")
    keys.destroy("17850")
    done = tokenise(orders("17850", "13047"), ["email"], "customer_id", keys)
    assert (done.table.num_rows, done.erased_rows) == (1, 1)


def test_the_tombstone_is_signed_in_lake_and_vault_and_erasing_twice_keeps_it(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    learn(world, keys, tmp_path)
    erase(world.ledger, keys, "17850")
    before = list(ERASURES.all(world.store, world.keyring))
    assert erase(world.ledger, keys, "17850").done
    assert list(ERASURES.all(world.lake, world.keyring)) == before
    assert before[0]["person"] == keys.name("17850")
    assert any(text.startswith(f"{MODEL}/champion@") for text in before[0]["models"])
    assert "17850" not in str(before)


def test_what_was_backed_up_in_clear_before_is_named_with_its_snapshots(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    days = ["2026-01-01", "2026-01-02"]
    land(world, keys, days[0], orders("17850", "13047"), tmp_path, CLEAR)
    world.back_up(days[:1])
    world.restore(days[:1])
    land(world, keys, days[1], orders("17850"), tmp_path)
    world.back_up(days)
    ids = [commit.snapshot_id for commit in world.vault.snapshots()]
    done = erase(world.ledger, keys, "17850", world.vault)
    assert done.done and not done.complete
    (copy,) = done.clear
    assert (copy.asset, copy.partition, copy.snapshots) == (f"{ORDERS}/raw_events", days[0], tuple(ids))
    assert done.in_clear == (f"{ORDERS}/raw_events", f"{ORDERS}/restored", f"{ORDERS}/snapshot")
    assert any(b"17850" in world.lake.read(key) for key in copy.lake_keys)
    assert plan_erasure(world.ledger, keys, "99999", world.vault).clear == ()
    assert next(iter(ERASURES.all(world.store, world.keyring)))["clear"] == [[copy.asset, copy.partition, copy.root, *ids]]

    # the remedy: tokenised anew, backed up, the snapshots that hold it in clear forgotten
    for key in copy.lake_keys:
        world.lake.delete(key)
    assert plan_erasure(world.ledger, keys, "17850", world.vault).clear[0].snapshots == tuple(ids)
    land(world, keys, days[0], orders("13047"), tmp_path)
    world.back_up(days)
    for identity in ids:
        world.vault.forget(identity, reason="in clear")
    assert plan_erasure(world.ledger, keys, "17850", world.vault).complete


def test_erasures_leave_no_row_of_the_person_readable_in_any_snapshot(tmp_path: Path) -> None:
    """Random persons over random days; one is erased, then every snapshot there ever was is restored and read with every key."""
    readable = checked = others = 0
    for trial in range(TRIALS):
        chosen = random.Random(trial)
        folder = tmp_path / str(trial)
        folder.mkdir()
        world, keys = World(), PersonKeys(store := MemoryStore())
        persons = [f"person-{chosen.randrange(10**9):09d}" for _ in range(4)]
        days = ["2026-01-01", "2026-01-02", "2026-01-03"]
        for day in days:
            land(world, keys, day, orders(*(chosen.choice(persons) for _ in range(6)), persons[0]), folder)
            world.back_up([day])
        if chosen.random() < 0.5:
            land(world, keys, days[0], orders(*persons), folder)
            world.back_up(days[:1])
        gone = persons[0]
        assert erase(world.ledger, keys, gone, world.vault).complete
        left = [store.read(info.key) for info in store.list("keys/")]
        for commit in world.vault.snapshots():
            target = folder / commit.snapshot_id
            restore_folder(world.vault, commit, target, sync=False)
            for path in sorted(target.rglob("*")):
                if path.is_file():
                    assert gone.encode() not in path.read_bytes()
            for path in sorted(target.rglob("*.parquet")):
                for text in pq.read_table(path).column("customer_id").to_pylist():
                    opened = {found for key in left if (found := _revealed(key, text)) is not None}
                    checked += 1
                    readable += gone in opened
                    others += bool(opened)
    assert readable == 0
    assert checked > others > 0


def _revealed(key: bytes, text: str) -> str | None:
    try:
        return reveal(key, PERSON, text)
    except IntegrityError:
        return None


def test_the_command_plans_and_is_loud_about_copies_in_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from orchestrai.cli.app import app
    from orchestrai.ledger.signing import load_or_create_signer

    home = tmp_path / "home"
    world = World(
        lake=LocalStore(home / "lake"), store=LocalStore(home / "vault"), signer=load_or_create_signer(home / "keys")
    )
    keys = PersonKeys(LocalStore(home / "keys" / "persons"))
    land_bytes(world, keys, "2026-01-01", messy("17850", "13047"), tmp_path, CLEAR)
    land(world, keys, "2026-01-02", orders("17850", "13047"), tmp_path)
    world.back_up(["2026-01-01", "2026-01-02"])
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["erase", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout

    monkeypatch.setattr("orchestrai.storage.cloud.known_person.os_user", lambda: "root")
    code, text = run("17850", "--plan")
    assert code == 1
    assert "IN CLEAR" in text and "vault forget" in text and "nothing was changed" in text
    assert f"dead letters in clear: 1 in {ORDERS}/dead_letters@2026-01-01" in text
    assert keys.peek("17850") is not None
    code, text = run("17850", "--yes", "--by", "ann", "--json")
    assert (code, json.loads(text)["done"], json.loads(text)["complete"]) == (1, True, False)
    assert keys.peek("17850") is None
    assert next(iter(ERASURES.all(world.store, world.keyring)))["by"] == "root (claims to be ann)"
    code, text = run("13047", "--plan")
    assert code == 0 and "dead letters" not in text


def messy(*customers: str) -> bytes:
    """Orders of some customers, of which the last cannot be typed: a dead letter that quotes the row."""
    rows = [f"{customer},{customer}@example.org,{'1.0' if customer != customers[-1] else 'many'}" for customer in customers]
    return "\n".join(["customer_id,email,amount", *rows, ""]).encode()


def land_bytes(world: World, keys: PersonKeys, day: str, data: bytes, folder: Path, contract: Contract) -> StageReport:
    landing = LocalStore(folder / "landing")
    landing.write(f"{day}.csv", data)
    return ingest(
        world.ledger,
        asset=f"{ORDERS}/raw_events",
        landing=landing,
        source=SourceSpec(url="landing", format="csv", max_refused_share=0.9),
        contract=contract,
        grain="day",
        partitions=[day],
        now=datetime(2026, 2, 1, tzinfo=UTC),
        persons=keys,
    )


def test_dead_letters_from_before_the_contract_tokenised_lose_what_they_quote(world: World, tmp_path: Path) -> None:
    keys, letters = PersonKeys(MemoryStore()), f"{ORDERS}/dead_letters"
    assert isinstance(world.lake, MemoryStore) and isinstance(world.store, MemoryStore)
    for data in (messy("13047", "17850"), messy("13047", "15311", "17850")):
        land_bytes(world, keys, "2026-01-01", data, tmp_path, CLEAR)
    before = world.ledger.open(letters)
    assert b"17850" in b"".join(world.lake.read(f.key) for f in before.files("2026-01-01").files)
    for day in ("2026-01-01", "2026-01-02"):
        land(world, keys, day, orders("13047"), tmp_path)
    plan = plan_erasure(world.ledger, keys, "17850")
    assert [(found.asset, found.partition, found.letters) for found in plan.letters] == [(letters, "2026-01-01", 1)] * 2
    held = {key for found in plan.letters for key in found.lake_keys}
    erase(world.ledger, keys, "17850", by="ann")

    left = {info.key: world.lake.read(info.key) for info in world.lake.list(f"data/{letters}/")}
    assert not any(b"17850" in data for data in left.values())
    for key in held:
        note = json.loads(world.keyring.open(REDACTION_TYPE, left[key]))
        assert (note["key"], note["by"]) == (key, "ann")
    # logs, receipts and roots of the old versions still check; their bytes are refused
    assert audit(world.lake, world.keyring, witness=world.store).ok
    with pytest.raises(DigestMismatch):
        copies(world.ledger.open(letters, before.version), "2026-01-01", tmp_path)
    again = erase(world.ledger, keys, "17850", by="ann")
    assert again.letters == () and again.unchecked == ()


def test_current_dead_letters_in_clear_keep_place_and_reason(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    land_bytes(world, keys, "2026-01-01", messy("13047", "17850"), tmp_path, CLEAR)
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    (before,) = list_letters(world.ledger, f"{ORDERS}/raw_events")
    assert "17850" in before.text and ", found " in before.reason
    erase(world.ledger, keys, "17850")
    (after,) = list_letters(world.ledger, f"{ORDERS}/raw_events")
    assert after == dataclasses.replace(before, text="", reason=before.reason.partition(", found ")[0])
    assert plan_erasure(world.ledger, keys, "13047").letters == ()


def test_dead_letters_in_snapshots_that_quote_rows_are_named_until_these_are_forgotten(world: World, tmp_path: Path) -> None:
    keys, letters = PersonKeys(MemoryStore()), f"{ORDERS}/dead_letters"
    land_bytes(world, keys, "2026-01-01", messy("13047", "17850"), tmp_path, CLEAR)
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    first = keep_dead_letters(world.ledger, world.vault, letters)
    assert first is not None and keep_dead_letters(world.ledger, world.vault, letters) is None
    erased = erase(world.ledger, keys, "17850", world.vault)
    (copy,) = (copy for copy in erased.clear if copy.asset == letters)
    assert (copy.partition, copy.snapshots, copy.lake_keys, erased.complete) == (
        "2026-01-01",
        (first.snapshot_id,),
        (),
        False,
    )
    # what is kept from now on quotes nothing, and the lake forgot what the snapshot has
    after = keep_dead_letters(world.ledger, world.vault, letters)
    assert after is not None
    assert [c.snapshots for c in erase(world.ledger, keys, "17850", world.vault).clear if c.asset == letters] == [
        copy.snapshots
    ]
    world.vault.forget(first.snapshot_id, reason="erasure")
    assert not [c for c in plan_erasure(world.ledger, keys, "17850", world.vault).clear if c.asset == letters]


def test_letters_of_others_in_a_snapshot_make_nobody_known(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    land_bytes(world, keys, "2026-01-01", messy("13047", "17850"), tmp_path, CLEAR)
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    keep_dead_letters(world.ledger, world.vault, f"{ORDERS}/dead_letters")
    with pytest.raises(ConfigError, match="found nobody"):
        erase(world.ledger, keys, "99999", world.vault)
    assert plan_erasure(world.ledger, keys, "17850", world.vault).spelling.known


def test_erasing_a_person_whom_nobody_knows_is_a_mistake_and_leaves_no_record(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    land(world, keys, "2026-01-01", orders("17850"), tmp_path)
    before = [info.key for info in keys.store.list()]
    assert not plan_erasure(world.ledger, keys, "99999").spelling.known
    with pytest.raises(ConfigError, match="99999"):
        erase(world.ledger, keys, "99999")
    assert list(ERASURES.all(world.lake, world.keyring)) == []
    assert [info.key for info in keys.store.list()] == before
    erase(world.ledger, keys, "17850")
    assert erase(world.ledger, keys, "17850").done, "twice is no mistake"


@pytest.mark.parametrize(("typed", "stored"), [("17850.0", "17850"), (" 17850 ", "17850"), ("17850", "17850.0")])
def test_the_spelling_of_the_data_is_found_by_what_a_contract_may_have_made_of_it(
    world: World, tmp_path: Path, typed: str, stored: str
) -> None:
    keys = PersonKeys(MemoryStore())
    land(world, keys, "2026-01-01", orders(stored, "13047"), tmp_path)
    done = erase(world.ledger, keys, typed)
    assert done.spelling.person == stored
    assert done.partitions
    assert keys.is_erased(stored)
    assert not keys.is_erased(typed)


def test_a_spelling_that_no_contract_makes_equal_is_named_and_not_taken(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    land(world, keys, "2026-01-01", orders("Anna", "17850", "17850.0"), tmp_path)
    with pytest.raises(ConfigError, match="known are Anna"):
        erase(world.ledger, keys, "ANNA")
    assert keys.peek("Anna") is not None
    assert plan_erasure(world.ledger, keys, "17850").spelling.others == ("17850.0",)


def test_bytes_put_in_place_of_dead_letters_by_someone_else_are_not_taken_for_an_erasure(
    world: World, tmp_path: Path
) -> None:
    keys = PersonKeys(MemoryStore())
    land_bytes(world, keys, "2026-01-01", messy("13047", "17850"), tmp_path, CLEAR)
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    (found,) = plan_erasure(world.ledger, keys, "17850").letters
    assert isinstance(world.lake, MemoryStore)
    world.lake.write(found.lake_keys[0], World().signer.sign(REDACTION_TYPE, b"{}"))
    plan = plan_erasure(world.ledger, keys, "17850")
    assert plan.letters == () and plan.unchecked == (f"{ORDERS}/dead_letters@2026-01-01",) and not plan.complete


def test_what_a_gate_refused_in_clear_before_is_named(world: World, tmp_path: Path) -> None:
    keys = PersonKeys(MemoryStore())
    strict = dataclasses.replace(CLEAR, volume=VolumeRule("none", minimum=100))
    land_bytes(world, keys, "2026-01-01", messy("17850", "13047"), tmp_path, strict)
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    (copy,) = plan_erasure(world.ledger, keys, "17850").clear
    assert (copy.partition, copy.snapshots) == ("2026-01-01", ()) and copy.root.startswith("quarantine/")
    assert len(copy.lake_keys) == 2
    assert plan_erasure(world.ledger, keys, "99999").complete
    for key in copy.lake_keys:
        world.lake.delete(key)
    assert plan_erasure(world.ledger, keys, "17850").complete


@pytest.mark.parametrize("damaged", [False, True])
def test_a_refused_original_that_lies_compressed_is_looked_into_and_named_where_it_does_not_open(
    world: World, tmp_path: Path, damaged: bool
) -> None:
    """Of this one no row could be typed, so that the original alone tells whom it is about."""
    keys = PersonKeys(MemoryStore())
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    session = world.ledger.session(f"{ORDERS}/raw_events", producer("raw_events"))
    text = b"".join(b"%d;LAMP;%s\n" % (n, b"17850" if n == 1999 else b"13047") for n in range(2000))
    entry = session.add_bytes("2026-01-01", "landed/2026-01-01.csv", text, role="landed")
    session.commit({"2026-01-01": [Verdict("schema", False, "expected columns, found none")]})
    data = world.lake.read(entry.key)
    assert entry.packed == len(data) and b"17850" not in data
    if damaged:
        world.lake.write(entry.key, data[: len(data) // 2])
    # what does not open may be about anybody
    (copy,) = plan_erasure(world.ledger, keys, "99999" if damaged else "17850").clear
    assert copy.lake_keys == (entry.key,)
    assert damaged or plan_erasure(world.ledger, keys, "99999").complete


def test_a_copy_in_a_locked_vault_is_named_with_the_day_its_lock_ends(
    rgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rgw.environment().items():
        monkeypatch.setenv(name, value)
    world, keys = World(store=open_store(f"s3://{rgw.bucket(locked=True)}/vault")), PersonKeys(MemoryStore())
    land(world, keys, "2026-01-01", orders("17850"), tmp_path, CLEAR)
    world.back_up(["2026-01-01"])
    land(world, keys, "2026-01-02", orders("13047"), tmp_path)
    (commit,) = world.vault.snapshots()
    lock_snapshot(world.vault, commit, control := control_plane(world.store), timedelta(days=30))
    (copy,) = plan_erasure(world.ledger, keys, "17850", world.vault).clear
    assert copy.locked >= (commit.committed + timedelta(days=30)).isoformat()[:16]
    place_hold(world.vault, commit.dataset, None, control, reason="a claim")
    assert plan_erasure(world.ledger, keys, "17850", world.vault).clear[0].locked == "legal hold"
