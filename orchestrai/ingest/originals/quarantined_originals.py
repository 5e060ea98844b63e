"""The originals that the newest refused run of a partition left in quarantine."""

import json

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
