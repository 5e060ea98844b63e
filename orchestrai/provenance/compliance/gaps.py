"""What is not protected: whatever the ledger has that no snapshot which counts, and no copy of a record, would give back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.provenance.decision_log import decision_keys
from orchestrai.vault.vault import Vault

# assets whose bytes are kept in the vault, by how the vault calls what it keeps of them
_KEPT_AS = {"raw_events": "raw_events", "features": "features", "dead_letters": "dead_letters", "champion": "registry"}
# made again from what is kept, with the same bytes: `model reproduce` proves it; their receipts are in the vault
MADE_AGAIN = ("training_set", "evaluation", "candidate", "predictions")


@dataclass(frozen=True)
class Gap:
    """Something that would be lost: which asset, how many partitions or records of it, one of them, and why."""

    asset: str
    count: int
    example: str
    why: str


def gaps(ledger: Ledger, vault: Vault | None) -> Iterator[Gap]:
    """Everything current that nothing protects, by asset; costs the newest list of each dataset."""
    for asset in ledger.assets():
        stage = asset.rpartition("/")[2]
        current = ledger.find(asset) if stage in _KEPT_AS else None
        # what was recalled is nothing that anybody wants back
        wanted = (
            [key for key, e in current.partitions.items() if not current.recalls.find(asset, key, e.root, e.receipt)]
            if current
            else []
        )
        if current is not None and wanted:
            yield from _gap(vault, current, wanted, f"{asset.rpartition('/')[0]}/{_KEPT_AS[stage]}")
    kept = {*decision_keys(vault.store)} if vault is not None else set()
    lacking = sorted({*decision_keys(ledger.lake)} - kept)
    if lacking:
        yield Gap(
            "decisions", len(lacking), lacking[0], "signed decisions that are in the lake alone: run `orchestrai rebuild`"
        )


def _gap(vault: Vault | None, current: Dataset, wanted: Sequence[str], name: str) -> Iterator[Gap]:
    newest = vault.catalog.recent(name, 1) if vault is not None else []
    if vault is None or not newest:
        yield Gap(current.asset, len(wanted), min(wanted), "in no snapshot that counts")
        return
    entries = vault.partitions(newest[-1])
    if current.asset.endswith("/champion"):
        held = {file.sha256 for entry in entries.values() for file in vault.catalog.files(entry)}
        lost = [key for key in wanted if any(file.sha256 not in held for file in current.files(key).files)]
    else:
        lost = _unlike(current.roots(sorted(wanted)), {key: entry.root for key, entry in entries.items()})
    if lost:
        yield Gap(
            current.asset, len(lost), lost[0], f"not as it is now in the newest snapshot, {newest[-1].snapshot_id[:12]}"
        )


def _unlike(now: Mapping[str, str], kept: Mapping[str, str]) -> list[str]:
    return sorted(key for key, root in now.items() if kept.get(key) != root)
