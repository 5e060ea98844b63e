"""Verify a model file with the vault and a public key: no lake, no Dagster, no database, no network but the vault's."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.recalls import RECALLS, Recalls
from orchestrai.ledger.heads import Head
from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.ledger.signing import Keyring
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.provenance.lineage import VERBATIM, Step, Use, use_of, walk
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.file_owner import file_hash, find_file
from orchestrai.provenance.verify.findings import Check, Problems, Verification
from orchestrai.provenance.verify.vault_proof import check_anchor, check_kept
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    from orchestrai.vault.keys.key_port import KeyPort

# what each stage may have learned from; a stage that is not named here is not judged
SOURCES = {
    "raw_events": frozenset[str](),
    "snapshot": frozenset({"raw_events"}),
    "restored": frozenset({"snapshot"}),
    "features": frozenset({"restored", "features"}),
    "feature_backup": frozenset({"features"}),
    "training_set": frozenset({"features", "restored"}),
    "candidate": frozenset({"training_set"}),
    "evaluation": frozenset({"candidate", "training_set"}),
    "champion": frozenset({"candidate", "evaluation"}),
    "deployment": frozenset({"champion"}),
    "predictions": frozenset({"champion", "features"}),
}
REPRODUCIBLE = (
    "that features and training give these bytes again: their records are checked here, `orchestrai model reproduce` computes "
    "them anew"
)
LANDED_TRUTH = "that the landed objects were true: what is proven is that these bytes, by these hashes, were learned from"
NO_ROLLBACK = (
    "that nothing newer was removed from the vault: a rollback of the whole store cannot be seen from inside it; give an "
    "anchor kept outside it"
)
AFTER_ANCHOR = "that nothing newer than the anchor was removed from the vault: update the anchor after each snapshot"


def verify_model(
    file: Path,
    *,
    vault: Store,
    keyring: Keyring,
    asset: str | None = None,
    read_bytes: bool = False,
    anchor: Path | None = None,
    encryption: "KeyPort | None" = None,
) -> Verification:
    """Verify everything from a model file back to the landed objects, from the vault's records.

    Checks signatures, hashes, Merkle roots, verdicts, the chain of stages, and raw = snapshot = restored; with `read_bytes`
    also reads every snapshot file back and hashes it. `asset` narrows the search; `anchor` is a file kept outside the vault that
    remembers its newest commits, without which a rollback of the whole vault cannot be seen; `encryption` opens the bytes of a
    sealed vault. Never raises for what does not verify:
    that is told in the outcome. Raises StorageError when the vault cannot be read, ConfigError when the file cannot.
    """
    started = time.perf_counter()
    digest = file_hash(file)
    records, problems = Records(vault, governed(vault, keyring)), Problems()
    owner = find_file(records, digest, asset, problems)
    if owner is None:
        problems.say("file", file.name, f"expected sha256 {digest} in a receipt of the vault, found it in none")
        return Verification(
            file.name,
            digest,
            "",
            "",
            _checks(records, problems, []),
            tuple(problems.found),
            (),
            time.perf_counter() - started,
        )
    head, entry = owner
    steps = _walk(records, head, entry, problems)
    for step in steps:
        _check_log(records, step, problems)
        _check_sources(step, problems)
        _check_files(records, step, problems)
    _check_equal(steps, problems)
    _check_recalls(records, steps, problems)
    unprovable = [NO_ROLLBACK if anchor is None else AFTER_ANCHOR, REPRODUCIBLE, LANDED_TRUTH]
    checks = [*_checks(records, problems, steps)]
    counts = check_kept(records, steps, problems, read_bytes=read_bytes, encryption=encryption)
    checks.append(
        problems.check("snapshots", counts.commits, "snapshot commits in the vault, signed, with the root that was used")
    )
    if anchor is not None:
        anchored = check_anchor(records, anchor, problems)
        checks.append(problems.check("anchor", anchored, "newest commits that an anchor outside the vault remembers"))
    if counts.forgotten:
        unprovable.append(
            f"the bytes of {counts.forgotten} snapshots that retention has removed since: hashes and receipts remain"
        )
    if read_bytes:
        checks.append(
            problems.check("bytes", counts.files, f"files read back from the vault and hashed, {counts.size:,} bytes")
        )
    else:
        unprovable.append("that the vault still holds the bytes: run with --bytes to read them back")
    return Verification(
        file.name, digest, head.asset, head.version, tuple(checks), tuple(problems.found), tuple(unprovable),
        time.perf_counter() - started,
    )  # fmt: skip


def _walk(records: Records, head: Head, entry: PartitionEntry, problems: Problems) -> list[Step]:
    try:
        start = use_of(records, head.asset, head.version)
    except IntegrityError as error:
        problems.add(head.asset, error)
        start = Use(head.asset, {entry.partition: entry})
    return walk(records, start, problems.add)


def _check_log(records: Records, step: Step, problems: Problems) -> None:
    try:
        records.require_records(records.log(step.use.asset))
    except IntegrityError as error:
        problems.add(step.use.asset, error)


def _check_sources(step: Step, problems: Problems) -> None:
    asset, stage = step.use.asset, step.use.stage
    for receipt in step.receipts.values():
        if receipt.stage != stage:
            problems.say("lineage", asset, f"expected receipts of stage {stage}, found one of {receipt.stage}")
    allowed = SOURCES.get(stage)
    if allowed is None:
        return
    for above in step.upstream:
        if above.stage not in allowed:
            problems.say(
                "lineage", asset, f"expected {stage} to come from {', '.join(sorted(allowed))}, found {above.asset}"
            )
    if stage == "raw_events" and not step.materials:
        problems.say("lineage", asset, "expected raw events to name the landed objects they came from, found none")
    if stage != "raw_events" and not step.upstream:
        problems.say("lineage", asset, f"expected {stage} to name its inputs, found none")


def _check_files(records: Records, step: Step, problems: Problems) -> None:
    """Recompute every partition root; a raw partition that keeps its landed objects keeps exactly those it names."""
    named: dict[str, set[str]] = {}
    # of an object that repeats another the bytes are kept under that one's name
    for material in (m for m in step.materials if not m.same_as):
        named.setdefault(material.partition, set()).add(material.sha256)
    entries = dict(sorted(step.use.entries.items()))
    records.plan_uses(entries.values(), files=True)
    for key, entry in entries.items():
        try:
            files = records.files(step.use.asset, entry).files
        except IntegrityError as error:
            problems.add(f"{step.use.asset}@{key}", error)
            continue
        landed = {file.sha256 for file in files if file.role == "landed"} if step.use.stage == "raw_events" else set()
        odd = landed ^ (named.get(key, set()) | named.get("", set())) if landed else landed
        if odd:
            problems.say(
                "lineage",
                f"{step.use.asset}@{key}",
                f"expected the {len(landed)} landed objects kept to be those the receipt names, found {len(odd)} others",
            )


def _check_equal(steps: Sequence[Step], problems: Problems) -> None:
    for step in steps:
        if step.use.stage not in VERBATIM:
            continue
        for key, entry in step.use.entries.items():
            roots = {above.entries[key].root for above in step.upstream if key in above.entries}
            if roots != {entry.root}:
                problems.say(
                    "equal",
                    f"{step.use.asset}@{key}",
                    f"expected the root of its source, {entry.root[:19]}, found {', '.join(sorted(roots)) or 'none'}",
                )


def _check_recalls(records: Records, steps: Sequence[Step], problems: Problems) -> None:
    try:
        recalls = Recalls(RECALLS.all(records.store, records.keyring))
    except IntegrityError as error:
        problems.add("recalls", error)
        return
    for step in steps:
        for key, entry in step.use.entries.items():
            recall = recalls.find(step.use.asset, key, entry.root, entry.receipt)
            if recall is not None:
                why = f"recalled on {recall.time[:10]} with {recall.target} ({recall.reason or 'no reason given'})"
                problems.say("receipts", f"{step.use.asset}@{key}", why)


def _checks(records: Records, problems: Problems, steps: Sequence[Step]) -> tuple[Check, ...]:
    tally = records.tally
    partitions = sum(len(step.use.entries) for step in steps)
    equal = sum(len(step.use.entries) for step in steps if step.use.stage in VERBATIM)
    verdicts = sum(
        len(step.receipts[entry.receipt].verdicts.get(key, ()))
        for step in steps
        for key, entry in step.use.entries.items()
        if entry.receipt in step.receipts
    )
    waived = sum(
        step.receipts[entry.receipt].override(key) is not None
        for step in steps
        for key, entry in step.use.entries.items()
        if entry.receipt in step.receipts
    )
    summary = f"{verdicts:,} verdicts" + (f", {waived} partitions under an override" if waived else "")
    objects = len({(m.uri, m.sha256) for step in steps for m in step.materials})
    return (
        problems.check("file", 1, "the file's hash is in a receipted manifest"),
        problems.check("signatures", tally.signatures, "receipts and heads signed by a trusted key"),
        problems.check("hashes", tally.hashes, "records that hash to their names"),
        problems.check("records", tally.heads, "log entries, numbered without a gap and chained by hash"),
        problems.check("merkle", tally.roots, "Merkle roots computed again from their leaves"),
        problems.check("receipts", partitions, f"partitions covered by a receipt with an open gate ({summary})"),
        problems.check("lineage", len(steps), f"steps whose inputs were published, back to {objects:,} landed objects"),
        problems.check("equal", equal, "partitions whose restored and snapshot roots equal their source's"),
    )
