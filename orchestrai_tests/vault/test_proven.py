"""What was found sound before saves looking again, and never makes a wrong verdict right."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import VERIFIED, commit_key
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.simulation import sources


def proven_of(vault: Vault, before: Proven | None = None) -> Proven:
    report = verify(vault, proven=before)
    assert report.findings == () and report.proven is not None
    return report.proven


def test_only_what_is_new_is_looked_at_and_the_report_says_since_when(vault: Vault, clock: Clock) -> None:
    vault.commit("d", {"p": sources("a")})
    vault.commit("e", {"p": sources("b")})
    begun, proven = clock.now, proven_of(vault)
    clock.pass_by(hours=1)
    vault.commit("d", {"q": sources("c")})
    vault.commit("f", {"p": sources("x")})
    report = verify(vault, proven=proven)
    assert (report.ok, report.snapshots, report.objects, report.since) == (True, 2, 2, begun)
    assert report.proven is not None and report.proven.since == begun
    again = verify(vault, proven=report.proven)
    assert (again.ok, again.snapshots) == (True, 0)
    assert verify(vault).snapshots == 4 and verify(vault).since is None


def test_damage_in_what_is_new_and_in_the_end_of_what_is_old_is_found(vault: Vault) -> None:
    vault.commit("d", {"p": sources("a")})
    proven = proven_of(vault)
    new = vault.commit("d", {"q": sources("c")})
    (file,) = vault.files(new, "q")
    data = vault.store.read(file.key)
    vault.store.delete(file.key)
    assert [finding.key for finding in verify(vault, proven=proven).findings] == [file.key]
    vault.store.write(file.key, data)
    vault.store.delete(commit_key("d", 2))
    vault.store.delete(commit_key("d", 1))
    report = verify(vault, proven=proven)
    assert [finding.key for finding in report.findings] == [commit_key("d", 1)] and report.proven is None


def test_what_is_old_is_looked_at_by_the_whole_verify_alone(vault: Vault) -> None:
    old = vault.commit("d", {"p": sources("a")})
    proven = proven_of(vault)
    vault.commit("d", {"q": sources("c")})
    vault.store.delete(vault.files(old, "p")[0].key)
    assert verify(vault, proven=proven).ok
    assert not verify(vault).ok


@pytest.mark.parametrize("what", ["forged", "torn", "of another vault", "of another store"])
def test_a_record_that_proves_nothing_costs_time_alone(vault: Vault, tmp_path: Path, signer: Signer, what: str) -> None:
    old = vault.commit("d", {"p": sources("a")})
    path = tmp_path / "proven.json"
    proven = proven_of(vault)
    if what == "forged":
        proven.keep(Signer(Ed25519PrivateKey.generate()), path)
    elif what == "torn":
        path.write_bytes(proven.sealed(signer)[:-9])
    elif what == "of another vault":
        Proven("another", proven.store, proven.since, proven.chains).keep(signer, path)
    else:
        Proven(proven.vault, "memory://another", proven.since, proven.chains).keep(signer, path)
    vault.store.delete(vault.files(old, "p")[0].key)
    report = verify(vault, proven=Proven.read(vault.keyring, path))
    assert not report.ok and report.since is None and report.snapshots == 1


def test_an_older_record_put_back_makes_it_look_again(vault: Vault, tmp_path: Path, signer: Signer) -> None:
    vault.commit("d", {"p": sources("a")})
    older = proven_of(vault)
    vault.commit("d", {"q": sources("b")})
    newer = proven_of(vault, older)
    assert verify(vault, proven=newer).snapshots == 0
    older.keep(signer, tmp_path / "proven.json")
    assert verify(vault, proven=Proven.read(vault.keyring, tmp_path / "proven.json")).snapshots == 1


def test_the_proof_of_one_replica_is_none_of_another(vault: Vault, tmp_path: Path, signer: Signer) -> None:
    old = vault.commit("d", {"p": sources("a")})
    one, other = LocalStore(tmp_path / "one"), LocalStore(tmp_path / "other")
    assert replicate(vault, one).verified.snapshots == 1
    assert replicate(vault, other).verified.snapshots == 1
    vault.commit("d", {"q": sources("b")})
    key = vault.files(old, "p")[0].key
    size = other.head(key).size
    other.delete(key)
    other.write(key, b"x" * size)
    other.write(VERIFIED, one.read(VERIFIED))
    # all of it is looked at again; its bytes by the level that reads them
    assert replicate(vault, other).verified.snapshots == 2
    assert not verify(Vault(other, signer), level="read").ok


def test_a_replica_that_lists_its_commits_is_looked_at_once_more(vault: Vault, signer: Signer) -> None:
    from orchestrai.core.canonical import canonical_json
    from orchestrai.vault.format.records import VERIFIED_TYPE

    first = vault.commit("d", {"p": sources("a")})
    target = MemoryStore()
    replicate(vault, target)
    body = {"format": 1, "vault": vault.identity(), "commits": [first.digest]}
    target.write(VERIFIED, signer.sign(VERIFIED_TYPE, canonical_json(body)))
    assert replicate(vault, target).verified.snapshots == 1
    assert replicate(vault, target).verified.snapshots == 0
