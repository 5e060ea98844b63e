"""A root that signs in its successor: the line of roots is followed from any of them, and nobody else makes one."""

from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError, SignatureInvalid
from orchestrai.ledger.signing import Keyring, Signer, key_id
from orchestrai.ledger.trust.home_keys import ROOT as ROOT_FILE
from orchestrai.ledger.trust.home_keys import drop_root, next_root
from orchestrai.ledger.trust.key_log import KeyLog, fingerprint, log_envelopes, read_log, record_key, sign_record
from orchestrai.ledger.trust.key_rules import LoggedRules
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.heal.heal import Healing
from orchestrai.vault.pull.pull import Pull, PullTerms
from orchestrai.vault.replica.read_only_store import ReadOnlyStore
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.test_key_log import DATASET, FIRST, ROOT, SECOND, THIRD, House, files, key

NEXT, LAST = key(21), key(22)


@pytest.fixture
def house(clock: Clock) -> House:
    return House(clock)


def public_text(signer: Signer) -> str:
    import base64

    return base64.b64encode(signer.private_key.public_key().public_bytes_raw()).decode()


def pinned(house: House, signer: Signer, store: MemoryStore | None = None) -> LoggedRules:
    """Who reads with nothing but a fingerprint."""
    return LoggedRules(store or house.store, Keyring({}), root=fingerprint(signer.private_key.public_key())[:32])


def body(house: House, **more: object) -> dict[str, object]:
    log = house.log()
    told = {"change": "root", "key": "", "time": "2026-11-01T00:00:00+00:00", "by": "eve", "reason": "mine now"}
    return {"vault": log.vault, "seq": log.seq + 1, "previous": log.digest, **told, **more}


def test_the_new_root_signs_from_then_on_and_the_old_one_no_more(house: House) -> None:
    log = house.ceremony().change_root(NEXT, "a new stick")
    assert key_id(log.root) == NEXT.key_id and [key_id(one) for one in log.roots] == [ROOT.key_id, NEXT.key_id]
    with pytest.raises(ConfigError, match="the vault's root key"):
        house.add(SECOND, "write")
    house.ceremony(NEXT).add(SECOND.private_key.public_key(), ["write"], "colleague")
    house.at(SECOND).commit(DATASET, files("two"))
    assert len(house.at(FIRST).snapshots(DATASET)) == 2 and verify(house.at(FIRST), level="read").ok
    # whatever the old root signs behind its successor is refused, with all that follows
    house.store.write(record_key(house.log().seq + 1), sign_record(body(house, change="add", add={}), ROOT, FIRST))
    with pytest.raises(SignatureInvalid, match=f"by its root {NEXT.key_id}"):
        house.log()


def test_whoever_knows_any_root_of_the_line_comes_to_the_last(house: House) -> None:
    house.ceremony().change_root(NEXT, "a new stick")
    house.ceremony(NEXT).change_root(LAST, "and another")
    for signer in (ROOT, NEXT, LAST):
        log = pinned(house, signer).log()
        assert log is not None and key_id(log.root) == LAST.key_id
    with pytest.raises(IntegrityError, match="another's"):
        pinned(house, THIRD).log()
    # whoever names the last one is shown nothing that ends before it
    house.store.delete(record_key(3))
    assert pinned(house, NEXT).log() is not None
    with pytest.raises(IntegrityError, match="cut off before that root came"):
        pinned(house, LAST).log()


@pytest.mark.parametrize("signers", [(NEXT,), (ROOT,), (FIRST, NEXT), (THIRD, NEXT)])
def test_a_root_that_the_old_one_did_not_sign_or_that_did_not_sign_itself_is_refused(
    house: House, signers: tuple[Signer, ...]
) -> None:
    record = sign_record(body(house, root=public_text(NEXT)), *signers)
    house.store.write(record_key(2), record)
    with pytest.raises(SignatureInvalid):
        house.log()


def test_a_root_is_no_key_that_signs_records_and_none_that_was_root_before(house: House) -> None:
    with pytest.raises(ConfigError, match="expected a new key for a root"):
        house.ceremony().change_root(FIRST, "handy")
    house.ceremony().change_root(NEXT, "a new stick")
    with pytest.raises(ConfigError, match="expected a new key for a root"):
        house.ceremony(NEXT).change_root(ROOT, "back")
    record = sign_record(body(house, root=public_text(ROOT)), NEXT, ROOT)
    house.store.write(record_key(3), record)
    with pytest.raises(IntegrityError, match="expected another root"):
        house.log()


def test_a_succession_that_died_is_finished_by_the_same_command(house: House, tmp_path: Path) -> None:
    from orchestrai.ledger.signing import write_private

    write_private(tmp_path / ROOT_FILE, ROOT)
    new, place = next_root(tmp_path, None)
    # it died before the record; the next takes the key that was made
    again, _ = next_root(tmp_path, None)
    assert again.key_id == new.key_id
    first = house.ceremony().change_root(new, "yearly")
    # it died behind the record: the log stays as it is
    assert house.ceremony(ROOT).change_root(new, "yearly").seq == first.seq == 2
    assert drop_root(tmp_path, ROOT.private_key.public_key(), new) is None
    assert [path.name for path in tmp_path.glob("*.pem")] == [f"root-{new.key_id}.pem"] and not place.exists()


def test_a_release_that_knows_no_succession_does_not_pass_over_it(house: House) -> None:
    import json

    from orchestrai.ledger.signing import opened_envelope

    house.ceremony().change_root(NEXT, "a new stick")
    formats = [json.loads(opened_envelope(one)[1])["format"] for one in log_envelopes(house.store)]
    assert formats == [1, 2]
    # and the number alone makes no succession of another record
    record = sign_record(body(house, change="add", add={}), NEXT)
    assert read_log([*log_envelopes(house.store), record]) is not None


def test_a_replica_and_a_pulled_copy_follow_the_line_also_from_behind_it(house: House, clock: Clock) -> None:
    copy, replica = MemoryStore(clock, "copy"), MemoryStore(clock, "replica")
    replicate(house.at(FIRST), replica)

    def pull(root: Signer) -> Pull:
        rules = pinned(house, root)
        reader = Vault(ReadOnlyStore(house.store), SECOND, Keyring({}, rules=rules), clock=clock, workers=0)
        return Pull(reader, copy, PullTerms())

    assert pull(ROOT).run().ok
    house.ceremony().change_root(NEXT, "a new stick")
    house.at(FIRST).commit(DATASET, files("two"))
    # the copy's own log ends before the root that is named
    assert pull(NEXT).run().ok
    assert pinned(house, NEXT, copy).log() is not None
    assert replicate(house.at(FIRST), replica).verified.ok
    house.store.delete(record_key(1))

    def opened(store: object, keyring: Keyring) -> Vault:
        return Vault(store, FIRST, keyring, clock=clock, workers=0)  # type: ignore[arg-type]

    healing = Healing([house.store, replica], Keyring({}, rules=pinned(house, NEXT, replica)), opened, None)
    healing.apply(healing.plan())
    log: KeyLog | None = pinned(house, NEXT).log()
    assert log is not None and log.seq == 2
