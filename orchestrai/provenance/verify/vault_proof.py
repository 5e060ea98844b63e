"""Does the vault hold the snapshots that a chain of receipts names?"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.errors import ConfigError, DigestMismatch, IntegrityError, MissingObject, NotCounted, ObjectNotFound
from orchestrai.ledger.manifest import PartitionEntry, sha256_hex
from orchestrai.ledger.receipt import Receipt
from orchestrai.ledger.signing import Signer
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.findings import Problems
from orchestrai.provenance.verify.read_ahead import plan

if TYPE_CHECKING:
    from orchestrai.vault.catalog import Catalog
    from orchestrai.vault.chain.chain_head import Head
    from orchestrai.vault.format.lists import StoredFile
    from orchestrai.vault.keys.encryption import Cipher
    from orchestrai.vault.keys.key_port import KeyPort
    from orchestrai.vault.vault import Vault


@dataclass
class Kept:
    """How many snapshot commits, files and bytes were found as the receipts say; `forgotten` by retention."""

    commits: int = 0
    files: int = 0
    size: int = 0
    forgotten: int = 0


def check_kept(
    records: Records, steps: Sequence[Step], problems: Problems, *, read_bytes: bool, encryption: "KeyPort | None" = None
) -> Kept:
    """Check the vault's own commit behind each snapshot receipt; with `read_bytes` read its files back and hash them.

    `encryption` opens a sealed vault, whose lists and bytes a public key cannot read.
    """
    counts = Kept()
    reader: _Reader | None = None
    snapshots = list(_snapshots(steps))
    plan(records.store, [key for _, receipt, _ in snapshots for key in _commit_keys(receipt)])
    for asset, receipt, entries in snapshots:
        place = f"{asset}@{receipt.facts.get('snapshot_id', receipt.version[:19])}"
        try:
            reader = reader or _Reader(records, encryption)
            if reader.is_forgotten(receipt):
                counts.forgotten += 1
                continue
            reader.check(receipt, entries)
            counts.commits += 1
            if read_bytes:
                for size in reader.read(receipt, entries):
                    counts.files += 1
                    counts.size += size
        except IntegrityError as error:
            problems.say("bytes" if read_bytes and _is_bytes(error) else "snapshots", place, error.message)
    if reader is not None:
        datasets = {str(receipt.facts["dataset"]) for _, receipt, _ in snapshots if "dataset" in receipt.facts}
        for dataset in sorted(datasets):
            for key, problem in reader.catalog.faults(dataset)[1]:
                problems.say("snapshots", key, problem)
    return counts


def check_anchor(records: Records, anchor: Path, problems: Problems) -> int:
    """Check that the vault lost nothing that an anchor outside it remembers; returns how many newest commits that are."""
    from orchestrai.vault.lifecycle.anchor import Anchor

    try:
        checked = Anchor(anchor).check(_Reader(records, None).catalog)
    except OSError as exc:
        raise ConfigError(f"expected an anchor at {anchor}, found none that can be read ({exc.strerror})") from exc
    except IntegrityError as error:
        problems.say("anchor", anchor.name, error.message)
        return 0
    if checked is None:
        raise ConfigError(f"expected an anchor at {anchor}, found no file: leave --anchor out, or name the file")
    for loss in checked.losses:
        problems.say("anchor", loss.dataset, loss.problem)
    return checked.commits


def _is_bytes(error: IntegrityError) -> bool:
    return str(error.fields.get("key", "")).startswith(("vault/objects/", "vault/packs/"))


def _snapshots(steps: Sequence[Step]) -> Iterator[tuple[str, Receipt, list[PartitionEntry]]]:
    for step in steps:
        if step.use.stage == "snapshot":
            entries: dict[str, list[PartitionEntry]] = {digest: [] for digest in step.receipts}
            for entry in step.use.entries.values():
                if entry.receipt in entries:
                    entries[entry.receipt].append(entry)
            for digest, receipt in step.receipts.items():
                yield step.use.asset, receipt, entries[digest]


class _Reader:
    """The vault read by a stranger: public keys, and the vault's own key where it is sealed. Writes nothing."""

    def __init__(self, records: Records, encryption: "KeyPort | None") -> None:
        from orchestrai.vault.format.layout import FORGOTTEN, IDENTITY
        from orchestrai.vault.format.records import IDENTITY_TYPE, document

        self.store, self.keyring = records.store, records.keyring
        try:
            body = document(self.keyring, IDENTITY_TYPE, self.store.read(IDENTITY))
        except ObjectNotFound as exc:
            raise MissingObject(f"expected {IDENTITY} in {self.store.url}, found nothing: this is no vault") from exc
        self.vault, self.encrypted = str(body["vault"]), bool(body["encrypted"])
        self.opened: Vault | None = None
        if self.encrypted and encryption is not None:
            self.opened = self._unsealed(encryption)
        self.forgotten = {info.key for info in self.store.list(FORGOTTEN)}
        self._ends: dict[str, Head] = {}

    @cached_property
    def catalog(self) -> "Catalog":
        """The lists of the vault; not needed where each snapshot holds just what its receipt says."""
        from orchestrai.vault.catalog import Catalog
        from orchestrai.vault.format.lists import ColumnCodec

        if self.opened is not None:
            return self.opened.catalog
        return Catalog(self.store, self.keyring, lambda: self.vault, ColumnCodec(), lambda: None)

    @property
    def cipher(self) -> "Cipher | None":
        """What opens the bytes of a sealed vault."""
        return self.opened.cipher if self.opened is not None else None

    def _unsealed(self, encryption: "KeyPort") -> "Vault":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        from orchestrai.vault.vault import Vault

        # it signs nothing: the key is for a vault that would have to be made first
        return Vault(self.store, Signer(Ed25519PrivateKey.generate()), self.keyring, encryption=encryption)

    def is_forgotten(self, receipt: Receipt) -> bool:
        """True when retention removed this snapshot: a signed tombstone says so that no hold overrules, or a fence of its chain."""
        from orchestrai.vault.format.layout import tombstone_key

        dataset, seq = _place(receipt)
        key = tombstone_key(dataset, seq)
        try:
            if key not in self.forgotten or self.catalog.tombstone(key).commit != receipt.facts.get("commit"):
                return False
        except NotCounted:
            return False
        if dataset not in self._ends:
            self._ends[dataset] = self.catalog.head(dataset)
        end = self._ends[dataset]
        return bool(self.catalog.standing(dataset, {seq}, end.holds)) or seq in self.catalog.fenced(dataset, end.fence)

    def check(self, receipt: Receipt, entries: Sequence[PartitionEntry]) -> None:
        """The commit a receipt names is there, unchanged and signed, and its list gives the roots that were used."""
        from orchestrai.vault.format.layout import commit_key
        from orchestrai.vault.format.records import open_commit, require_place

        key = commit_key(*_place(receipt))
        try:
            envelope = self.store.read(key)
        except ObjectNotFound as exc:
            raise MissingObject(f"expected {key}, found nothing: the snapshot was removed without a tombstone") from exc
        if sha256_hex(envelope) != receipt.facts.get("commit"):
            raise IntegrityError(f"expected {key} to be the commit the receipt names, found another", key=key)
        self.commit = open_commit(self.keyring, envelope)
        require_place(self.commit, self.vault, *_place(receipt))
        # one version over all partitions: the roots are those of the receipt, whose own version was computed again
        if (self.encrypted and self.cipher is None) or self.commit.version == receipt.version:
            return
        tree = self.catalog.tree(self.commit)
        for entry in entries:
            row = tree.get(entry.partition)
            root = row.root if row is not None else "none"
            if root != entry.root:
                raise IntegrityError(
                    f"expected {entry.partition} at {entry.root[:19]} in {self.commit.tree}, found {root[:19]}"
                )

    def read(self, receipt: Receipt, entries: Sequence[PartitionEntry]) -> Iterator[int]:
        """Read the files of the partitions back, each hashed; yields sizes."""
        from orchestrai.vault.format.lists import partition_root
        from orchestrai.vault.reader import stream_file

        if self.encrypted and self.cipher is None:
            raise IntegrityError("expected the key of a sealed vault to read its bytes, found none: give --keys FOLDER")
        wanted = {entry.partition: entry for entry in entries}
        tree = self.catalog.tree(self.commit)
        for partition in sorted(wanted):
            row = tree.get(partition)
            if row is not None:
                files = self.catalog.files(row)
                if partition_root(files) != wanted[row.partition].root:
                    raise IntegrityError(
                        f"expected {row.key} to list the files of {row.root[:19]}, found others", key=row.key
                    )
                for file in files:
                    self.require_size(file)
                    yield sum(len(chunk) for chunk in stream_file(self.store, self.vault, self.cipher, file))

    def require_size(self, file: "StoredFile") -> None:
        """Raise DigestMismatch when an object of its own grew or shrank."""
        # a pack may hold more than this list names; an object of its own may not
        for place in file.places if file.pack < 0 else ():
            if self._size(place.key) != place.length:
                raise DigestMismatch(
                    f"expected {place.key} to be {place.length} bytes, found {self._size(place.key)}", key=place.key
                )

    def _size(self, key: str) -> int:
        try:
            return self.store.head(key).size
        except ObjectNotFound as exc:
            raise MissingObject(
                f"expected {key} in the vault, found nothing: run `orchestrai vault heal --apply`", key=key
            ) from exc


def _commit_keys(receipt: Receipt) -> Iterator[str]:
    from orchestrai.vault.format.layout import commit_key

    with suppress(IntegrityError):
        yield commit_key(*_place(receipt))


def _place(receipt: Receipt) -> tuple[str, int]:
    dataset, seq = receipt.facts.get("dataset"), receipt.facts.get("snapshot_seq")
    if not isinstance(dataset, str) or not isinstance(seq, int):
        raise IntegrityError(
            "expected a snapshot receipt to name its commit in the vault, found none: take the snapshot again"
        )
    return dataset, seq
