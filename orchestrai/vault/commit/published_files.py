"""A published partition's files, as a vault takes them."""

from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import PartitionManifest
from orchestrai.vault.commit.source import SourceFile, StoredAt


def sources_of(ledger: Ledger, manifest: PartitionManifest) -> list[SourceFile]:
    """Where each file's bytes lie, with what its manifest says of it."""
    sources = []
    for entry in manifest.files:
        store = ledger.store_of(entry)
        packed = StoredAt(store, entry.key, entry.size) if entry.packed else None
        content = packed or store.local_path(entry.key) or StoredAt(store, entry.key)
        sources.append(SourceFile(entry.path, entry.size, content, entry.sha256, entry.rows, entry.role))
    return sources
