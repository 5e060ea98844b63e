"""What destroys takes two where the key log says so: retention's forgetting and a person's erasure, as forgetting and releasing do."""

import itertools

import pytest

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ApprovalNeeded, ConfigError, KeyRefused, NotCounted
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.ledger.trust.approvals import PROPOSALS, Approvals
from orchestrai.ledger.trust.key_rules import LoggedRules, governed
from orchestrai.privacy.persons import PersonKeys
from orchestrai.provenance.decision_log import ERASURES
from orchestrai.provenance.erasure.erasure import erase, plan_erasure
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.lifecycle.retention import apply_retention, plan_dataset
from orchestrai.vault.lifecycle.retention_run import retain
from orchestrai.vault.spec import KeepSpec
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.test_key_log import DATASET, FIRST, SECOND, THIRD, House, approvals, files, findings, names

TWO = KeepSpec(last=2)


@pytest.fixture
def two(clock: Clock) -> House:
    """A vault of four snapshots where it takes two keys to forget and to erase; a third may write alone."""
    house = House(clock)
    for text in ("two", "three", "four"):
        clock.pass_by(days=1)
        house.at(FIRST).commit(DATASET, files(text))
    house.add(SECOND, "write", "prune", "decide")
    house.add(THIRD, "write")
    house.ceremony().require_approvals({"forget": 2, "erase": 2}, "two-person rule")
    return house


def ledger_of(house: House, signer: Signer, lake: MemoryStore) -> Ledger:
    trusted = Keyring({**FIRST.keyring().keys, **SECOND.keyring().keys})
    count = itertools.count()
    keyring = governed(house.store, trusted)
    return Ledger(
        lake, signer, keyring, vault=house.store, clock=house.clock, new_id=lambda: f"{signer.key_id[:4]}{next(count)}"
    )


def decisions(report: StageReport) -> dict[int, str]:
    rows = report.facts["decisions"]
    assert isinstance(rows, list)
    return {row["seq"]: row["decision"] for row in rows}  # type: ignore[call-overload, index, misc]


# -- retention ---------------------------------------------------------------------------------------------------


def test_retention_proposes_and_a_later_run_forgets_what_another_signed(two: House) -> None:
    lake = MemoryStore(two.clock)

    def run() -> StageReport:
        return retain(ledger_of(two, FIRST, lake), two.at(FIRST), asset="shop/d/retention", dataset=DATASET, keep=TWO)

    report = run()
    assert names(two.at(FIRST)) == [1, 2, 3, 4]
    # what is published says what is there: two wait, and nothing is said to have gone
    assert decisions(report) == {1: "waits", 2: "waits", 3: "stays", 4: "stays"}
    assert len(report.facts["wait_for_approval"]) == 2 and report.facts["forgotten"] == []  # type: ignore[arg-type]
    # a second run by the same key adds nothing, and one by a key that may not prune does nothing
    assert decisions(run()) == {1: "waits", 2: "waits", 3: "stays", 4: "stays"}
    with pytest.raises(KeyRefused, match="role prune"):
        apply_retention(two.at(THIRD), plan_dataset(two.at(THIRD), DATASET, TWO)[0])
    second = approvals(two.at(SECOND))
    proposals = {one.body["seq"]: one for one in second.all()}
    assert set(proposals) == {1, 2} and all(set(one.signatures) == {FIRST.key_id} for one in proposals.values())
    assert all("retention: last 2" in one.body["reason"] for one in proposals.values())
    # one of two is signed: that one goes
    second.sign(proposals[1])
    report = run()
    assert names(two.at(FIRST)) == [2, 3, 4] and decisions(report) == {1: "forgotten", 2: "waits", 3: "stays", 4: "stays"}
    # and what another key's own retention proposes is the same proposal
    assert len(apply_retention(two.at(SECOND), plan_dataset(two.at(SECOND), DATASET, TWO)[0], policy=TWO.describe())) == 1
    assert names(two.at(FIRST)) == [3, 4] and not findings(two.at(FIRST))


def test_a_tombstone_of_retention_that_one_key_signed_hides_nothing(two: House) -> None:
    rogue = two.at(SECOND)
    rogue.keyring = rogue.catalog.keyring = Keyring({**FIRST.keyring().keys, **SECOND.keyring().keys})
    apply_retention(rogue, plan_dataset(rogue, DATASET, TWO)[0])
    assert names(two.at(FIRST)) == [1, 2, 3, 4]


