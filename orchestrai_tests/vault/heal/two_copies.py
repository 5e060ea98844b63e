"""A vault and its replica to be damaged, and what heal says of them."""

import itertools
from dataclasses import dataclass, field

from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.heal.heal import Healing, HealPlan
from orchestrai.vault.keys.key_port import KeyPort
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import files

BIG = bytes(range(256)) * 1100


@dataclass
class TwoCopies:
    """A primary and a replica."""

    signer: Signer
    key: KeyPort | None = None
    primary: Store = field(default_factory=lambda: MemoryStore(name="primary"))
    replica: Store = field(default_factory=lambda: MemoryStore(name="replica"))
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def stores(self) -> tuple[Store, Store]:
        return self.primary, self.replica

    def opened(self, store: Store, keyring: Keyring | None = None) -> Vault:
        """As another process opens it."""
        return Vault(
            store, self.signer, keyring, new_id=lambda: f"s{next(self.numbers):04d}", workers=0, encryption=self.key
        )

    @property
    def vault(self) -> Vault:
        return self.opened(self.primary)

    def healing(self, anchor: Anchor | None = None) -> Healing:
        return Healing(self.stores, self.signer.keyring(), self.opened, anchor)

    def heal(self, anchor: Anchor | None = None, *, bring_back: bool = False) -> HealPlan:
        """Plan and apply; returns what a plan says afterwards."""
        healing = self.healing(anchor)
        report = healing.apply(healing.plan(bring_back=bring_back))
        assert report.failed == ()
        return self.healing(anchor).plan(bring_back=bring_back)

    def findings(self) -> list[str]:
        """What a read of every byte of both says."""
        reports = [verify(self.opened(store), level="read") for store in self.stores]
        return [finding.key for report in reports for finding in report.findings]

    def replicate(self) -> None:
        assert replicate(self.vault, self.replica).verified.ok


def filled(copies: TwoCopies) -> TwoCopies:
    """Two datasets, five snapshots of which one is forgotten and one held, objects, packs, ledger records; replicated."""
    vault = copies.vault
    first = vault.commit("d", {"p": files(big=BIG, a=b"a", b=b"b" * 90), "q": files(x=b"x" * 70)})
    gone = vault.commit("d", {"p": files(big=BIG, a=b"A", b=b"b" * 90)})
    vault.commit("d", {"q": files(x=b"X" * 40, y=b"y")})
    vault.commit("e/f", {"p": files(m=b"m" * 500)})
    vault.commit("e/f", {"p": files(m=b"m" * 500), "r": files(n=b"n")})
    place_hold(vault, "d", first, None, reason="case")
    vault.forget(gone.snapshot_id, reason="half written")
    copies.replicate()
    return copies


def flipped(store: Store, key: str, position: int = 0) -> None:
    """One bit of an object changes."""
    data = store.read(key)
    position %= len(data)
    store.write(key, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])


def contents(store: Store) -> dict[str, bytes]:
    """Everything but work in progress."""
    return {info.key: store.read(info.key) for info in store.list() if not info.key.startswith("work/")}


def cloned(copies: TwoCopies) -> TwoCopies:
    """The same two, in stores of their own."""
    clone = TwoCopies(copies.signer, copies.key, numbers=copies.numbers)
    for store, other in zip(clone.stores, copies.stores, strict=True):
        for key, data in contents(other).items():
            store.write(key, data)
    return clone
