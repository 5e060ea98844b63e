"""Erasure: destroy a person's key, say so in a signed tombstone, and name the models that learned from the person's rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrai.contracts.tokens import PERSON, token
from orchestrai.errors import NotReceipted, UnknownFormatVersion
from orchestrai.ledger import Keyring, Ledger
from orchestrai.ledger.blobs import put_absent
from orchestrai.ledger.manifest import FORMAT, canonical_json
from orchestrai.ledger.persons import PersonKeys
from orchestrai.provenance.index import Derivation, ReceiptIndex
from orchestrai.storage import Store

ERASURE_TYPE = "application/vnd.orchestrai.erasure+json"
MODEL_STAGES = ("candidate", "champion")


@dataclass(frozen=True)
class Erasure:
    """What erasing a person means: the partitions that hold tokens of theirs, and the models that learned from those.

    `person` is the name in records, which tells nothing without the key store. `unchecked` partitions could not be read.
    """

    person: str
    partitions: tuple[tuple[str, str, str], ...]
    models: tuple[Derivation, ...]
    unchecked: tuple[str, ...]
    done: bool

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "person": self.person,
            "done": self.done,
            "partitions": [{"asset": a, "partition": p, "root": r} for a, p, r in self.partitions],
            "models": [{name: getattr(model, name) for name in Derivation.__slots__} for model in self.models],
            "unchecked": list(self.unchecked),
        }


def plan_erasure(ledger: Ledger, keys: PersonKeys, person: str) -> Erasure:
    """Find where a person's tokens are, in every published version of every tokenised dataset; changes nothing."""
    key = keys.peek(person)
    name = keys.name(person)
    if key is None:
        return Erasure(name, (), (), (), keys.is_erased(person))
    wanted = token(key, PERSON, person)
    found: list[tuple[str, str, str]] = []
    unchecked: list[str] = []
    with TemporaryDirectory(prefix="orchestrai-erase-") as folder:
        for asset in (asset for asset in ledger.assets() if asset.endswith("/raw_events")):
            for partition, root, column, paths in _tokenised(ledger, asset, Path(folder), unchecked):
                if _holds(paths, column, wanted):
                    found.append((asset, partition, root))
    index = ReceiptIndex.build(ledger.lake, ledger.keyring)
    reached = index.reached(node for place in found for node in index.nodes(*place))
    models = tuple(item for item in reached if item.stage in MODEL_STAGES)
    return Erasure(name, tuple(found), models, tuple(sorted(set(unchecked))), False)


def _tokenised(ledger: Ledger, asset: str, folder: Path, unchecked: list[str]) -> Iterator[tuple[str, str, str, list[Path]]]:
    seen = set()
    for head in ledger.history(asset):
        dataset = ledger.dataset(head)
        for partition, entry in dataset.partitions.items():
            if (partition, entry.root) in seen:
                continue
            seen.add((partition, entry.root))
            try:
                stated = dataset.files(partition).stats.get("tokenised")
                if isinstance(stated, dict):
                    files = dataset.fetch(partition, folder / asset / str(len(seen)))
                    yield partition, entry.root, str(stated["person"]), [file.path for file in files]
            except NotReceipted:
                unchecked.append(f"{asset}@{partition}")


def _holds(paths: list[Path], column: str, wanted: str) -> bool:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in paths:
        with pq.ParquetFile(path) as file:
            if column in file.schema_arrow.names:
                values = file.read(columns=[column], use_threads=False).column(column)
                if pc.any(pc.equal(values, wanted)).as_py():
                    return True
    return False


def erase(ledger: Ledger, keys: PersonKeys, person: str) -> Erasure:
    """Destroy the person's key and leave a signed tombstone in lake and vault. Final and idempotent.

    From then on no token of theirs, in any snapshot however old or locked, can be turned back or told apart from chance, and the
    person's rows are left out when they land again.
    """
    plan = plan_erasure(ledger, keys, person)
    name = keys.destroy(person)
    body = {
        "format": FORMAT,
        "person": name,
        "time": ledger.clock().astimezone(UTC).isoformat(),
        "partitions": [list(place) for place in plan.partitions],
        "models": sorted({f"{model.asset}@{model.root}" for model in plan.models}),
    }
    stores = [ledger.lake] if ledger.vault is None else [ledger.vault, ledger.lake]
    key = f"erasures/{name}.json"
    envelope = next((s.read(key) for s in stores if any(info.key == key for info in s.list(key))), None)
    if envelope is None:
        envelope = ledger.signer.sign(ERASURE_TYPE, canonical_json(body))
    for store in stores:
        put_absent(store, key, envelope)
    return Erasure(name, plan.partitions, plan.models, plan.unchecked, True)


def read_erasures(store: Store, keyring: Keyring) -> list[dict[str, Any]]:
    """Every tombstone of a store, verified; raises SignatureInvalid, UnknownFormatVersion."""
    found = []
    for info in store.list("erasures/"):
        body: dict[str, Any] = json.loads(keyring.open(ERASURE_TYPE, store.read(info.key)))
        if body.get("format") != FORMAT:
            raise UnknownFormatVersion(
                f"expected tombstone format {FORMAT}, found {body.get('format')!r}: use a newer release"
            )
        found.append(body)
    return found
