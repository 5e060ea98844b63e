"""The facts of a compliance report, worked out from the ledger's and the vault's signed records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from orchestrai.backup.retention_stages import uses_of
from orchestrai.errors import NotReceipted
from orchestrai.ledger.ledger import Ledger
from orchestrai.provenance.compliance.gaps import MADE_AGAIN, Gap, gaps
from orchestrai.vault.change.unusual_change import alarms
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.keys.data_keys import wrapped_keys
from orchestrai.vault.lifecycle.hold_records import Hold, holds
from orchestrai.vault.lifecycle.lock import locked_until
from orchestrai.vault.lifecycle.retention import plan_dataset
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verification_record import VerificationRecord, verifications
from orchestrai.vault.verify.verify import verify

# of each series so many of the newest points are told
POINTS = 400


@dataclass(frozen=True)
class Point:
    """One measured value at a time."""

    time: datetime
    value: float


@dataclass(frozen=True)
class Protected:
    """What the vault has of one dataset, how that is proven, and what becomes of it.

    `gap_seconds` has for each snapshot the time since the one before, what would have been lost at most; `rto_seconds` and
    `rpo_seconds` what each drill measured. `would_go` are the snapshots that retention lets go next.
    """

    dataset: str
    snapshots: int
    since: datetime
    newest: datetime
    newest_id: str
    rows: int
    size: int
    stored: int
    proven: datetime | None
    locked_until: datetime | None
    policy: str
    rpo_target: float
    rto_target: float
    would_go: tuple[str, ...]
    gap_seconds: tuple[Point, ...]
    rto_seconds: tuple[Point, ...]
    rpo_seconds: tuple[Point, ...]
    unusual: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model and which version serves; `state` is "serves" or "withdrawn"."""

    name: str
    state: str
    version: str
    since: str


