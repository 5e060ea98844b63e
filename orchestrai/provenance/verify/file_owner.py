"""Which published version a file belongs to, by its hash alone."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.heads import Head
from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.findings import Problems
from orchestrai.storage.base import CHUNK_BYTES

MODEL_STAGES = ("champion", "candidate")


def file_hash(file: Path) -> str:
    """SHA-256 of a file; raises ConfigError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as exc:
        raise ConfigError(f"expected a model file at {file}, found none that can be read ({exc.strerror})") from exc
    return digest.hexdigest()


def find_file(
    records: Records, digest: str, asset: str | None = None, problems: Problems | None = None
) -> tuple[Head, PartitionEntry] | None:
    """The newest published partition that lists a file of this hash: champions first, then candidates, then all else."""
    heard = problems or Problems()
    for name in [asset] if asset else _searched(records.assets()):
        try:
            for head, entry in _published(records, name):
                if any(file.sha256 == digest for file in records.files(name, entry).files):
                    return head, entry
        except IntegrityError as error:
            heard.add(name, error)
    return None


def _searched(assets: Sequence[str]) -> list[str]:
    rank = {stage: place for place, stage in enumerate(MODEL_STAGES)}
    return sorted(assets, key=lambda name: (rank.get(name.rsplit("/", 1)[-1], len(rank)), name))


def _published(records: Records, asset: str) -> Iterator[tuple[Head, PartitionEntry]]:
    for head in reversed(records.log(asset)):
        entries = records.entries(head)
        for key in head.changed:
            if key in entries:
                yield head, entries[key]
