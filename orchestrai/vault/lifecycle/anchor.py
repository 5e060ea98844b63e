"""An anchor: the end of each chain, what was forgotten and what is held, remembered outside the vault, so that a rollback is found.

The end of a chain names all before it by their hashes, so it stands for every snapshot that counts.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.format.records import ANCHOR_TYPE, document
from orchestrai.vault.lifecycle.hold_records import HOLD_RECORDS, holds
from orchestrai.vault.vault import Vault

# of anchors that know what is held; those of 1 are read
WITH_HOLDS_FORMAT = 2
Rollback = Literal["none found", "found", "not provable"]


@dataclass(frozen=True)
class Anchored:
    """What an anchor remembers of one dataset."""

    seq: int
    digest: str
    forgotten: tuple[int, ...]
    held: tuple[int, ...] = ()


@dataclass(frozen=True)
class Loss:
    """Something of a dataset that the vault held when it was anchored and holds no more."""

    dataset: str
    problem: str


@dataclass(frozen=True)
class AnchorCheck:
    """How many newest commits an anchor remembers, and what the vault has lost since."""

    commits: int
    losses: tuple[Loss, ...]

    def require_none(self) -> None:
        """Raise IntegrityError when the vault was rolled back."""
        if self.losses:
            problems = [loss.problem for loss in self.losses]
            raise IntegrityError(f"{problems[0]}; see what its replica has: `orchestrai vault heal`", problems=problems)


@dataclass(frozen=True)
class Anchor:
    """A signed file that remembers each dataset's newest commit; it must lie where who can write the vault cannot."""

    path: Path

    def read(self, catalog: Catalog) -> dict[str, Anchored] | None:
        """What it remembers, or None where there is no anchor yet; raises SignatureInvalid, IntegrityError."""
        if not self.path.exists():
            return None
        body = document(catalog.keyring, ANCHOR_TYPE, self.path.read_bytes(), WITH_HOLDS_FORMAT)
        try:
            vault, heads = str(body["vault"]), body["heads"].items()
            # format 1 knows no holds
            remembered = {
                str(name): Anchored(int(seq), str(digest), tuple(gone), *map(tuple, held))
                for name, (seq, digest, gone, *held) in heads
            }
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise IntegrityError(f"expected an anchor in {self.path.name}, found another record: put the file back") from exc
        if vault != catalog.vault():
            raise IntegrityError(f"expected an anchor of vault {catalog.vault()[:8]}, found one of {vault[:8]}")
        return remembered

    def check(self, catalog: Catalog) -> AnchorCheck | None:
        """Whether the vault still has the end of each chain, what was forgotten is, and what was held is held or was released.

        None when there is no anchor, so that nothing can be proven. Raises as `read`.
        """
        remembered = self.read(catalog)
        if remembered is None:
            return None
        losses: list[Loss] = []
        for dataset, anchored in sorted(remembered.items()):
            losses += _commit_lost(catalog, dataset, anchored)
            losses += _tombstones_lost(catalog, dataset, anchored)
            losses += _holds_lost(catalog, dataset, anchored)
        return AnchorCheck(len(remembered), tuple(losses))

    def update(self, vault: Vault) -> None:
        """Remember the vault as it is now; raises IntegrityError when it was rolled back since the last time."""
        before = self.check(vault.catalog)
        if before is not None:
            before.require_none()
        # what is anchored is there, or the check had told of a loss: nothing before it need be listed
        anchored = self.read(vault.catalog) or {}
        names = vault.catalog.names({name: one.seq for name, one in anchored.items()})
        ends = {name: vault.catalog.head(name, anchored[name].seq if name in anchored else 0) for name in names}
        gone = vault.catalog.forgotten(heads=ends)
        held = holds(vault.store, vault.keyring, vault.identity(), heads=ends)
        heads: dict[str, list[object]] = {}
        for dataset in names:
            head = ends[dataset]
            seqs = [sorted(seq for name, seq in places if name == dataset) for places in (gone, held)]
            heads[dataset] = [head.seq, head.digest, *seqs]
        body = {"format": WITH_HOLDS_FORMAT, "vault": vault.identity(), "heads": heads}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.urandom(4).hex()}")
        with temporary.open("wb") as sink:
            sink.write(vault.signer.sign(ANCHOR_TYPE, canonical_json(body)))
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(temporary, self.path)


def rollback_state(checked: AnchorCheck | None) -> Rollback:
    """How to tell what an anchor proves."""
    if checked is None:
        return "not provable"
    return "found" if checked.losses else "none found"


def _commit_lost(catalog: Catalog, dataset: str, anchored: Anchored) -> list[Loss]:
    try:
        digest = sha256_hex(catalog.store.read(commit_key(dataset, anchored.seq)))
    except ObjectNotFound:
        digest = "none"
    if digest == anchored.digest:
        return []
    problem = f"expected commit {anchored.seq} of {dataset} as anchored, found {digest[:12]}: the vault was rolled back"
    return [Loss(dataset, problem)]


def _tombstones_lost(catalog: Catalog, dataset: str, anchored: Anchored) -> list[Loss]:
    if not anchored.forgotten:
        return []
    gone = _forgotten_now(catalog, dataset, anchored)
    return [
        Loss(
            dataset,
            f"expected commit {seq} of {dataset} to stay forgotten, found its tombstone gone: the vault was rolled back",
        )
        for seq in anchored.forgotten
        if seq not in gone and catalog.has(dataset, seq)
    ]


def _forgotten_now(catalog: Catalog, dataset: str, anchored: Anchored) -> set[int]:
    """What is forgotten; of a chain whose end is damaged what tombstones that count say."""
    try:
        return catalog.forgotten_by(dataset, catalog.head(dataset, anchored.seq))
    except IntegrityError:
        return {seq for _, seq in catalog.forgotten(dataset, strict=False)}


def _holds_lost(catalog: Catalog, dataset: str, anchored: Anchored) -> list[Loss]:
    if not anchored.held:
        return []
    active = holds(catalog.store, catalog.keyring, catalog.vault())
    released = {
        record.seq
        for record in HOLD_RECORDS.all(catalog.store, catalog.keyring)
        if record.dataset == dataset and not record.on
    }
    return [
        Loss(
            dataset,
            f"expected the hold of {dataset} ({seq or 'all'}) or its release, found neither: somebody removed the records",
        )
        for seq in anchored.held
        if (dataset, seq) not in active and seq not in released
    ]