@dataclass(frozen=True)
class Compliance:
    """All of it, as of `time`; `replicas` have when each was copied and verified last, `made_again` what is kept as receipts alone."""

    time: datetime
    vault: str
    url: str
    sealed: bool
    wrapped_by: tuple[str, ...]
    signing_key: str
    trusted_keys: tuple[str, ...]
    refused_keys: tuple[str, ...]
    datasets: tuple[Protected, ...]
    models: tuple[Model, ...]
    holds: tuple[Hold, ...]
    replicas: Mapping[str, str]
    verifications: tuple[VerificationRecord, ...]
    read_whole: str
    findings: tuple[str, ...]
    gaps: tuple[Gap, ...]
    made_again: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, unusual or unprotected."""
        return not self.findings and not self.gaps and not any(one.unusual for one in self.datasets)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"ok": self.ok, **_plain(self)}


def compliance(ledger: Ledger, vault: Vault, declared: Mapping[str, BackupSpec]) -> Compliance:
    """Gather it; `declared` says how each dataset of the vault is kept. Writes nothing; what is damaged is a finding."""
    now = ledger.clock()
    found = [f"{one.key}: {one.problem}" for one in verify(vault).findings]
    by_dataset: dict[str, list[SnapshotCommit]] = {}
    for commit in vault.catalog.visible(strict=False):
        by_dataset.setdefault(commit.dataset, []).append(commit)
    raised = {} if found else _unusual(vault)
    told = verifications(vault)
    keyring = ledger.keyring
    wrapped = wrapped_keys(vault.store, vault.identity(), keyring) if vault.encrypted else []
    return Compliance(
        time=now,
        vault=vault.identity(),
        url=vault.store.url,
        sealed=vault.encrypted,
        wrapped_by=tuple(dict.fromkeys(record.port for record in wrapped)),
        signing_key=ledger.signer.key_id,
        trusted_keys=tuple(sorted(keyring.keys)),
        refused_keys=tuple(sorted(keyring.refused)),
        datasets=tuple(
            _protected(ledger, vault, commits, declared.get(name, BackupSpec()), (raised.get(name, ()), not found))
            for name, commits in sorted(by_dataset.items())
        ),
        models=tuple(_models(ledger)),
        holds=tuple(holds(vault.store, keyring, vault.identity(), strict=False).values()),
        replicas=_replicas(ledger),
        verifications=tuple(told[-20:]),
        read_whole=max((record.time for record in told if record.proves), default=""),
        findings=tuple(found),
        gaps=tuple(gaps(ledger, vault)),
        made_again=_made_again(ledger),
    )


def _unusual(vault: Vault) -> dict[str, tuple[str, ...]]:
    raised: dict[str, tuple[str, ...]] = {}
    for alarm in alarms(vault):
        if alarm.acknowledged is None:
            raised[alarm.commit.dataset] = (*raised.get(alarm.commit.dataset, ()), alarm.message)
    return raised


def _protected(
    ledger: Ledger, vault: Vault, commits: Sequence[SnapshotCommit], spec: BackupSpec, seen: tuple[tuple[str, ...], bool]
) -> Protected:
    unusual, sound = seen
    dataset, newest = commits[0].dataset, commits[-1]
    prefix, _, kind = dataset.rpartition("/")
    drills = _drills(ledger, f"{prefix}/drill") if kind != "dead_letters" else []
    uses = uses_of(ledger, prefix) if kind == "raw_events" and sound else ()
    plan = plan_dataset(vault, dataset, spec.keep, uses)[0] if sound else None
    locks = locked_until(vault, dataset)
    return Protected(
        dataset=dataset,
        snapshots=len(commits),
        since=commits[0].committed,
        newest=newest.committed,
        newest_id=newest.snapshot_id,
        rows=newest.rows,
        size=newest.size,
        stored=sum(commit.new_bytes for commit in commits),
        proven=drills[-1][0] if drills else None,
        locked_until=max((until for seq, until in locks.items() if seq in {commit.seq for commit in commits}), default=None),
        policy=spec.keep.describe(),
        rpo_target=spec.rpo.total_seconds(),
        rto_target=spec.rto.total_seconds(),
        would_go=tuple(commit.snapshot_id for commit in plan.forget) if plan else (),
        gap_seconds=tuple(
            Point(after.committed, (after.committed - before.committed).total_seconds())
            for before, after in pairwise(commits[-POINTS - 1 :])
        ),
        rto_seconds=tuple(Point(time, rto) for time, rto, _ in drills),
        rpo_seconds=tuple(Point(time, rpo) for time, _, rpo in drills),
        unusual=unusual,
    )


def _drills(ledger: Ledger, asset: str) -> list[tuple[datetime, float, float]]:
    """When each drill was published, with its RTO and RPO, oldest first; a drill that proved nothing is not published."""
    told = []
    for head, _ in zip(ledger.history(asset), range(POINTS), strict=False):
        facts = ledger.receipt(head.receipt).facts
        rto, rpo = facts.get("rto_seconds"), facts.get("rpo_seconds")
        if isinstance(rto, int | float) and isinstance(rpo, int | float):
            told.append((datetime.fromisoformat(head.time), float(rto), float(rpo)))
    return told[::-1]


def _models(ledger: Ledger) -> Iterator[Model]:
    for asset in ledger.assets():
        if not asset.endswith("/champion"):
            continue
        name, champion = asset.rpartition("/")[0], ledger.find(asset)
        if champion is None or not _serves(ledger, asset):
            yield Model(name, "withdrawn", "", champion.head.time if champion else "")
        else:
            yield Model(name, "serves", champion.version, champion.head.time)


def _serves(ledger: Ledger, asset: str) -> bool:
    """Whether a champion is there and its content was not recalled."""
    dataset = ledger.open(asset)
    try:
        return bool(dataset.partitions) and all(dataset.receipt(key) is not None for key in dataset.partitions)
    except NotReceipted:
        return False


def _replicas(ledger: Ledger) -> dict[str, str]:
    """When each replica was written and verified last, as the receipts of snapshots say."""
    told: dict[str, str] = {}
    for asset in ledger.assets():
        dataset = ledger.find(asset) if asset.endswith(("/snapshot", "_backup", "/dump")) else None
        if dataset is not None:
            receipt = ledger.receipt(dataset.head.receipt)
            replica = receipt.facts.get("replica")
            if isinstance(replica, str) and replica:
                told[replica] = max(told.get(replica, ""), receipt.finished)
    return told


def _made_again(ledger: Ledger) -> dict[str, int]:
    """How many assets of each stage are kept by their receipts, and made again from what is kept whole."""
    counts: dict[str, int] = {}
    for asset in ledger.assets():
        stage = asset.rpartition("/")[2]
        if stage in MADE_AGAIN:
            counts[stage] = counts.get(stage, 0) + 1
    return counts


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
