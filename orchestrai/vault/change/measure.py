"""How much a snapshot changes of what was there before, and how far its new content compresses; noted in the commit's facts.

Costs what is new: the partitions that were handed over are compared by their roots, and a fixed number of blocks of the new content is
compressed. No version depends on it.
"""

import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import OrchestraiError
from orchestrai.storage.disk.posix import open_regular
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredPartition
from orchestrai.vault.format.records import SnapshotCommit

FACT = "change"
# blocks of new content that are looked at for each role: of a file on this machine, and of one that each block is a request for
_BLOCKS, _REMOTE_BLOCKS, _BLOCK = 32, 8, 4096
# what compresses by less than a fiftieth counts as not compressing at all
_INCOMPRESSIBLE = 0.98
# so many partitions are named that were there before and are not as they were
NAMED = 200


@dataclass(frozen=True)
class Sample:
    """What some blocks of new content of one role come to: how many, their mean compressed size, the share that does not compress."""

    blocks: int
    ratio: float
    incompressible: float


@dataclass(frozen=True)
class SnapshotChange:
    """A snapshot against its parent: how many partitions and bytes there were, and which of these are changed or gone.

    `old` names the changed and the removed ones, `young` those that came, `NAMED` at most of each. `content` are samples by the role of
    the files. A dataset's first snapshot changes nothing.
    """

    partitions: int = 0
    size: int = 0
    rewritten: int = 0
    removed: int = 0
    lost_bytes: int = 0
    old: tuple[str, ...] = ()
    young: tuple[str, ...] = ()
    content: Mapping[str, Sample] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """How much of what was there before is changed or gone, by partitions or bytes, whichever is more."""
        if not self.partitions:
            return 0.0
        return max((self.rewritten + self.removed) / self.partitions, self.lost_bytes / self.size if self.size else 0.0)

    @property
    def removed_share(self) -> float:
        """How much of what was there before is gone, by partitions."""
        return self.removed / self.partitions if self.partitions else 0.0

    def as_json(self) -> dict[str, JsonValue]:
        """The form in a commit's facts."""
        return {
            **asdict(self),
            "old": [*self.old],
            "young": [*self.young],
            "content": {role: asdict(one) for role, one in self.content.items()},
        }

    @classmethod
    def of(cls, commit: SnapshotCommit) -> "SnapshotChange | None":
        """What a commit says of it; None for those of releases that did not measure it."""
        noted = commit.facts.get(FACT)
        if not isinstance(noted, Mapping):
            return None
        body: dict[str, Any] = {name: value for name, value in noted.items() if name in cls.__dataclass_fields__}
        content = {role: Sample(**one) for role, one in body["content"].items()}
        return cls(**(body | {"old": tuple(body["old"]), "young": tuple(body["young"]), "content": content}))


def measure(
    before: Mapping[str, StoredPartition],
    size: int,
    entries: Mapping[str, StoredPartition],
    drop: Collection[str],
    content: Mapping[str, Sample],
) -> SnapshotChange:
    """Compare what a session hands over (`entries`, `drop`) with the parent's partitions, `size` bytes in all."""
    rewritten = [name for name, entry in entries.items() if name in before and before[name].root != entry.root]
    removed = [name for name in drop if name in before and name not in entries]
    old, young = sorted([*rewritten, *removed]), sorted(name for name in entries if name not in before) if before else []
    lost = sum(before[name].size for name in old)
    names = tuple(old[:NAMED]), tuple(young[:NAMED])
    return SnapshotChange(len(before), size, len(rewritten), len(removed), lost, *names, content)


def sampled(fresh: Sequence[SourceFile]) -> dict[str, Sample]:
    """How files that the vault did not hold compress, by role, from a few blocks of all of them."""
    samples = {role: _sample(fresh, role) for role in sorted({file.role for file in fresh})}
    return {role: sample for role, sample in samples.items() if sample is not None}


def _sample(fresh: Sequence[SourceFile], role: str) -> Sample | None:
    blocks = list(_blocks([file for file in fresh if file.role == role and file.size]))
    if not blocks:
        return None
    ratios = [min(len(zlib.compress(block, 1)) / len(block), 1.0) for block in blocks]
    flat = sum(ratio > _INCOMPRESSIBLE for ratio in ratios)
    return Sample(len(ratios), round(sum(ratios) / len(ratios), 3), round(flat / len(ratios), 3))


def _blocks(files: Sequence[SourceFile]) -> Iterator[bytes]:
    """Blocks at equal distances through all files, one after another, as if they were one; what cannot be read is left out."""
    remote = any(not isinstance(file.content, Path | str | bytes) for file in files)
    total = sum(file.size for file in files)
    wanted = min(_REMOTE_BLOCKS if remote else _BLOCKS, -(-total // _BLOCK))
    step, start, number = total / wanted if wanted else 0, 0, 0
    for file in files:
        while number < wanted and (place := int(step * (number + 0.5))) < start + file.size:
            number += 1
            # a block that begins near the end of its file is moved forward, so that it is whole
            at = max(0, min(place - start, file.size - _BLOCK))
            block = _read(file, at)
            # a few bytes compress to more than they are, whatever they say
            if len(block) >= min(_BLOCK, file.size) and len(block) >= 256:
                yield block
        start += file.size


def _read(file: SourceFile, at: int) -> bytes:
    content = file.content
    try:
        if isinstance(content, bytes):
            return content[at : at + _BLOCK]
        if isinstance(content, Path | str):
            descriptor = open_regular(content)
            try:
                return os.pread(descriptor, _BLOCK, at)
            finally:
                os.close(descriptor)
        return content.store.read(content.key, start=at, length=min(_BLOCK, file.size - at))
    except (OSError, OrchestraiError):
        # it was stored and proven already: that a sample cannot be read again changes nothing
        return b""
