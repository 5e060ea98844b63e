"""A second copy of the vault in another store, region or account."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.ledger.signing import rules_of, without_rules
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import control_plane
from orchestrai.vault.chain.chain_head import ranges
from orchestrai.vault.format.layout import BYTES, VERIFIED
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.news.copy_plan import CopyPlan, Lacking
from orchestrai.vault.replica.news.new_copy import new_copy, progress_of
from orchestrai.vault.replica.object_copy import copy_object
from orchestrai.vault.replica.whole_copy import whole_copy
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven
from orchestrai.vault.verify.verification import Finding
from orchestrai.vault.verify.verify import VerifyReport, verify


@dataclass(frozen=True)
class ReplicaReport:
    """What was copied, and what the replica says when it is verified by itself."""

    target: str
    copied: int
    bytes: int
    already: int
    verified: VerifyReport

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in ("target", "copied", "bytes", "already")}
        return body | {"verified": self.verified.as_json()}


def replicate(vault: Vault, target: Store, *, progress: Progress | None = None, full: bool = False) -> ReplicaReport:
    """Copy what `target` lacks, and verify the replica as a vault of its own, every new byte by the hash that its commit names.

    An ordinary run looks at what came behind the replica's own signed progress; a first one, one whose progress the replica does not bear
    out, and with `full` any, compares both stores. Chains are copied after all bytes, in order, so the replica never shows a snapshot it
    cannot restore. Receipts, heads and manifests that the ledger keeps in the vault go too. Read back are the snapshots that no
    earlier run has read back, or with `full` all. What is there with other bytes is never written over: it is found, and `vault heal`
    mends it; so it does what was lost behind the progress. Idempotent.
    """
    replica, copy = opened_replica(vault, target), Copy(target, control_plane(target), False)
    proven = None if full else progress_of(vault, target)
    plan = new_copy(vault, copy, replica, proven) if proven else whole_copy(vault, copy)
    findings, copied, size, already = list(plan.findings), 0, 0, 0
    for number, one in enumerate(plan.todo, 1):
        if one.key in plan.there:
            already += 1
            findings += _differs(vault.store, target, one, plan.there[one.key])
        elif (
            got := copy_object(vault.store, target, one.key, one.version, back=not _is_of(one.key, plan.sessions))
        ) is not None:
            copied, size = copied + 1, size + got
        if progress is not None:
            progress("replicate", number, len(plan.todo))
    target.sync()
    # anew: it may have got another key log
    report = verify(opened_replica(vault, target), level="read", proven=proven, progress=progress)
    seen = {finding.key for finding in report.findings}
    # of one key what was found first says most
    others = {finding.key: finding for finding in reversed(findings) if finding.key not in seen}
    report = replace(report, findings=(*report.findings, *others.values()))
    if report.ok and report.proven is not None:
        target.write(VERIFIED, _reached(report.proven, plan).sealed(vault.signer))
    return ReplicaReport(target.url, copied, size, already, report)


def _differs(source: Store, target: Store, one: Lacking, size: int) -> list[Finding]:
    """What is wrong with an object that is in the replica already."""
    if one.size not in (None, size):
        return [Finding(one.key, f"expected {one.size} bytes, found {size}: run `orchestrai vault heal --apply`")]
    if one.compared and source.read(one.key) != target.read(one.key):
        return [Finding(one.key, "expected the bytes that the vault has, found others: run `orchestrai vault heal`")]
    return []


def _reached(proven: Proven, plan: CopyPlan) -> Proven:
    """The progress to remember: what was proven, with the tombstones and the entries of logs that are there now."""
    chains = {name: one._replace(gone=ranges(plan.gone.get(name, ()))) for name, one in proven.chains.items()}
    return replace(proven, chains=chains, logs=_newest(plan.logs, proven.logs or {}))


def _newest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}


def opened_replica(vault: Vault, target: Store) -> Vault:
    """The replica as a vault, to list, verify and restore from when the first one is gone."""
    return Vault(
        target,
        vault.signer,
        # the replica has a copy of the key log, and is judged by that
        governed(target, without_rules(vault.keyring)) if rules_of(vault.keyring) is not None else vault.keyring,
        clock=vault.clock,
        new_id=vault.new_id,
        encryption=vault.encryption,
        max_session=vault.max_session,
        workers=vault.workers,
        codec=vault.codec,
    )


def _is_of(key: str, sessions: Collection[str]) -> bool:
    """True for bytes that one of these sessions wrote, which are read back by the hashes that their commits name."""
    return key.startswith(BYTES) and key.split("/")[2] in sessions
