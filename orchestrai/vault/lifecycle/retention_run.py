"""Apply `keep` to a dataset of the vault and publish what stays, what was forgotten, and under which policy.

The record that is published is what the vault holds afterwards, so a run that finds nothing to forget publishes nothing new. What
became of the others is in its receipt: everything that a tombstone has hidden since the record before, whoever wrote it. A run
that died between its tombstones and its receipt is told of by the next.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from orchestrai.core.canonical import JsonValue, canonical_json
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ObjectNotFound
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.ledger.session import Session
from orchestrai.vault.format.layout import tombstone_key
from orchestrai.vault.format.records import NEVER
from orchestrai.vault.lifecycle.lock import locked_until
from orchestrai.vault.lifecycle.retention import Coverage, PartitionUse, Retained, apply_retention, plan_dataset
from orchestrai.vault.spec import KeepSpec
from orchestrai.vault.vault import Vault

PRODUCER = Producer("retention", __name__)
INPUTS_CHECK = "model_inputs"


def retain(
    ledger: Ledger,
    vault: Vault,
    *,
    asset: str,
    dataset: str,
    keep: KeepSpec,
    apply: bool = True,
    uses: Sequence[PartitionUse] | None = None,
    inputs: Sequence[InputRef] = (),
    after: Callable[[], None] | None = None,
) -> StageReport:
    """Plan, forget what no rule keeps, and publish `asset`; without `apply` only plan and publish. Idempotent.

    `uses` are what models must be able to learn again from, None where nothing learns from the dataset. `after` is called once
    everything is forgotten. Raises IntegrityError when the vault's records are damaged: nothing is forgotten then.
    """
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        plan, coverage = plan_dataset(vault, dataset, keep, uses or ())
        if not plan.decisions:
            message = f"expected a snapshot of {dataset}, found none in {vault.store.url}: take one first"
            return StageReport(
                asset, None, (PartitionOutcome(WHOLE, False, verdicts=(Verdict("upstream", False, message),)),)
            )
        went: set[str] = set()
        if apply:
            went = set(apply_retention(vault, plan, policy=keep.describe()))
            if after is not None:
                after()
        now = vault.store_time()
        locks = {seq: until for seq, until in locked_until(vault, dataset).items() if until > now}
        # where others must sign too, what no rule keeps stays until they did
        stays = [decision for decision in plan.decisions if decision.snapshot.snapshot_id not in went]
        gone = _gone_since(session, vault, dataset)
        body = {"dataset": dataset, "vault": vault.identity(), "snapshots": [_stored(decision) for decision in stays]}
        entry = session.add_bytes(WHOLE, "retention.json", canonical_json(body), rows=len(stays))
        meter.written = entry.size
        rows = [*(_row(decision, locks, waits=apply) for decision in stays), *(_gone_row(place, locks) for place in gone)]
        rows.sort(key=_seq, reverse=True)
        going = [_seq(row) for row in rows if row["decision"] in ("would go", "forgotten")]
        deferred = [locks[seq] for seq in going if seq in locks]
    facts: dict[str, JsonValue] = {
        "dataset": dataset,
        "vault": vault.identity(),
        "policy": keep.describe(),
        "applied": apply,
        "stay": sum(row["decision"] == "stays" for row in rows),
        "would_go": sum(row["decision"] == "would go" for row in rows),
        "wait_for_approval": [row["snapshot"] for row in rows if row["decision"] == "waits"],
        "forgotten": [row["snapshot"] for row in rows if row["decision"] == "forgotten"],
        "through": plan.decisions[0].snapshot.seq,
        "bytes_locked": len(deferred),
        "bytes_locked_until": max(deferred).isoformat() if deferred else None,
        "decisions": [dict(row) for row in rows],
    }
    verdicts = {WHOLE: [] if uses is None else [_inputs_verdict(coverage)]}
    parameters: dict[str, JsonValue] = {"keep": keep.model_dump(mode="json", exclude_defaults=True), "apply": apply}
    return session.commit(verdicts, inputs=inputs, parameters=parameters, cost=meter.cost(), facts=facts)


def _inputs_verdict(coverage: Coverage) -> Verdict:
    if not coverage.missing:
        return Verdict(
            INPUTS_CHECK, True, "every partition that serving and waiting models learned from is in a snapshot that stays"
        )
    message = (
        f"expected what models learned from in a snapshot, found none for {'; '.join(coverage.missing)}: train them again"
    )
    return Verdict(INPUTS_CHECK, False, message, "warn", {"missing": list(coverage.missing)})


def _stored(decision: Retained) -> dict[str, JsonValue]:
    commit = decision.snapshot
    why: list[JsonValue] = [*decision.reasons]
    return {"seq": commit.seq, "snapshot_id": commit.snapshot_id, "committed": commit.committed.isoformat(), "why": why}


def _row(decision: Retained, locks: Mapping[int, datetime], *, waits: bool) -> dict[str, JsonValue]:
    commit = decision.snapshot
    why = "; ".join(decision.reasons) if decision.kept else _deferred("no rule keeps it", commit.seq, locks)
    if waits and not decision.kept:
        why += "; it is proposed, and waits for others to sign: `orchestrai approvals list`"
    named = "stays" if decision.kept else "waits" if waits else "would go"
    return _line(commit.seq, commit.snapshot_id, commit.committed, named, why)


def _gone_row(place: tuple[int, str, datetime, str], locks: Mapping[int, datetime]) -> dict[str, JsonValue]:
    seq, snapshot_id, committed, reason = place
    return _line(seq, snapshot_id, committed, "forgotten", _deferred(reason, seq, locks))


def _line(seq: int, snapshot_id: str, committed: datetime, decision: str, why: str) -> dict[str, JsonValue]:
    return {"seq": seq, "snapshot": snapshot_id, "committed": committed.isoformat(), "decision": decision, "why": why}


def _deferred(why: str, seq: int, locks: Mapping[int, datetime]) -> str:
    return f"{why}; a lock holds its bytes until {locks[seq]:%Y-%m-%d %H:%M} UTC" if seq in locks else why


def _seq(row: Mapping[str, JsonValue]) -> int:
    seq = row["seq"]
    assert isinstance(seq, int)
    return seq


def _gone_since(session: Session, vault: Vault, dataset: str) -> list[tuple[int, str, datetime, str]]:
    """The snapshots that were forgotten since the record before, oldest first: number, id, when committed, why forgotten."""
    facts = session.ledger.receipt(session.fence.receipt).facts if session.fence else {}
    through, before = facts.get("through"), facts.get("decisions")
    same = (facts.get("dataset"), facts.get("vault")) == (dataset, vault.identity())
    last = through if same and isinstance(through, int) else 0
    stayed = (
        {row["seq"] for row in before if isinstance(row, Mapping) and row["decision"] != "forgotten"}
        if same and isinstance(before, list)
        else set()
    )
    commits = {commit.seq: commit for commit in vault.catalog.commits(dataset, strict=False)}
    gone = []
    for _, seq in sorted(vault.catalog.forgotten(dataset)):
        if seq in stayed or seq > last:
            commit = commits.get(seq)
            # a damaged commit is forgotten by its number, and has no more to tell
            details = (commit.snapshot_id, commit.committed) if commit else ("", NEVER)
            gone.append((seq, *details, _reason(vault, dataset, seq)))
    return gone


def _reason(vault: Vault, dataset: str, seq: int) -> str:
    try:
        return vault.catalog.tombstone(tombstone_key(dataset, seq)).reason
    except ObjectNotFound:
        return "its tombstone is gone; the chain calls it forgotten"
