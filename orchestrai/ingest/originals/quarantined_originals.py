"""The originals that the newest refused run of a partition left in quarantine."""

import json
from hashlib import sha256
from pathlib import Path

from orchestrai.errors import DigestMismatch, MissingObject, ObjectNotFound
from orchestrai.ledger.manifest import FileEntry
from orchestrai.storage.base import Store


def quarantined(lake: Store, asset: str, partition: str) -> dict[str, FileEntry]:
    """The originals that the newest refused run of a partition left in quarantine, by path."""
    newest = ""
    originals: dict[str, FileEntry] = {}
    for info in lake.list(f"quarantine/{asset}/"):
        record = json.loads(lake.read(info.key))
        if partition in record["partitions"] and record["time"] > newest:
            newest = record["time"]
            files = [FileEntry(**entry) for entry in record["partitions"][partition]["files"]]
            originals = {file.path: file for file in files if file.role == "landed"}
    return originals


def fetch_quarantined(lake: Store, entry: FileEntry, path: Path) -> None:
    """Bring an original from quarantine to a file, re-hashed before it is used; raises MissingObject, DigestMismatch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256()
    try:
        with path.open("wb") as sink:
            for chunk in lake.stream(entry.key):
                digest.update(chunk)
                sink.write(chunk)
    except ObjectNotFound as exc:
        raise MissingObject(f"expected {entry.key} in quarantine, found nothing: have the producer send it again") from exc
    if digest.hexdigest() != entry.sha256:
        raise DigestMismatch(f"expected {entry.key} to be what was quarantined, found other bytes", key=entry.key)
