"""Every altered, cut, lengthened, swapped, missing or replayed object is found; a sound vault raises no alarm."""

import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.signing import Signer
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import files
from orchestrai_tests.vault.simulation import JsonCodec

FLIPS = int(os.environ.get("ORCHESTRAI_TEST_FLIPS", "600"))
CLEAN = FLIPS // 10


def clock() -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC)


def make(signer: Signer, key: FileKey | None = None, *, seed: int = 0, name: str = "s") -> Vault:
    """A vault with objects, packs, three commits, a tombstone; with `key`, sealed."""
    numbers = iter(range(10**6))
    vault = Vault(
        MemoryStore(clock), signer, clock=clock, new_id=lambda: f"{name}{next(numbers):02d}", workers=0, codec=JsonCodec(),
        encryption=key,
    )  # fmt: skip
    rng = random.Random(seed)
    big = rng.randbytes(262_144)
    vault.commit("d", {"p": files(a=big, b=rng.randbytes(50), c=rng.randbytes(70))}, tags=["golden"])
    gone = vault.commit("d", {"p": files(a=big, b=rng.randbytes(50), c=b"")})
    vault.commit("d", {"p": files(a=big, b=rng.randbytes(40), c=rng.randbytes(9)), "q": files(x=rng.randbytes(80))})
    vault.forget(gone.snapshot_id)
    for info in list(vault.store.list("vault/")):
        if f"/{gone.session}/" in info.key:
            vault.store.delete(info.key)  # what a prune would have taken
    return vault


def again(vault: Vault) -> Vault:
    """The same store, seen by a process that remembers nothing."""
    return Vault(vault.store, vault.signer, clock=clock, workers=0, codec=JsonCodec(), encryption=vault.encryption)


def findings(vault: Vault, anchor: Anchor | None = None) -> list[str]:
    return [finding.problem for finding in verify(again(vault), level="read", anchor=anchor).findings]


def kept(vault: Vault) -> list[str]:
    return [info.key for info in vault.store.list("vault/")]


@pytest.fixture(params=["plain", "sealed"])
def made(request: pytest.FixtureRequest, signer: Signer, tmp_path: Path) -> Vault:
    return make(signer, FileKey(tmp_path / "data.key") if request.param == "sealed" else None)


