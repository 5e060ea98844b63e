"""A proof that leaves the building: all records behind a model, the model, public keys, and a verifier of plain Python.

The records lie under the names that they have in the vault. The lists of partitions, one for each version of a dataset, share most of
their text, and are one file that holds each piece once: a year of daily versions would else be quadratic. The same records give the
same bytes.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.signing import Keyring, public_pem
from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG
from orchestrai.provenance.export.new_place import new_place
from orchestrai.provenance.verify.findings import Verification
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import IDENTITY, SNAPSHOTS, commit_key
from orchestrai.vault.witness.witness_copy import WitnessCopy, copy_witness

FORMAT = 2
SHARED_LISTS = "shared_lists.json"
VERIFIER = "verify.py"
WITNESSED = "witness"
# what stands between the lines of a list, and how a list of a dataset begins in canonical JSON
BETWEEN, _DATASET_LIST = "],[", b'{"asset":'
# no time of writing: the same records give the same zip file
_EPOCH = (1980, 1, 1, 0, 0, 0)
README = """This proves where a model comes from: {asset}
at {version}.

    python3 -S verify.py --root FINGERPRINT

checks it with plain Python: no package, no network. FINGERPRINT is that of the owner's root key, which you should have from the owner
by another way; --key KEY.pem, a public key that signed for the root, does as well. Without either the keys in keys/ are taken, and you
compare their names with the owner's. With --vault FOLDER,
a copy of the vault, every file of the snapshots that the model learned from is read and hashed too.

witness/, where there is one, is what a place outside the vault had seen of it, and when.

verify.py is short enough to be read. What is in here are the signed records of each step, under the names they have in the vault.
"""


@dataclass(frozen=True)
class ProofFolder:
    """What was written: where, how many records, bytes in all, and the outcome of the verification it rests on."""

    path: Path
    records: int
    size: int
    verification: Verification

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        outcome = self.verification
        return {
            "asset": outcome.asset,
            "version": outcome.version,
            "format": "proof",
            "file": str(self.path),
            "records": self.records,
            "bytes": self.size,
            "unprovable": list(outcome.unprovable),
        }


class _Noting:
    """A store that notes what was read of it whole."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.noted: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, key: str, **how: Any) -> bytes:
        """As the store reads it."""
        data: bytes = self._store.read(key, **how)
        if not any(how.values()):
            self.noted[key] = data
        return data


def write_proof(
    model: Mapping[str, Path], *, vault: Store, keyring: Keyring, asset: str, to: Path, witness: Store | None = None
) -> ProofFolder:
    """Write the proof of a model's files, by name, as a folder, or as one file where `to` ends in .zip.

    What a `witness` saw of the vault goes with it. Nothing is written unless all of it verifies. Raises ConfigError where `to` is taken,
    IntegrityError naming what does not verify, or was lost since it was witnessed.
    """
    if to.exists():
        raise ConfigError(f"expected a new place for the proof, found {to} there already: name another, or remove it")
    noting = _Noting(vault)
    # first, so that the vault has all that it names
    seen = copy_witness(witness, vault, keyring) if witness is not None else WitnessCopy()
    outcome = verify_model(next(iter(model.values())), vault=noting, keyring=keyring, asset=asset)
    if not outcome.ok:
        first = outcome.problems[0]
        raise IntegrityError(
            f"expected {asset} to verify before it is proven to others, found {len(outcome.problems)} problems, first {first.check} "
            f"of {first.where}: {first.message}",
            asset=asset,
        )
    for key in (IDENTITY, *(info.key for prefix in (KEY_LOG, CENSUS) for info in vault.list(prefix))):
        noting.read(key)
    for dataset in sorted(_datasets(noting.noted) & {*seen.ends}):
        for key in _chain_to(vault, dataset, seen.ends[dataset].seq):
            noting.read(key)
    members = dict(sorted(_members(model, noting.noted, keyring, outcome)))
    members |= {f"{WITNESSED}/{key}": data for key, data in seen.members.items()}
    _write(members, to)
    return ProofFolder(to, len(noting.noted), sum(map(len, members.values())), outcome)


def _datasets(records: Iterable[str]) -> set[str]:
    """The datasets of which records of the vault's chains are among some keys."""
    return {key.removeprefix(SNAPSHOTS).rpartition("/")[0] for key in records if key.startswith(SNAPSHOTS)}


def _chain_to(vault: Store, dataset: str, seq: int) -> Iterator[str]:
    """The records of a chain up to the one that was seen last, which nobody asked for where none of them was used."""
    last = commit_key(dataset, seq)
    yield from (info.key for info in vault.list(commit_key(dataset, 0).rpartition("/")[0] + "/") if info.key <= last)


def _members(
    model: Mapping[str, Path], records: dict[str, bytes], keyring: Keyring, outcome: Verification
) -> Iterator[tuple[str, bytes]]:
    about = {
        "format": FORMAT,
        "asset": outcome.asset,
        "version": outcome.version,
        "files": [f"model/{name}" for name in sorted(model)],
    }
    lists = {key: data for key, data in records.items() if key.startswith("manifests/") and data.startswith(_DATASET_LIST)}
    yield from ((key, data) for key, data in records.items() if key not in lists)
    yield SHARED_LISTS, _shared(lists.values())
    yield "proof.json", json.dumps(about, indent=2, sort_keys=True).encode() + b"\n"
    for name, file in model.items():
        yield f"model/{name}", file.read_bytes()
    yield "README.txt", README.format(asset=outcome.asset, version=outcome.version).encode()
    yield VERIFIER, Path(__file__).with_name("offline_verifier.py").read_bytes()
    keys = keyring.keys if keyring.rules is None else keyring.rules.keys(keyring.keys)
    for name, key in keys.items():
        yield f"keys/{name}.pem", public_pem(key)


def _shared(lists: Iterable[bytes]) -> bytes:
    """Lists of partitions by their hashes, as runs [first, number] of pieces that are joined by `],[`; each piece is there once."""
    places: dict[str, int] = {}
    runs: dict[str, list[list[int]]] = {}
    # the longest list of each dataset first: those before it are then a run or two
    for data in sorted(lists, key=lambda data: (data.partition(b'"format"')[0], -len(data), data)):
        own = runs[sha256_hex(data)] = []
        for piece in data.decode().split(BETWEEN):
            place = places.setdefault(piece, len(places))
            if own and sum(own[-1]) == place:
                own[-1][1] += 1
            else:
                own.append([place, 1])
    return canonical_json({"between": BETWEEN, "lists": runs, "pieces": list(places)})


def _write(members: dict[str, bytes], to: Path) -> None:
    with new_place(to) as made:
        if to.suffix == ".zip":
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in members.items():
                    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
        else:
            for name, data in members.items():
                path = made.joinpath(*name.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
