"""Moves of several assets count together or not at all, and a log that was cut off is found."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConcurrentCommit, IntegrityError, SignatureInvalid
from orchestrai.ledger.decisions.standing import TRANSACTIONS, Decision
from orchestrai.ledger.decisions.transactions import Transaction, decide
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.provenance.verify.audit import audit
from orchestrai.storage.local import LocalStore
from orchestrai_tests.copies import copies
from orchestrai_tests.producers import producer

ASSETS = ("p/data/raw_events", "p/view/features", "p/model/champion")
GOOD = (Verdict("schema", True),)


@pytest.fixture(autouse=True)
def no_disk_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power losses are tried elsewhere; waiting for the disk would take most of the time."""
    monkeypatch.setattr(LocalStore, "sync", lambda store: None)


class Mortal(BaseException):
    """The machine dies."""


def stage(ledger: Ledger, asset: str, data: bytes, transaction: Transaction | None = None) -> None:
    session = ledger.session(asset, producer(asset.rsplit("/", 1)[-1]))
    session.add_bytes("all", "part-00000.parquet", data, rows=1)
    session.commit({"all": GOOD}, action="rollback" if transaction else "publish", transaction=transaction)


def move(ledger: Ledger, data: bytes, meanwhile: Callable[[], None] = lambda: None) -> None:
    transaction = Transaction(ledger, "back")
    for asset in ASSETS:
        stage(ledger, asset, data, transaction)
    meanwhile()
    transaction.commit()


def state(ledger: Ledger, folder: Path) -> list[bytes]:
    return [b"".join(file.path.read_bytes() for file in copies(ledger.open(asset), "all", folder)) for asset in ASSETS]


def again(tmp_path: Path) -> Ledger:
    """The ledger as another process opens it."""
    signer = load_or_create_signer(tmp_path / "keys")
    return Ledger(LocalStore(tmp_path / "lake"), signer, vault=LocalStore(tmp_path / "vault"))


def test_all_moves_are_seen_at_once_and_not_before(ledger: Ledger, tmp_path: Path) -> None:
    for asset in ASSETS:
        stage(ledger, asset, b"new")
    seen: list[list[bytes]] = []
    move(ledger, b"old", lambda: seen.append(state(again(tmp_path), tmp_path)))
    assert seen == [[b"new"] * 3]
    assert state(ledger, tmp_path) == [b"old"] * 3
    assert [head.action for head in ledger.history(ASSETS[0])] == ["rollback", "publish"]


def test_a_crash_after_any_number_of_writes_tears_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left, outcomes = LocalStore.write, [0], []

    def dies(store: LocalStore, key: str, *rest: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Mortal
        return write(store, key, *rest, **options)

    for survived in range(1000):
        data = f"old {survived}".encode()
        for asset in ASSETS:
            # the dead writer's entries are undecided: what comes next goes ahead of them
            stage(again(tmp_path), asset, b"new")
        left[0] = survived
        with monkeypatch.context() as patched, suppress(Mortal):
            patched.setattr(LocalStore, "write", dies)
            move(again(tmp_path), data)
        found = state(again(tmp_path), tmp_path)
        assert found in ([b"new"] * 3, [data] * 3), f"torn after {survived} writes"
        outcomes.append(found[0])
        if left[0] >= 0:
            break
    assert len(outcomes) > 20
    assert outcomes[-1] == data
    # once the decision is written it holds, though its copy in the vault is not
    assert [found != b"new" for found in outcomes] == sorted(found != b"new" for found in outcomes)
    stage(again(tmp_path), ASSETS[0], b"newer")
    fresh = again(tmp_path)
    assert fresh.vault is not None
    found_audit = audit(fresh.lake, fresh.keyring, witness=fresh.vault)
    assert found_audit.ok, found_audit


def test_who_publishes_after_an_undecided_move_aborts_it(ledger: Ledger, tmp_path: Path) -> None:
    for asset in ASSETS:
        stage(ledger, asset, b"new")
    with pytest.raises(ConcurrentCommit, match="nothing was moved"):
        move(ledger, b"old", lambda: stage(again(tmp_path), ASSETS[1], b"newest"))
    assert state(again(tmp_path), tmp_path) == [b"new", b"newest", b"new"]


def test_a_decision_that_names_other_entries_or_was_forged_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    for asset in ASSETS:
        stage(ledger, asset, b"new")
    transaction = Transaction(ledger)
    for asset in ASSETS:
        stage(ledger, asset, b"old", transaction)
    stranger = Ledger(ledger.lake, load_or_create_signer(tmp_path / "stranger"))
    envelope = TRANSACTIONS.sign(stranger.signer, Decision(transaction.id, "commit", transaction.heads))
    ledger.lake.write(TRANSACTIONS.key(transaction.id), envelope)
    with pytest.raises(SignatureInvalid):
        ledger.open(ASSETS[0])
    ledger.lake.delete(TRANSACTIONS.key(transaction.id))
    decide(ledger, Decision(transaction.id, "commit", {asset: "0" * 64 for asset in ASSETS}))
    with pytest.raises(IntegrityError, match="treat it as forged"):
        ledger.open(ASSETS[0])


def test_a_log_that_was_cut_off_is_refused_with_a_remedy(ledger: Ledger, tmp_path: Path) -> None:
    stage(ledger, ASSETS[0], b"one")
    stage(ledger, ASSETS[0], b"two")
    head = ledger.head(ASSETS[0])
    assert head is not None
    key = f"heads/{ASSETS[0]}/{head.seq:012d}.json"
    kept = ledger.lake.read(key)
    ledger.lake.delete(key)
    for attempt in (ledger.open, ledger.find, lambda asset: ledger.session(asset, producer("raw_events"))):
        with pytest.raises(IntegrityError, match=r"cut off; run `orchestrai rebuild`"):
            attempt(ASSETS[0])
    ledger.lake.write(key, kept)
    assert ledger.open(ASSETS[0]).head == head


def test_a_writer_that_died_before_its_copy_to_the_vault_leaves_no_gap_there(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.vault is not None
    for data in (b"one", b"two", b"three"):
        stage(ledger, ASSETS[0], data)
    for seq in (2, 3):
        ledger.vault.delete(f"heads/{ASSETS[0]}/{seq:012d}.json")
    stage(again(tmp_path), ASSETS[0], b"four")
    assert audit(ledger.lake, ledger.keyring, witness=ledger.vault).ok


class Counting(LocalStore):
    """Counts listings."""

    listings = 0

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Any:
        self.listings += 1
        return super().list(prefix, start_after=start_after)


def test_within_a_stage_a_head_is_read_once_and_what_it_publishes_is_seen(ledger: Ledger, tmp_path: Path) -> None:
    lake = Counting(tmp_path / "lake")
    mine = Ledger(lake, ledger.signer, vault=ledger.vault)
    stage(ledger, ASSETS[0], b"one")
    with mine.reading():
        first = mine.open(ASSETS[0])
        listed = lake.listings
        for _ in range(5):
            assert mine.open(ASSETS[0]).version == first.version
        assert lake.listings == listed
        stage(ledger, ASSETS[0], b"by another")
        assert mine.open(ASSETS[0]).version == first.version, "a stage reads one state"
        with pytest.raises(ConcurrentCommit):
            stage(mine, ASSETS[0], b"from the old state")
        stage(mine, ASSETS[1], b"two")
        assert mine.open(ASSETS[1]).rows == 1
    assert mine.open(ASSETS[0]).version != first.version
