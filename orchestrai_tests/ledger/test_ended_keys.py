"""What an ended or limited key signs in a lake beside a vault with a key log counts for nothing, and honest entries go on."""

from dataclasses import replace

import pytest

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, KeyRefused, NotCounted
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.ledger.decisions.void_heads import VOID_HEADS, VoidHead, acknowledge_void
from orchestrai.ledger.heads import append_head, head_prefix
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import STATEMENT_TYPE, Keyring, Signer, new_signer
from orchestrai.ledger.trust.key_rules import LoggedRules, governed
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.audit import audit
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.vault import Vault
from orchestrai_tests.producers import producer

ASSET = "shop/orders/raw_events"
OLD, NEW, ROOT = new_signer(), new_signer(), new_signer()


class Site:
    """A lake and its vault, whose key log has the old key."""

    def __init__(self) -> None:
        self.lake, self.store = MemoryStore(), MemoryStore()
        Vault(self.store, OLD, workers=0, root=ROOT).commit("d", {"p": [SourceFile("a", 1, b"a")]})

    def ledger(self, signer: Signer) -> Ledger:
        trusted = Keyring({**OLD.keyring().keys, **NEW.keyring().keys})
        return Ledger(self.lake, signer, governed(self.store, trusted), vault=self.store)

    def publish(self, signer: Signer, text: bytes) -> int:
        session = self.ledger(signer).session(ASSET, producer("raw_events"))
        session.add_bytes("2026-01-01", "a.txt", text, rows=1)
        session.commit({"2026-01-01": [Verdict("schema", True, "", "error")]})
        head = self.ledger(signer).head(ASSET)
        assert head is not None
        return head.seq

    def rotate(self) -> None:
        rules = governed(self.store, OLD.keyring()).rules
        assert isinstance(rules, LoggedRules)
        ceremony = Ceremony(self.store, rules, ROOT, self.lake, "ada", self.ledger(OLD).clock)
        ceremony.end(OLD.key_id, "yearly", successor=NEW.private_key.public_key())


@pytest.fixture
def site() -> Site:
    site = Site()
    site.publish(OLD, b"one")
    return site


def test_entries_of_before_a_rotation_count_and_the_new_key_goes_on(site: Site) -> None:
    version = site.ledger(OLD).open(ASSET).version
    site.rotate()
    assert site.ledger(NEW).open(ASSET).version == version
    assert site.publish(NEW, b"two") == 2
    head = site.ledger(NEW).head(ASSET)
    assert head is not None and head.key_log.startswith("3:")
    assert audit(site.lake, site.ledger(NEW).keyring, witness=site.store).ok


def test_a_writer_with_an_ended_key_publishes_nothing(site: Site) -> None:
    late = site.ledger(OLD).session(ASSET, producer("raw_events"))
    late.add_bytes("2026-01-01", "a.txt", b"late", rows=1)
    site.rotate()
    with pytest.raises(KeyRefused, match="nothing was lost"):
        late.commit({"2026-01-01": [Verdict("schema", True, "", "error")]})
    with pytest.raises(KeyRefused):
        site.publish(OLD, b"later")


def test_an_entry_that_an_ended_key_forges_stands_for_the_one_before_it(site: Site) -> None:
    version = site.ledger(OLD).open(ASSET).version
    site.rotate()
    head = site.ledger(NEW).head(ASSET)
    assert head is not None
    forged = replace(head, seq=2, version="sha256:" + "0" * 64, previous=head.digest, key_log="")
    append_head(site.lake, OLD, forged)
    site.store.write(f"{head_prefix(ASSET)}{2:012d}.json", site.lake.read(f"{head_prefix(ASSET)}{2:012d}.json"))
    assert site.ledger(NEW).open(ASSET).version == version
    assert site.publish(NEW, b"two") == 3
    assert [one.seq for one in site.ledger(NEW).history(ASSET)] == [3, 2, 1]
    assert len(Records(site.lake, site.ledger(NEW).keyring).log(ASSET)) == 3
    told = audit(site.lake, site.ledger(NEW).keyring, witness=site.store)
    assert not told.ok


