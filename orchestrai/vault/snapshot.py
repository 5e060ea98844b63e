"""raw events -> snapshot: receipted partitions go into the vault, and the ledger publishes that they are there."""

from collections.abc import Mapping, Sequence

from orchestrai.contracts.verdict import JsonValue
from orchestrai.errors import IntegrityError
from orchestrai.ledger import FileEntry, InputRef, Ledger, Meter, PartitionManifest, StageReport
from orchestrai.vault.records import SnapshotCommit
from orchestrai.vault.rows import StoredFile
from orchestrai.vault.source import SourceFile, StoredAt
from orchestrai.vault.vault import Progress, Vault

STAGE = "snapshot"


def snapshot(
    ledger: Ledger,
    vault: Vault,
    *,
    source: str,
    asset: str,
    partitions: Sequence[str],
    progress: Progress | None = None,
    tags: Sequence[str] = (),
    facts: Mapping[str, JsonValue] | None = None,
) -> StageReport:
    """Back up receipted partitions of `source` and publish `asset`, whose version is equal by construction.

    Content the vault holds is not read again. Raises NotReceipted, DigestMismatch, SessionExpired; then nothing is published.
    """
    with Meter() as meter:
        session = ledger.session(asset, STAGE)
        dataset = ledger.open(source)
        manifests = {partition: dataset.files(partition) for partition in sorted(set(partitions))}
        inputs = InputRef(source, dataset.version, dataset.roots(sorted(manifests)))
        commit = vault.commit(
            source,
            {partition: _sources(ledger, manifest) for partition, manifest in manifests.items()},
            tags=tags,
            source={"asset": source, "version": dataset.version},
            facts=facts,
            progress=progress,
        )
        kept = vault.partitions(commit)
        for partition, manifest in manifests.items():
            if kept[partition].root != manifest.root:
                raise IntegrityError(
                    f"expected {source}@{partition} to be kept as {manifest.root}, found {kept[partition].root}: run it again"
                )
            for file in vault.files(commit, partition):
                session.add_entry(partition, _entry(file))
            session.add_stats(partition, **manifest.stats)
        meter.read = meter.written = commit.new_bytes
        return session.commit(
            {},
            inputs=[inputs],
            cost=meter.cost(),
            facts={**_facts(vault, commit), **dict(facts or {})},
        )


def _sources(ledger: Ledger, manifest: PartitionManifest) -> list[SourceFile]:
    found = []
    for entry in manifest.files:
        store = ledger.store_of(entry)
        content = store.local_path(entry.key) or StoredAt(store, entry.key)
        found.append(SourceFile(entry.path, entry.size, content, entry.sha256, entry.rows, entry.role))
    return found


def _entry(file: StoredFile) -> FileEntry:
    role = "landed" if file.role == "landed" else "data"
    return FileEntry(file.path, file.size, file.rows, file.sha256, file.key, "vault", role)  # type: ignore[arg-type]


def _facts(vault: Vault, commit: SnapshotCommit) -> dict[str, JsonValue]:
    return {
        "dataset": commit.dataset,
        "vault": vault.identity(),
        "snapshot_id": commit.snapshot_id,
        "snapshot_seq": commit.seq,
        "commit": commit.digest,
        "committed": commit.committed.isoformat(),
        "new_bytes": commit.new_bytes,
        "reused_bytes": commit.reused_bytes,
        "encrypted": commit.encrypted,
        "tags": list(commit.tags),
    }
