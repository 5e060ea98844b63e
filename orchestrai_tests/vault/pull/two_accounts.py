"""A vault in one account, and a second account that may read it and nothing else."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.errors import AccessRefused
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.ledger.trust.key_log import fingerprint
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.keys.key_port import KeyPort
from orchestrai.vault.pull.pull import Pull, PullReport, PullTerms
from orchestrai.vault.replica.read_only_store import ReadOnlyStore
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files

BIG = bytes(range(256)) * 1100


def key(number: int) -> Signer:
    """A key that is the same in each run."""
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


ROOT, WRITER, PULLER = key(1), key(7), key(9)


class Unwritable(ReadOnlyStore):
    """What a service says to credentials that may only read; counts what it refused."""

    def __init__(self, base: Store) -> None:
        super().__init__(base)
        self.refused = 0

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        self.refused += 1
        raise AccessRefused(f"expected rights to write {key}, found none")


@dataclass
class TwoAccounts:
    """The primary, written by its own key under its own root, and the copy in an account whose key it does not know."""

    clock: Clock = field(default_factory=Clock)
    key: KeyPort | None = None
    primary: Store = field(init=False)
    target: Store = field(init=False)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.primary = MemoryStore(self.clock, name="primary")
        self.target = MemoryStore(self.clock, name="copy")

    def opened(self, store: Store | None = None, signer: Signer = WRITER) -> Vault:
        """As a machine of the first account opens it."""
        return Vault(
            store or self.primary, signer, WRITER.keyring(), clock=self.clock, new_id=lambda: f"s{next(self.numbers):04d}", workers=0,
            encryption=self.key, root=ROOT,
        )  # fmt: skip

    @property
    def vault(self) -> Vault:
        return self.opened()

    def pinned(self, store: Store, root: str = "") -> Vault:
        """As whoever has the root's fingerprint alone opens a store."""
        keyring = governed(store, Keyring({}), root=root or fingerprint(ROOT.private_key.public_key()))
        return Vault(store, PULLER, keyring, clock=self.clock, workers=0, encryption=self.key)

    def pull(self, *, days: int = 30, lock: int = 0, full: bool = False, target: Store | None = None) -> PullReport:
        """Run it over credentials that may read alone."""
        refusing = Unwritable(self.primary)
        vault = self.pinned(ReadOnlyStore(refusing))
        report = Pull(vault, target or self.target, PullTerms(timedelta(days=days), timedelta(days=lock), full)).run()
        assert refusing.refused == 0
        return report

    def kinds(self, **how: int) -> list[str]:
        """What a run says is not right."""
        return sorted(one.kind for one in self.pull(**how).findings)  # type: ignore[arg-type]

    def shown(self) -> list[str]:
        """The snapshots that the copy shows, each restored byte for byte by the root's fingerprint alone."""
        vault = self.pinned(self.target)
        commits = vault.catalog.visible()
        for commit in commits:
            for entry in vault.partitions(commit).values():
                for file in vault.catalog.files(entry):
                    for _ in vault.stream(file):
                        pass
        return [f"{commit.dataset}@{commit.seq}" for commit in commits]


def filled(accounts: TwoAccounts) -> list[SnapshotCommit]:
    """Two datasets, four snapshots, objects and packs."""
    vault = accounts.vault
    return [
        vault.commit("d", {"p": files(big=BIG, a=b"a", b=b"b" * 90), "q": files(x=b"x" * 70)}),
        vault.commit("d", {"p": files(big=BIG, a=b"A", b=b"b" * 90)}),
        vault.commit("d", {"q": files(x=b"X" * 40, y=b"y")}),
        vault.commit("e/f", {"p": files(m=b"m" * 500)}),
    ]


def contents(store: Store) -> dict[str, bytes]:
    """Everything but work in progress."""
    return {info.key: store.read(info.key) for info in store.list() if not info.key.startswith("work/")}


def clone(store: Store, clock: Clock) -> Store:
    """The same objects in a store of their own, under the same name."""
    other = MemoryStore(clock, name=store.url.rpartition("/")[2])
    for info in store.list():
        other.write(info.key, store.read(info.key))
    return other


def flipped(store: Store, key: str) -> None:
    """One bit of an object changes."""
    data = store.read(key)
    store.write(key, bytes([data[0] ^ 1]) + data[1:])


def pem(folder: Path, signer: Signer) -> Path:
    """A public key as a file."""
    path = folder / f"{signer.key_id}.pem"
    path.write_bytes(signer.public_pem)
    return path
