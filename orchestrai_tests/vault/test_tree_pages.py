"""A tree of pages: a day costs its path, every page is proven, and a vault of whole lists is continued."""

import hashlib
import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrai.core.canonical import dataset_version
from orchestrai.errors import DigestMismatch
from orchestrai.ledger.signing import Signer
from orchestrai.provenance.export import offline_verifier
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import ColumnCodec
from orchestrai.vault.format.tree_pages import MAGIC
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import read_all
from orchestrai_tests.vault.simulation import DATASET, SOUND, SimStore, make_vault, sources


def day(number: int) -> str:
    return f"2026-{number // 28 + 1:02d}-{number % 28 + 1:02d}"


def files(text: str) -> list[SourceFile]:
    data = text.encode()
    return [SourceFile("a", len(data), data, hashlib.sha256(data).hexdigest(), 1)]


@pytest.mark.parametrize("sealed", [False, True])
def test_days_in_any_order_are_all_there_and_each_writes_little(tmp_path: Path, signer: Signer, sealed: bool) -> None:
    store = LocalStore(tmp_path / "vault")

    def opened() -> Vault:
        return Vault(store, signer, encryption=FileKey(tmp_path / "key") if sealed else None)

    expected: dict[str, dict[str, bytes]] = {}
    lengths: list[int] = []
    turns = [*range(60), 20, 30, 75, 70, 76]
    for turn, number in enumerate(turns):
        drop = [day(5)] if turn == 63 else []
        commit = opened().commit("d", {day(number): files(f"{turn}")}, drop=drop)
        lengths.append(commit.tree_length)
        expected[day(number)] = {"a": b"%d" % turn}
        for name in drop:
            del expected[name]
        roots = {name: entry.root for name, entry in opened().partitions(commit).items()}
        assert commit.version == dataset_version(roots) and commit.partitions == commit.rows == len(expected)
    assert read_all(opened(), opened().latest("d")) == expected
    assert verify(opened(), level="read").findings == ()
    trees = [store.read(info.key) for info in store.list("vault/trees/")]
    # a list as long as one page lies as format 1 has it
    assert sum(data.startswith(MAGIC) for data in trees) == len(turns) - 16
    assert max(lengths[17:60]) < 4_000 and len(list(opened().partitions(opened().latest("d")))) == len(expected)


def test_a_vault_of_whole_lists_is_read_and_goes_on_in_pages(signer: Signer, clock: Clock) -> None:
    store = MemoryStore(clock)
    # as it was written before there were pages: one list of any length
    old = Vault(store, signer, clock=clock, codec=ColumnCodec(width=4096))
    first = old.commit("d", {day(number): files(f"{number}") for number in range(50)})
    assert not store.read(first.tree).startswith(MAGIC)
    vault = Vault(store, signer, clock=clock)
    assert len(read_all(vault, vault.latest("d"))) == 50
    second = vault.commit("d", {day(50): files("50"), day(3): files("again")})
    assert store.read(second.tree).startswith(MAGIC)
    third = vault.commit("d", {day(51): files("51")})
    assert len(store.read(third.tree)) < len(store.read(second.tree)) / 2
    assert len(read_all(Vault(store, signer), third)) == 52
    vault.forget(first.snapshot_id)
    vault.forget(second.snapshot_id)
    # the pages of what is forgotten stay as long as a later tree refers to them
    for _ in "12":
        clock.pass_by(hours=31)
        pruned = apply_prune(vault, plan_prune(vault))
    assert first.tree in pruned.deleted and second.tree not in pruned.deleted
    assert verify(Vault(store, signer), level="read").findings == ()
    assert len(read_all(Vault(store, signer), third)) == 52


def test_any_byte_of_a_page_is_looked_at(tmp_path: Path, signer: Signer) -> None:
    store = LocalStore(tmp_path / "vault")
    for number in range(40):
        Vault(store, signer).commit("d", {day(number): files(f"{number}")})
    rng = random.Random(4)
    objects = [info for info in store.list("vault/trees/")][16:]
    for info in rng.sample(objects, 12):
        data = bytearray(store.read(info.key))
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        sound = store.read(info.key)
        store.delete(info.key)
        store.write(info.key, bytes(data))
        assert not verify(Vault(store, signer)).ok, info.key
        store.delete(info.key)
        store.write(info.key, sound)
    assert verify(Vault(store, signer)).ok


def _swapped(store: SimStore) -> None:
    """In a page that the newest tree refers to partition q's list is put in p's place, which changes no length."""
    for key in [key for key in store.keys if key.startswith("vault/trees/")]:
        text = store.objects[key][0].decode("latin-1")
        for number in range(text.count("[0, [[") if "ORT2" in text else 0):
            start = text.index("[0, [[", [i for i in range(len(text)) if text.startswith("[0, [[", i)][number])
            rows, end = json.JSONDecoder().raw_decode(text, start)
            if len(rows[1]) == 2:
                one, other = rows[1]
                changed = json.dumps([0, [[one[0], *other[1:]], [other[0], *one[1:]]]])
                if len(changed) == end - start:
                    text = text[:start] + changed + text[end:]
        store.put(key, text.encode("latin-1"), store.objects[key][1])


def test_a_page_is_believed_for_its_hash_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SimStore()
    vault = make_vault(store, SOUND, "w")
    vault.commit(DATASET, {"a": sources("aaa"), "b": sources("bbb"), "c": sources("ccc")})
    newest = vault.commit(DATASET, {"c": sources("ddd")})
    _swapped(store)
    with pytest.raises(DigestMismatch, match="page"):
        dict(make_vault(store, SOUND, "r").partitions(newest))
    assert not verify(make_vault(store, SOUND, "r")).ok
    # what the check is for: without it another partition's files pass for a's
    monkeypatch.setattr(Catalog, "require_page", lambda self, place, stored: None)
    reader = make_vault(store, SOUND, "r")
    assert [file.path for file in reader.files(newest, "a")] == ["bbb"]


def test_a_stranger_follows_pages_and_proves_each(tmp_path: Path, signer: Signer) -> None:
    store = LocalStore(tmp_path / "vault")
    vault = Vault(store, signer)
    for number in range(40):
        commit = vault.commit("d", {day(number): files(f"{number}")})
    roots = {name: entry.root for name, entry in vault.partitions(commit).items()}
    place = offline_verifier.Place(str(tmp_path / "vault"))
    assert sum(offline_verifier.stored_bytes(place, asdict(commit), roots, {})) == commit.size
    older = next(info.key for info in list(store.list("vault/trees/"))[16:] if info.key != commit.tree)
    inner = vault.catalog.tree(commit).pages.read(vault.catalog.tree(commit).root)[0].place.key
    assert inner != commit.tree and older
    data = bytearray(store.read(inner))
    data[8] ^= 1
    store.delete(inner)
    store.write(inner, bytes(data))
    with pytest.raises(offline_verifier.Wrong, match="page"):
        list(offline_verifier.stored_bytes(place, asdict(commit), roots, {}))
