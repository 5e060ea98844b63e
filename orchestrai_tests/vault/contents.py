"""Sources for tests."""

import hashlib

from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault


def files(**contents: bytes) -> list[SourceFile]:
    """Files by name, hashes known."""
    return [SourceFile(n, len(data), data, hashlib.sha256(data).hexdigest(), rows=1) for n, data in contents.items()]


def read_all(vault: Vault, commit: SnapshotCommit) -> dict[str, dict[str, bytes]]:
    """Everything a snapshot holds."""
    return {
        partition: {file.path: b"".join(vault.stream(file)) for file in vault.catalog.files(entry)}
        for partition, entry in vault.partitions(commit).items()
    }