def test_flipped_bytes_are_all_found(made: Vault) -> None:
    rng, keys = random.Random(5), kept(made)
    missed = []
    for number in range(FLIPS // 2):
        key = keys[number % len(keys)]
        data = made.store.read(key)
        position = rng.randrange(len(data))
        made.store.write(key, data[:position] + bytes([data[position] ^ (1 << rng.randrange(8))]) + data[position + 1 :])
        if not findings(made):
            missed.append((key, position))
        made.store.write(key, data)
    assert missed == []
    assert findings(made) == []


def test_cut_lengthened_and_missing_objects_are_all_found(made: Vault) -> None:
    for key in kept(made):
        data = made.store.read(key)
        for changed in (b"", data[:1], data[: len(data) // 2], data[:-1], data + b"\0", data + data):
            made.store.write(key, changed)
            assert findings(made), (key, len(changed))
        made.store.delete(key)
        if not (key.startswith("vault/forgotten/") or key == "vault/snapshots/d/000000000003.json"):
            assert findings(made), f"{key} deleted"
        made.store.write(key, data)
    assert findings(made) == []


def test_swapped_objects_are_all_found(made: Vault, signer: Signer) -> None:
    keys = kept(made)
    for one in keys:
        for other in keys:
            first, second = made.store.read(one), made.store.read(other)
            if one < other and first != second:
                made.store.write(one, second)
                made.store.write(other, first)
                assert findings(made), (one, other)
                made.store.write(one, first)
                made.store.write(other, second)


def test_an_object_of_another_vault_is_found(made: Vault, signer: Signer) -> None:
    other = make(signer, made.encryption, seed=1, name="s")  # type: ignore[arg-type]
    for key in set(kept(made)) & set(kept(other)):
        data = made.store.read(key)
        if other.store.read(key) != data:
            made.store.write(key, other.store.read(key))
            assert findings(made), key
            made.store.write(key, data)


def test_a_replayed_commit_is_found(made: Vault) -> None:
    old = made.store.read("vault/snapshots/d/000000000001.json")
    for seq in (2, 3, 4):
        key = f"vault/snapshots/d/{seq:012d}.json"
        before = made.store.read(key) if seq < 4 else None
        made.store.write(key, old)
        assert findings(made)
        if before is None:
            made.store.delete(key)
        else:
            made.store.write(key, before)


def test_a_rollback_of_the_whole_vault_is_found_with_an_anchor(made: Vault, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "outside" / "anchor.json")
    before = {key: made.store.read(key) for key in kept(made)}
    anchor.update(again(made))
    made.commit("d", {"p": files(a=b"newest")})
    anchor.update(again(made))
    for key in kept(made):
        made.store.delete(key)
    for key, data in before.items():
        made.store.write(key, data)
    report = verify(again(made), level="read", anchor=anchor)
    assert report.rollback == "found" and not report.ok
    with pytest.raises(IntegrityError):
        anchor.update(again(made))


def test_a_removed_tombstone_is_found_with_an_anchor(made: Vault, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    anchor.update(made)
    made.store.delete("vault/forgotten/d/000000000002.json")
    assert verify(again(made), anchor=anchor).rollback == "found"


def test_a_forged_tombstone_hides_nothing(made: Vault) -> None:
    made.store.write("vault/forgotten/d/000000000003.json", made.store.read("vault/forgotten/d/000000000002.json"))
    with pytest.raises(IntegrityError):
        again(made).snapshots("d")
    newest = made.catalog.commits("d")[-1]
    assert again(made).get(newest.snapshot_id) == newest


def test_without_an_anchor_a_rollback_is_said_to_be_unprovable(made: Vault, tmp_path: Path) -> None:
    made.store.delete("vault/snapshots/d/000000000003.json")
    assert verify(again(made)).rollback == "not provable"
    assert verify(again(made), anchor=Anchor(tmp_path / "none.json")).rollback == "not provable"


def test_a_forged_anchor_is_found(made: Vault, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    anchor.update(made)
    anchor.path.write_bytes(anchor.path.read_bytes().replace(b"sig", b"gis"))
    assert not verify(again(made), anchor=anchor).ok


@pytest.mark.thorough("every other test of a vault verifies a sound one")
def test_sound_vaults_raise_no_alarm(signer: Signer, tmp_path: Path) -> None:
    key, anchor = FileKey(tmp_path / "data.key"), tmp_path / "anchor.json"
    alarms = []
    for seed in range(CLEAN):
        anchor.unlink(missing_ok=True)
        vault = make(signer, key if seed % 2 else None, seed=seed)
        Anchor(anchor).update(vault)
        report = verify(again(vault), level="read", anchor=Anchor(anchor))
        alarms += [report] if not report.ok or report.rollback != "none found" else []
    assert alarms == []


def test_a_rotating_sample_reads_everything_once(made: Vault) -> None:
    whole = verify(made, level="read").files_read
    parts = [verify(made, level="read", sample=(part, 7)).files_read for part in range(7)]
    assert sum(parts) == whole and max(parts) < whole


def test_a_sealed_vault_keeps_no_plain_bytes_and_opens_with_its_key_alone(signer: Signer, tmp_path: Path) -> None:
    vault = Vault(MemoryStore(), signer, encryption=FileKey(tmp_path / "k"), workers=0)
    vault.commit("d", {"p": files(**{"secret-name": b"secret-content" * 30_000, "small": b"secret-small"})})
    for info in vault.store.list("vault/"):
        data = vault.store.read(info.key)
        assert b"secret-" not in data and b"c2VjcmV0" not in data, info.key
    assert vault.read_file(vault.latest("d").snapshot_id, "p", "small") == b"secret-small"
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    stranger = Vault(vault.store, signer, encryption=FileKey(tmp_path / "other"))
    with pytest.raises(ConfigError):
        stranger.read_file(stranger.latest("d").snapshot_id, "p", "small")
    with pytest.raises(ConfigError):
        Vault(vault.store, signer).identity()


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024 + 17])
def test_sealing_round_trips_at_every_edge(signer: Signer, tmp_path: Path, size: int) -> None:
    vault = Vault(MemoryStore(), signer, encryption=FileKey(tmp_path / "k"), workers=0)
    vault.establish()
    assert vault.cipher is not None
    data = os.urandom(size)
    sealed = b"".join(vault.cipher.seal(b"context", [data]))
    assert len(sealed) == vault.cipher.sealed_length(size)
    assert b"".join(vault.cipher.open(b"context", [sealed])) == data
    with pytest.raises(IntegrityError):
        list(vault.cipher.open(b"other", [sealed]))


def test_a_replica_restores_by_itself_and_is_not_copied_twice(made: Vault) -> None:
    later = MemoryStore(lambda: datetime(2027, 6, 1, tzinfo=UTC))
    first = replicate(made, later)
    assert first.verified.ok and first.verified.snapshots == 2
    alone = Vault(later, made.signer, clock=clock, workers=0, codec=JsonCodec(), encryption=made.encryption)
    assert [c.seq for c in alone.snapshots("d")] == [1, 3]
    assert verify(alone, level="read").findings == ()
    assert replicate(made, later).copied == 0


def test_a_copy_with_new_times_is_the_same_vault(made: Vault) -> None:
    later = MemoryStore(lambda: datetime(2027, 6, 1, tzinfo=UTC))
    for key in kept(made):
        later.write(key, made.store.read(key))
    copy = Vault(later, made.signer, codec=JsonCodec(), encryption=made.encryption)
    assert copy.snapshots() == made.snapshots()