@pytest.mark.parametrize("copied", [True, False])
def test_a_void_entry_that_somebody_knows_of_is_told_and_fails_no_audit(site: Site, copied: bool) -> None:
    site.rotate()
    ledger = site.ledger(NEW)
    head = ledger.head(ASSET)
    assert head is not None
    with pytest.raises(ConfigError, match="an entry that does not count"):
        acknowledge_void(ledger, ASSET, 1, by="ann", reason="it counts")
    append_head(site.lake, OLD, replace(head, seq=2, version="sha256:" + "0" * 64, previous=head.digest, key_log=""))
    key = f"{head_prefix(ASSET)}{2:012d}.json"
    if copied:
        site.store.write(key, site.lake.read(key))
    assert site.publish(NEW, b"two") == 3
    with pytest.raises(ConfigError, match="expected a reason"):
        acknowledge_void(ledger, ASSET, 2, by="ann", reason="")
    acknowledge_void(ledger, ASSET, 2, by="ann", reason="the stolen runner, see case 7")
    told = audit(site.lake, site.ledger(NEW).keyring, witness=site.store)
    assert told.ok, told.problems
    assert [key in one and "as ann says since" in one and one.endswith("see case 7") for one in told.known] == [True, True]
    # the word is about those very bytes, by a key that may decide, in both places
    forged = replace(
        head, seq=4, version="sha256:" + "1" * 64, previous=Records(site.lake, ledger.keyring).log(ASSET)[-1].digest
    )
    append_head(site.lake, OLD, replace(forged, key_log=""))
    again = audit(site.lake, site.ledger(NEW).keyring, witness=site.store)
    assert not again.ok and len(again.known) == 2
    record = next(info.key for info in site.store.list("void_heads/"))
    site.store.delete(record)
    assert any("in lake and vault" in one.message for one in audit(site.lake, ledger.keyring, witness=site.store).problems)


def test_a_word_about_a_void_entry_by_an_ended_key_says_nothing(site: Site) -> None:
    site.rotate()
    ledger = site.ledger(NEW)
    head = ledger.head(ASSET)
    assert head is not None
    append_head(site.lake, OLD, replace(head, seq=2, version="sha256:" + "0" * 64, previous=head.digest, key_log=""))
    envelope = site.lake.read(f"{head_prefix(ASSET)}{2:012d}.json")
    word = VoidHead(sha256_hex(envelope), ASSET, 2, "", "nothing to see", "thief", "2026-01-02T00:00:00+00:00")
    VOID_HEADS.put([site.lake, site.store], OLD, word)
    told = audit(site.lake, ledger.keyring, witness=site.store)
    assert not told.ok and told.known == ()


def test_a_receipt_that_an_ended_key_forges_is_refused(site: Site) -> None:
    site.rotate()
    forged = OLD.sign(STATEMENT_TYPE, canonical_json({"predicate": {}}))
    with pytest.raises(NotCounted, match="was ended"):
        site.ledger(NEW).keyring.open(STATEMENT_TYPE, forged)


def test_a_recall_that_an_ended_key_forges_recalls_nothing(site: Site) -> None:
    site.rotate()
    root = site.ledger(NEW).open(ASSET).roots()["2026-01-01"]
    record = RecallRecord("x", "ransom", "2026-01-02T00:00:00+00:00", {}, ((ASSET, "2026-01-01", root),), "thief")
    RECALLS.put([site.lake, site.store], OLD, record)
    assert not list(site.ledger(NEW).recalls().records)
    # and it takes no true one's place unseen
    with pytest.raises(NotCounted, match="was ended"):
        RECALLS.put([site.lake], NEW, replace(record, reason="true"), keyring=site.ledger(NEW).keyring)
