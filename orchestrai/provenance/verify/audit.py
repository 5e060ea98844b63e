"""Audit: walk every log of a store, check every signature, hash and root, and compare the lake with its witness."""

import time
from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.ledger.decisions.void_heads import VOID_HEADS, VoidHead
from orchestrai.ledger.heads import Head
from orchestrai.ledger.signing import Keyring
from orchestrai.provenance.decision_log import decision_keys, read_decision
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.findings import Check, Problem, Problems
from orchestrai.storage.base import Store


@dataclass(frozen=True)
class Audit:
    """What an audit found in one store; `unprovable` is what no look from inside can show, `known` the void entries somebody knows of."""

    store: str
    assets: int
    checks: tuple[Check, ...]
    problems: tuple[Problem, ...]
    unprovable: tuple[str, ...]
    seconds: float
    known: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when every check held."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **self.__dict__,
            "ok": self.ok,
            "checks": [check.__dict__ for check in self.checks],
            "problems": [problem.__dict__ for problem in self.problems],
        }


def audit(store: Store, keyring: Keyring, *, witness: Store | None = None) -> Audit:
    """Check every head, receipt and manifest of every asset; with a witness, those it holds too, and that both hold the same logs."""
    started = time.perf_counter()
    problems = Problems()
    looks = [_look(Records(store, keyring), problems, "")]
    compared = 0
    if witness is not None:
        looks.append(_look(Records(witness, keyring), problems, "vault: "))
        compared = _compare(looks[0].records, looks[1].records, problems)
    tallies = [look.records.tally for look in looks]
    decisions, partitions = sum(look.decisions for look in looks), sum(look.partitions for look in looks)
    checks = [
        problems.check(
            "signatures",
            sum(tally.signatures for tally in tallies) + decisions,
            "receipts, heads and decisions signed by a trusted key",
        ),
        problems.check("hashes", sum(tally.hashes for tally in tallies), "records that hash to their names"),
        problems.check(
            "records", sum(tally.heads for tally in tallies), "log entries, numbered without a gap and chained by hash"
        ),
        problems.check("lineage", sum(tally.roots for tally in tallies), "Merkle roots computed again from their leaves"),
        problems.check("receipts", partitions, "published partitions covered by a receipt with an open gate"),
    ]
    unprovable = ["that nothing newer was removed: a rollback of the whole store cannot be seen from inside it"]
    if witness is not None:
        checks.append(problems.check("witness", compared, "log entries equal in the lake and the vault"))
        unprovable = ["that lake and vault were not rolled back together: keep the newest head in a third place"]
    known = tuple(dict.fromkeys(told for look in looks for told in look.known))
    seconds = time.perf_counter() - started
    return Audit(store.url, looks[0].assets, tuple(checks), tuple(problems.found), tuple(unprovable), seconds, known)


@dataclass(frozen=True)
class _Look:
    """What was read of one store."""

    records: Records
    assets: int
    partitions: int
    decisions: int
    known: tuple[str, ...]


def _look(records: Records, problems: Problems, place: str) -> _Look:
    """Check every record of a store; `place` goes before the names of what is wrong there."""
    assets = records.assets()
    partitions = decisions = 0
    for asset in assets:
        log: tuple[Head, ...] = ()
        try:
            log = records.log(asset)
            records.require_records(log)
        except IntegrityError as error:
            problems.add(f"{place}{asset}", error)
        records.plan_versions(log)
        records.plan_receipts(log)
        for head in log:
            partitions += _check_head(records, head, problems, place)
    known = []
    for key, refusal in records.refused.items():
        void = _known_void(records, key)
        if void is None:
            problems.add(f"{place}{key}", refusal)
        else:
            known.append(f"{place}{key}: void, as {void.by} says since {void.time[:19]}: {void.reason}")
    for key in decision_keys(records.store):
        try:
            read_decision(records.store, records.keyring, key)
            decisions += 1
        except IntegrityError as error:
            problems.add(f"{place}{key}", error)
    return _Look(records, len(assets), partitions, decisions, tuple(known))


def _known_void(records: Records, key: str) -> VoidHead | None:
    """Somebody's word about just this entry; one that does not verify says nothing, and is told of as any decision."""
    try:
        return VOID_HEADS.find(records.store, records.keyring, sha256_hex(records.store.read(key)))
    except (IntegrityError, ObjectNotFound):
        return None


def _check_head(records: Records, head: Head, problems: Problems, place: str) -> int:
    checked = 0
    try:
        entries = records.entries(head)
        for key in head.changed:
            if key in entries:
                records.admitted(head.asset, entries[key])
                records.files(head.asset, entries[key])
                checked += 1
    except IntegrityError as error:
        problems.add(f"{place}{head.asset} head {head.seq}", error)
    return checked


def _compare(records: Records, witness: Records, problems: Problems) -> int:
    compared = 0
    lopsided = set(decision_keys(records.store)) ^ set(decision_keys(witness.store))
    for key in sorted(lopsided):
        problems.say(
            "witness", key, "expected it in lake and vault, found it in one: run `orchestrai rebuild`, or decide again"
        )
    for asset in sorted({*records.assets(), *witness.assets()}):
        try:
            ours, theirs = records.log(asset), witness.log(asset)
        except IntegrityError as error:
            problems.add(f"{asset} in the witness", error)
            continue
        for mine, other in zip(ours, theirs, strict=False):
            compared += 1
            if mine.digest != other.digest:
                problems.say(
                    "witness", f"{asset} head {mine.seq}", "expected equal log entries, found two: one was rewritten"
                )
        if len(ours) != len(theirs):
            problems.say(
                "witness",
                asset,
                f"expected equal logs, found {len(ours)} entries here and {len(theirs)} there: run `orchestrai rebuild`, "
                "or publish again",
            )
    return compared
