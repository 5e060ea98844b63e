"""One writer's work on one asset: stage files, then commit them or have them refused."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from orchestrai.core.actor import actor_fact
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import segment
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import dataset_at
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.decisions.skips import Skip, Skips
from orchestrai.ledger.decisions.transactions import Transaction
from orchestrai.ledger.heads import Action, Head
from orchestrai.ledger.log import Log
from orchestrai.ledger.manifest import FileEntry, PartitionManifest, make_partition
from orchestrai.ledger.publishing import Publication, publish
from orchestrai.ledger.quarantine import answer_refusals, put_quarantine
from orchestrai.ledger.receipt import InputRef, Material, Receipt
from orchestrai.ledger.report import Cost, PartitionOutcome, StageReport
from orchestrai.storage.base import CHUNK_BYTES
from orchestrai.storage.zstd_stream import write_compressed


@dataclass
class _Staged:
    files: list[FileEntry] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)


class Session:
    """Stages files of one asset and publishes them.

    `fence` is the head seen when the session began. Nothing staged is visible until `commit`, and a session that dies
    leaves only bytes that nobody lists. Not safe to share between threads.
    """

    def __init__(self, ledger: Log, asset: str, producer: Producer, session_id: str, fence: Head | None) -> None:
        self.ledger = ledger
        self.asset = asset
        self.producer = producer
        self.id = session_id
        self.fence = fence
        self.started: datetime = ledger.clock()
        self._staged: dict[str, _Staged] = {}

    def key(self, partition: str, path: str) -> str:
        """Where a staged file's bytes go in the lake."""
        return f"data/{self.asset}/{segment(partition)}/{self.id}/{path}"

    def add_bytes(
        self, partition: str, path: str, data: bytes, *, rows: int = 0, role: Literal["data", "landed"] = "data"
    ) -> FileEntry:
        """Stage a small file; what landed lies compressed where it shrinks."""
        key = self.key(partition, path)
        packed = self._write(key, [data], role)
        digest = hashlib.sha256(data).hexdigest()
        return self.add_entry(partition, FileEntry(path, len(data), rows, digest, key, "lake", role, packed))

    def add_file(
        self, partition: str, path: str, source: Path, *, rows: int = 0, role: Literal["data", "landed"] = "data"
    ) -> FileEntry:
        """Stage a local file, hashed as it is written, in bounded memory; what landed lies compressed where it shrinks."""
        key = self.key(partition, path)
        digest, size = hashlib.sha256(), 0

        def chunks() -> Iterable[bytes]:
            nonlocal size
            with source.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    yield chunk

        packed = self._write(key, chunks(), role)
        return self.add_entry(partition, FileEntry(path, size, rows, digest.hexdigest(), key, "lake", role, packed))

    def _write(self, key: str, data: Iterable[bytes], role: str) -> int:
        """Write a file; how long it lies there where it is compressed, else 0."""
        if role == "landed":
            return write_compressed(self.ledger.lake, key, data)
        self.ledger.lake.write(key, data)
        return 0

    def add_entry(self, partition: str, entry: FileEntry) -> FileEntry:
        """Stage a file whose bytes already lie under `entry.key` (in the lake or the vault) and were hashed by the caller."""
        self._staged.setdefault(partition, _Staged()).files.append(entry)
        return entry

    def add_stats(self, partition: str, **stats: Any) -> None:
        """Note facts about a partition (JSON values, such as min and max event time) in its manifest."""
        self._staged.setdefault(partition, _Staged()).stats.update(stats)

    def staged(self, partition: str) -> PartitionManifest:
        """The partition as it would be published."""
        content = self._staged.get(partition, _Staged())
        return make_partition(partition, content.files, content.stats)

    def commit(
        self,
        verdicts: Mapping[str, Sequence[Verdict]] | None = None,
        *,
        inputs: Sequence[InputRef] = (),
        materials: Sequence[Material] = (),
        parameters: Mapping[str, JsonValue] | None = None,
        cost: Cost | None = None,
        facts: Mapping[str, JsonValue] | None = None,
        drop: Sequence[str] = (),
        action: Action = "publish",
        reason: str = "",
        overrides: Sequence[Override] = (),
        transaction: Transaction | None = None,
    ) -> StageReport:
        """Publish every staged partition whose gate is open; quarantine the others; report both.

        Atomic for all published partitions together. Raises ConcurrentCommit when another session published one of them
        since this session began. Publishing what is already current, from the same inputs, objects and code, changes nothing.
        A closed gate is opened by one of `overrides`, or by that which the same content is published under, if it waives every
        closed check. A refused partition whose very content a skip covers counts as done, with nothing published of it.
        With a `transaction` nothing is seen before that is committed. The verdicts given are what the receipt carries and the
        report tells, unchanged; what a person waived or left out stands beside them. Raises IntegrityError for two of one check.
        """
        audit = verdicts if isinstance(verdicts, Audit) else Audit.of(verdicts or {})
        partitions = sorted({*self._staged, *audit} - set(drop))
        waived = self._waived(audit, overrides)
        fresh = [override for override in waived.values() if any(override is given for given in overrides)]
        if fresh and action == "publish":
            action, reason = "override", "; ".join(f"{override.reason} ({override.by})" for override in fresh)
        good = [key for key in partitions if key in waived or (key in self._staged and audit.is_open(key))]
        closed = [key for key in partitions if key not in good]
        skipped = self._skipped(closed)
        bad = [key for key in closed if key not in skipped]
        if bad:
            refused = {key: (self.staged(key), audit.get(key, ())) for key in bad}
            put_quarantine(self.ledger, self.asset, self.id, refused, self._receipts(bad), materials)
        manifests = {key: self.staged(key) for key in good}
        head = self.fence
        if good or drop:
            draft = Receipt(
                asset=self.asset,
                stage=self.producer.stage,
                version="",
                partitions={key: manifest.root for key, manifest in manifests.items()},
                session=self.id,
                started=self.started.isoformat(),
                finished="",
                inputs=tuple(inputs),
                materials=tuple(m for m in materials if not m.partition or m.partition in manifests),
                code_version=self.producer.code,
                parameters=dict(parameters or {}),
                verdicts={key: audit.get(key, ()) for key in good},
                cost=cost or Cost(),
                facts={**(facts or {}), **actor_fact()},
                overrides={key: override for key, override in waived.items() if key in good},
            )
            wanted = Publication(draft, manifests, self.fence, tuple(drop), action, reason, transaction)
            head = publish(self.ledger, wanted)
            if head.session != self.id:
                current = dataset_at(self.ledger, head).partitions
                answer_refusals(self.ledger, self.asset, self.id, {key: current[key].receipt for key in good})
        outcomes = [
            PartitionOutcome(key, True, m.root, m.rows, m.size, audit.get(key, ()), override=waived.get(key))
            for key, m in manifests.items()
        ]
        outcomes += [PartitionOutcome(key, False, verdicts=audit.get(key, ())) for key in bad]
        outcomes += [PartitionOutcome(key, True, verdicts=audit.get(key, ()), skip=skip) for key, skip in skipped.items()]
        outcomes.sort(key=lambda outcome: outcome.partition)
        return StageReport(self.asset, head.version if head else None, tuple(outcomes), cost or Cost(), dict(facts or {}))

    def _receipts(self, partitions: Sequence[str]) -> dict[str, str]:
        """The receipts of what was published of some partitions when the session began."""
        current = dataset_at(self.ledger, self.fence).partitions if self.fence else {}
        entries = {key: current.get(key) for key in partitions}
        return {key: entry.receipt for key, entry in entries.items() if entry is not None}

    def _skipped(self, closed: Sequence[str]) -> dict[str, Skip]:
        skips = self.ledger.skips() if closed else Skips()
        by_partition = {key: skips.find(self.asset, key, self.staged(key).root) for key in closed}
        return {key: skip for key, skip in by_partition.items() if skip is not None}

    def _waived(self, audit: Audit, given: Sequence[Override]) -> dict[str, Override]:
        """What opens each closed gate; that of the published version comes first, so that a second run changes nothing."""
        overrides: dict[str, Override] = {}
        for key in audit.closed:
            closed = {verdict.check for verdict in audit[key] if verdict.closes_gate}
            if key in self._staged:
                root = self.staged(key).root
                for override in (self._standing(key), *given):
                    if override is not None and override.covers(self.asset, key, root, closed):
                        overrides.setdefault(key, override)
        return overrides

    def _standing(self, partition: str) -> Override | None:
        dataset = dataset_at(self.ledger, self.fence) if self.fence else None
        if dataset is None or partition not in dataset.partitions:
            return None
        try:
            return dataset.receipt(partition).override(partition)
        except NotReceipted:
            return None  # recalled: whoever waived it did not know
