"""One writer's work on one asset: stage files, then commit them or have them refused."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrai.contracts.verdict import JsonValue, Verdict, gate_open
from orchestrai.errors import ConcurrentCommit, GateClosed, NotReceipted, ObjectExists
from orchestrai.ledger.blobs import blob_key, put_absent
from orchestrai.ledger.heads import Action, Head, append_head, head_numbers, head_prefix, read_head
from orchestrai.ledger.manifest import (
    DatasetManifest,
    FileEntry,
    PartitionEntry,
    PartitionManifest,
    canonical_json,
    dataset_version,
    make_partition,
)
from orchestrai.ledger.override import Override
from orchestrai.ledger.receipt import InputRef, Material, Receipt
from orchestrai.ledger.report import Cost, PartitionOutcome, StageReport
from orchestrai.ledger.skips import Skip, Skips
from orchestrai.ledger.transactions import Decision, Transaction, counted, decide, undecided
from orchestrai.storage.base import CHUNK_BYTES

if TYPE_CHECKING:
    from orchestrai.ledger.ledger import Ledger

MAX_ATTEMPTS = 100


@dataclass
class _Staged:
    files: list[FileEntry] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)


class Session:
    """Stages files of one asset and publishes them.

    `fence` is the head seen when the session began. Nothing staged is visible until `commit`, and a session that dies
    leaves only bytes that nobody lists. Not safe to share between threads.
    """

    def __init__(self, ledger: "Ledger", asset: str, stage: str, session_id: str, fence: Head | None) -> None:
        self.ledger = ledger
        self.asset = asset
        self.stage = stage
        self.id = session_id
        self.fence = fence
        self.started: datetime = ledger.clock()
        self._staged: dict[str, _Staged] = {}

    def key(self, partition: str, path: str) -> str:
        """Where a staged file's bytes go in the lake."""
        return f"data/{self.asset}/{partition}/{self.id}/{path}"

    def add_bytes(
        self, partition: str, path: str, data: bytes, *, rows: int = 0, role: Literal["data", "landed"] = "data"
    ) -> FileEntry:
        """Stage a small file."""
        key = self.key(partition, path)
        self.ledger.lake.write(key, data)
        return self.add_entry(
            partition, FileEntry(path, len(data), rows, hashlib.sha256(data).hexdigest(), key, "lake", role)
        )

    def add_file(
        self, partition: str, path: str, source: Path, *, rows: int = 0, role: Literal["data", "landed"] = "data"
    ) -> FileEntry:
        """Stage a local file, hashed as it is written, in bounded memory."""
        key = self.key(partition, path)
        digest = hashlib.sha256()

        def chunks() -> Iterable[bytes]:
            with source.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    yield chunk

        info = self.ledger.lake.write(key, chunks())
        return self.add_entry(partition, FileEntry(path, info.size, rows, digest.hexdigest(), key, "lake", role))

    def add_entry(self, partition: str, entry: FileEntry) -> FileEntry:
        """Stage a file whose bytes already lie under `entry.key` (in the lake or the vault) and were hashed by the caller."""
        self._staged.setdefault(partition, _Staged()).files.append(entry)
        return entry

    def add_stats(self, partition: str, **stats: Any) -> None:
        """Note facts about a partition (JSON values, such as min and max event time) in its manifest."""
        self._staged.setdefault(partition, _Staged()).stats.update(stats)

    def staged(self, partition: str) -> PartitionManifest:
        """The partition as it would be published."""
        found = self._staged.get(partition, _Staged())
        return make_partition(partition, found.files, found.stats)

    def commit(
        self,
        verdicts: Mapping[str, Sequence[Verdict]] | None = None,
        *,
        inputs: Sequence[InputRef] = (),
        materials: Sequence[Material] = (),
        code_version: str = "",
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
        since this session began. Publishing what is already current, from the same inputs and code, changes nothing.
        A closed gate is opened by one of `overrides`, or by that which the same content is published under, if it waives every
        closed check. A refused partition whose very content a skip covers counts as done, with nothing published of it.
        With a `transaction` nothing is seen before that is committed.
        """
        verdicts = verdicts or {}
        partitions = sorted({*self._staged, *verdicts} - set(drop))
        waived = self._waived(verdicts, overrides)
        fresh = [found for found in waived.values() if any(found is given for given in overrides)]
        if fresh and action == "publish":
            action, reason = "override", "; ".join(f"{found.reason} ({found.by})" for found in fresh)
        good = [key for key in partitions if key in waived or (key in self._staged and gate_open(verdicts.get(key, ())))]
        closed = [key for key in partitions if key not in good]
        skipped = self._skipped(closed)
        bad = [key for key in closed if key not in skipped]
        if bad:
            self._quarantine(bad, verdicts)
        manifests = {key: self.staged(key) for key in good}
        head = self.fence
        if good or drop:
            draft = Receipt(
                asset=self.asset,
                stage=self.stage,
                version="",
                partitions={key: manifest.root for key, manifest in manifests.items()},
                session=self.id,
                started=self.started.isoformat(),
                finished="",
                inputs=tuple(inputs),
                materials=tuple(m for m in materials if not m.partition or m.partition in manifests),
                code_version=code_version,
                parameters=dict(parameters or {}),
                verdicts={key: tuple(verdicts.get(key, ())) for key in good},
                cost=cost or Cost(),
                facts=dict(facts or {}),
                overrides={key: found for key, found in waived.items() if key in good},
            )
            head = self._publish(draft, manifests, tuple(drop), action, reason, transaction)
        outcomes = [
            PartitionOutcome(key, True, m.root, m.rows, m.size, _told(verdicts.get(key, ()), waived.get(key)))
            for key, m in manifests.items()
        ]
        outcomes += [PartitionOutcome(key, False, verdicts=tuple(verdicts.get(key, ()))) for key in bad]
        outcomes += [
            PartitionOutcome(key, True, verdicts=tuple(skip.told(verdict) for verdict in verdicts.get(key, ())))
            for key, skip in skipped.items()
        ]
        outcomes.sort(key=lambda outcome: outcome.partition)
        return StageReport(self.asset, head.version if head else None, tuple(outcomes), cost or Cost(), dict(facts or {}))

    def _skipped(self, closed: Sequence[str]) -> dict[str, Skip]:
        skips = self.ledger.skips() if closed else Skips()
        found = {key: skips.find(self.asset, key, self.staged(key).root) for key in closed}
        return {key: skip for key, skip in found.items() if skip is not None}

    def _waived(self, verdicts: Mapping[str, Sequence[Verdict]], given: Sequence[Override]) -> dict[str, Override]:
        """What opens each closed gate; that of the published version comes first, so that a second run changes nothing."""
        found: dict[str, Override] = {}
        for key, judged in verdicts.items():
            closed = {verdict.check for verdict in judged if verdict.closes_gate}
            if closed and key in self._staged:
                root = self.staged(key).root
                for override in (self._standing(key), *given):
                    if override is not None and override.covers(self.asset, key, root, closed):
                        found.setdefault(key, override)
        return found

    def _standing(self, partition: str) -> Override | None:
        dataset = self.ledger.dataset(self.fence) if self.fence else None
        if dataset is None or partition not in dataset.partitions:
            return None
        try:
            return dataset.receipt(partition).override(partition)
        except NotReceipted:
            return None  # recalled: whoever waived it did not know

    def _publish(
        self,
        draft: Receipt,
        manifests: Mapping[str, PartitionManifest],
        drop: tuple[str, ...],
        action: Action,
        reason: str,
        transaction: Transaction | None,
    ) -> Head:
        ledger = self.ledger
        changed = tuple(sorted({*manifests, *drop}))
        digests = {key: ledger.put_blob("manifests", manifest.encode()) for key, manifest in manifests.items()}
        for _ in range(MAX_ATTEMPTS):
            newest = self._decided()
            self._mend_witness(newest)
            base = ledger.dataset(newest).partitions if newest else {}
            self._check_fence(newest, changed)
            if newest and action == "publish" and not drop and self._unchanged(newest, base, draft):
                # a commit whose copy to the vault failed is repeated to mend just that
                self._witness(newest, digests.values())
                return newest
            roots = {key: entry.root for key, entry in base.items() if key not in drop} | dict(draft.partitions)
            receipt = self._finish(draft, roots)
            receipt_digest = ledger.put_blob("receipts", receipt.sign(ledger.signer), witness=True)
            entries = {key: entry for key, entry in base.items() if key not in drop}
            for key, manifest in manifests.items():
                entries[key] = PartitionEntry(
                    key, manifest.root, manifest.rows, manifest.size, len(manifest.files), digests[key], receipt_digest
                )
            dataset = DatasetManifest(self.asset, entries)
            ledger.lake.sync()
            head = Head(
                asset=self.asset,
                seq=newest.seq + 1 if newest else 1,
                version=dataset.version,
                manifest=ledger.put_blob("manifests", dataset.encode()),
                receipt=receipt_digest,
                session=self.id,
                time=ledger.clock().astimezone(UTC).isoformat(),
                changed=changed,
                previous=newest.digest if newest else "",
                action=action,
                reason=reason,
                transaction=transaction.id if transaction else "",
            )
            try:
                committed = append_head(ledger.lake, ledger.signer, head)
            except ObjectExists:
                continue
            self._witness(committed, digests.values())
            if transaction is not None:
                transaction.heads[self.asset] = committed.digest
            else:
                ledger.published(committed)
            return committed
        raise ConcurrentCommit(
            f"expected to publish {self.asset} within {MAX_ATTEMPTS} tries, found a rival each time: retry"
        )

    def _decided(self) -> Head | None:
        """The newest head, after a transaction that nobody decided was aborted: what comes next must know what it follows."""
        ledger = self.ledger
        while (newest := ledger.newest(self.asset)) is not None:
            waiting = undecided(ledger.lake, ledger.keyring, self.asset, newest.seq)
            if waiting is None:
                break
            decide(ledger, Decision(waiting, "abort", time=ledger.clock().astimezone(UTC).isoformat()))
        return newest

    def _mend_witness(self, newest: Head | None) -> None:
        """Copy to the vault what a writer that died left uncopied, so that the copy of the log has no gap."""
        ledger = self.ledger
        if ledger.vault is None or newest is None:
            return
        last = read_head(ledger.lake, ledger.keyring, self.asset, newest.seq)
        if last.transaction:
            decide(ledger, Decision(last.transaction, "abort"))  # it is decided: only its copy may be missing
        seq, lacking = newest.seq, []
        while seq > 0 and seq not in head_numbers(ledger.vault, self.asset, seq - 1):
            lacking.append(read_head(ledger.lake, ledger.keyring, self.asset, seq))
            seq -= 1
        for head in reversed(lacking):
            entries = ledger.dataset(head).partitions
            self._witness(head, [entries[key].manifest for key in head.changed if key in entries])

    def _finish(self, draft: Receipt, roots: Mapping[str, str]) -> Receipt:
        finished = self.ledger.clock().astimezone(UTC).isoformat()
        return Receipt(**{**draft.__dict__, "version": dataset_version(roots), "finished": finished})

    def _check_fence(self, newest: Head | None, changed: tuple[str, ...]) -> None:
        ledger, seen = self.ledger, self.fence.seq if self.fence else 0
        if newest is None or newest.seq == seen:
            return
        for seq in range(seen + 1, newest.seq + 1):
            head = counted(ledger.lake, ledger.keyring, read_head(ledger.lake, ledger.keyring, self.asset, seq))
            rivals = sorted(set(head.changed) & set(changed))
            if head.session != self.id and (rivals or head.action != "publish"):
                raise ConcurrentCommit(
                    f"expected {self.asset} partitions {', '.join(rivals[:3]) or 'any'} unchanged since this session began, "
                    f"found head {seq} by session {head.session}: run the step again on the newest data",
                    asset=self.asset,
                )

    def _unchanged(self, newest: Head, base: Mapping[str, PartitionEntry], draft: Receipt) -> bool:
        recalls = self.ledger.newest_recalls()
        for key, root in draft.partitions.items():
            entry = base.get(key)
            if entry is None or entry.root != root:
                return False
            if recalls.find(self.asset, key, root, entry.receipt):
                return False  # the same bytes from clean inputs need a receipt of their own
            current = self.ledger.receipt(entry.receipt)
            same = (
                current.inputs == draft.inputs
                and current.code_version == draft.code_version
                and current.parameters == draft.parameters
                and current.verdicts.get(key) == draft.verdicts.get(key)
                and current.override(key) == draft.override(key)
            )
            if not same:
                return False
        return bool(draft.partitions)

    def _witness(self, head: Head, partition_manifests: Iterable[str]) -> None:
        vault = self.ledger.vault
        if vault is not None:
            key = f"{head_prefix(head.asset)}{head.seq:012d}.json"
            put_absent(vault, key, self.ledger.lake.read(key))
            for digest in (head.manifest, *partition_manifests):
                put_absent(vault, blob_key("manifests", digest), self.ledger.blob("manifests", digest))

    def _quarantine(self, partitions: Sequence[str], verdicts: Mapping[str, Sequence[Verdict]]) -> None:
        record = {
            "asset": self.asset,
            "session": self.id,
            "time": self.ledger.clock().astimezone(UTC).isoformat(),
            "partitions": {
                key: {
                    "files": [entry.as_json() for entry in self.staged(key).files],
                    "verdicts": [verdict.as_json() for verdict in verdicts.get(key, ())],
                }
                for key in partitions
            },
        }
        self.ledger.lake.write(f"quarantine/{self.asset}/{self.id}.json", canonical_json(record))


def _told(verdicts: Sequence[Verdict], override: Override | None) -> tuple[Verdict, ...]:
    return tuple(verdict if override is None else override.told(verdict) for verdict in verdicts)


def require_open(report: StageReport) -> StageReport:
    """Return the report, or raise GateClosed naming each refused partition and why."""
    if report.refused:
        reasons = [
            f"{outcome.partition}: " + "; ".join(f"{v.check}: {v.message}" for v in outcome.verdicts if v.closes_gate)
            for outcome in report.refused
        ]
        raise GateClosed(
            f"{report.asset}: {len(reasons)} partition(s) refused. " + " | ".join(reasons[:5]), asset=report.asset
        )
    return report
