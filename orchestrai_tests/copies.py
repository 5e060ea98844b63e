"""Verified files of a partition as plain files in a folder, for tests that look at them later."""

import shutil
from dataclasses import replace
from pathlib import Path

from orchestrai.ledger.dataset import Dataset, VerifiedFile


def copies(dataset: Dataset, partition: str, into: Path, *, role: str | None = "data") -> list[VerifiedFile]:
    """What readers of a partition are given, copied."""
    with dataset.fetched([partition], role=role) as files:
        copied = [replace(file, path=into / file.entry.path) for file in files[partition]]
        for file, copy in zip(files[partition], copied, strict=True):
            copy.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, copy.path)
    return copied