def test_what_stays_by_a_hold_is_not_even_proposed(two: House) -> None:
    from orchestrai.vault.lifecycle.legal_hold import place_hold

    place_hold(two.at(FIRST), DATASET, None, None, reason="case")
    assert apply_retention(two.at(FIRST), plan_dataset(two.at(FIRST), DATASET, TWO)[0]) == ()
    assert not list(two.store.list(PROPOSALS))


# -- erasure -----------------------------------------------------------------------------------------------------


def test_an_erasure_destroys_nothing_until_another_has_signed(two: House) -> None:
    lake, keys = MemoryStore(two.clock), PersonKeys(MemoryStore())
    key = keys.key("17850")
    for _ in range(2):
        with pytest.raises(ApprovalNeeded, match="found 1"):
            erase(ledger_of(two, FIRST, lake), keys, "17850", by="ann")
    assert keys.peek("17850") == key and not list(lake.list(ERASURES.folder))
    second = Approvals(two.store, ledger_of(two, SECOND, lake).keyring, SECOND)
    (proposal,) = second.all()
    # the proposal names the person as the record will: by a hash
    assert proposal.what == "erase" and proposal.body["by"] == "ann" and "17850" not in proposal.payload.decode()
    second.sign(proposal)
    assert keys.peek("17850") == key
    two.clock.pass_by(hours=3)
    assert erase(ledger_of(two, FIRST, lake), keys, "17850", by="ann").done
    assert keys.peek("17850") is None
    for store in (lake, two.store):
        (record,) = ERASURES.all(store, ledger_of(two, SECOND, lake).keyring)
        assert record["person"] == proposal.body["person"]
    # and again: the record that two signed stands
    assert erase(ledger_of(two, SECOND, lake), keys, "17850", by="bob").done


def test_the_second_person_finishes_by_the_same_command(two: House) -> None:
    lake, keys = MemoryStore(two.clock), PersonKeys(MemoryStore())
    keys.key("17850")
    with pytest.raises(ApprovalNeeded):
        erase(ledger_of(two, FIRST, lake), keys, "17850", by="ann")
    assert erase(ledger_of(two, SECOND, lake), keys, "17850", by="bob").done and keys.peek("17850") is None


def test_a_key_that_may_not_decide_neither_proposes_nor_approves_an_erasure(two: House) -> None:
    lake, keys = MemoryStore(two.clock), PersonKeys(MemoryStore())
    keys.key("17850")
    with pytest.raises(KeyRefused, match="role decide"):
        erase(ledger_of(two, THIRD, lake), keys, "17850", by="eve")
    assert not list(two.store.list(PROPOSALS))
    with pytest.raises(ApprovalNeeded):
        erase(ledger_of(two, FIRST, lake), keys, "17850", by="ann")
    third = Approvals(two.store, ledger_of(two, THIRD, lake).keyring, THIRD)
    with pytest.raises(KeyRefused, match="role decide"):
        third.sign(next(iter(third.all())))
    assert keys.peek("17850") is not None


def test_a_record_of_an_erasure_that_one_key_signed_does_not_count(two: House) -> None:
    lake, keys = MemoryStore(two.clock), PersonKeys(MemoryStore())
    keys.key("17850")
    body = {
        "person": keys.name("17850"),
        "time": "",
        "by": "eve",
        "partitions": [],
        "models": [],
        "clear": [],
        "letters": [],
    }
    ERASURES.put([two.store, lake], SECOND, body)
    reader = ledger_of(two, FIRST, lake).keyring
    assert list(ERASURES.all(two.store, reader)) == []
    kind, payload = ERASURES.payload_type, canonical_json({"format": 1, **body})
    with pytest.raises(NotCounted, match="expected 2 signatures for erase"):
        reader.open(kind, SECOND.sign(kind, payload))
    rules = reader.rules
    assert isinstance(rules, LoggedRules) and rules.needed("erase") == 2


def test_an_unknown_person_is_a_mistake_and_not_a_proposal(two: House) -> None:
    lake, keys = MemoryStore(two.clock), PersonKeys(MemoryStore())
    with pytest.raises(ConfigError):
        erase(ledger_of(two, FIRST, lake), keys, "17850", by="ann")
    assert not list(two.store.list(PROPOSALS)) and not plan_erasure(ledger_of(two, FIRST, lake), keys, "17850").done
