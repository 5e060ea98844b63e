"""Random damage over both copies: what one of them has right is right in both afterwards, and exactly what neither has is named."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrai.ledger.signing import Signer
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import BYTES, FORGOTTEN, HOLDS, SNAPSHOTS
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai_tests.vault.heal.two_copies import TwoCopies, cloned, contents, filled, flipped

WAYS = ("flip", "flip", "delete", "delete", "cut", "longer", "another", "empty")
DAMAGES = int(os.environ.get("ORCHESTRAI_TEST_DAMAGES", "60"))


# a bit of a pack that only a snapshot behind a broken list needs is nobody's loss
SURE = ("delete", "cut", "empty")


def damage(store: Store, key: str, rng: random.Random, original: dict[str, bytes], ways: Sequence[str]) -> None:
    how = rng.choice(ways)
    data = original[key]
    if how == "flip":
        flipped(store, key, rng.randrange(10**6))
    elif how == "delete":
        store.delete(key)
    elif how == "another":
        same = [other for other in original if other.split("/")[:2] == key.split("/")[:2] and original[other] != data]
        store.write(key, original[rng.choice(same)] if same else b"another")
    else:
        store.write(key, {"cut": data[: len(data) // 2], "longer": data + b"\0", "empty": b""}[how])


def needed(copies: TwoCopies, broken: set[str]) -> dict[str, set[tuple[str, int, str]]]:
    """The keys of bytes that can be told to be lost, with what loses by each: what is behind a broken list cannot be told."""
    needs: dict[str, set[tuple[str, int, str]]] = {}
    for commit in copies.vault.snapshots():
        if f"{SNAPSHOTS}{commit.dataset}/{commit.seq:012d}.json" in broken:
            continue
        if commit.tree in broken:
            needs.setdefault(commit.tree, set())
            continue
        for entry in copies.vault.catalog.tree(commit).rows():
            place = (commit.dataset, commit.seq, entry.partition)
            needs.setdefault(entry.key, set()).add(place)
            for file in copies.vault.catalog.files(entry) if entry.key not in broken else ():
                for stored in file.places:
                    needs.setdefault(stored.key, set()).add(place)
    return needs


@pytest.mark.parametrize("sealed", [False, True])
def test_what_one_copy_has_is_in_both_and_what_none_has_is_named(signer: Signer, tmp_path: Path, sealed: bool) -> None:
    whole = filled(TwoCopies(signer, FileKey(tmp_path / "key") if sealed else None))
    anchor = Anchor(tmp_path / "anchor")
    anchor.update(whole.vault)
    original = contents(whole.primary)
    assert contents(whole.replica) == original
    for seed in range(DAMAGES // 2):
        rng = random.Random(seed)
        copies = cloned(whole)
        hit = rng.sample(sorted(original), rng.randint(1, len(original)))
        # what says which vault it is, that a snapshot was forgotten or is held, proves nothing where both are gone
        both = {
            key
            for key in hit
            if rng.random() < 0.2 and key.startswith((*BYTES, SNAPSHOTS)) and not key.endswith("000000.json")
        }
        needs = needed(copies, both)
        for key in hit:
            for store in copies.stores if key in both else (rng.choice(copies.stores),):
                damage(store, key, rng, original, SURE if key in both else WAYS)
        after = copies.heal(anchor, bring_back=True)
        told = {lost.key: {(d, n, p) for (d, n, _), parts in lost.loses.items() for p in parts} for lost in after.lost}
        expected = {key: needs[key] for key in both if key in needs}
        assert {key: places for key, places in told.items() if key.startswith(BYTES)} == expected, seed
        # the record of what was forgotten is missed by nobody
        chains = {key for key in both if key.startswith(SNAPSHOTS)} - {"vault/snapshots/d/000000000002.json"}
        # one that is gone at the end of a chain is told of by the anchor
        assert set(told) - set(expected) <= chains, seed
        assert bool(chains) <= bool(set(told) & chains or after.unmended), seed
        assert after.mends == (), seed
        for store in copies.stores:
            now = contents(store)
            forgotten = {key for key in original if key.startswith(BYTES) and key not in needs}
            if any(not key.startswith(("vault/objects/", "vault/packs/")) for key in both):
                # a part of a pack that only a broken list names
                forgotten |= {key for key in original if key.startswith("vault/packs/")}
            assert {key for key in original.keys() - both - forgotten if now.get(key) != original[key]} == set(), seed
        if not both:
            assert copies.findings() == [] and after.is_sound, seed


def test_the_filled_vault_has_every_kind_of_record(signer: Signer) -> None:
    keys = contents(filled(TwoCopies(signer)).primary)
    for prefix in (*BYTES, SNAPSHOTS, FORGOTTEN, HOLDS):
        assert any(key.startswith(prefix) for key in keys), prefix
