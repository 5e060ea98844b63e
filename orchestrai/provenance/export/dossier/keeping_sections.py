"""Sections of a dossier about what people decided, how the data is kept, and what was let go."""

from collections.abc import Iterable, Iterator, Sequence

from orchestrai.errors import ObjectNotFound
from orchestrai.provenance.audit_trail import Event
from orchestrai.provenance.export.dossier.dossier_parts import NOT_RECORDED, Row, Section, Table
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records


def decisions(steps: Sequence[Step], events: Iterable[Event]) -> Section:
    assets = {step.use.asset for step in steps}
    subjects = assets | {asset.rsplit("/", 1)[0] for asset in assets}
    # recalls, erasures and renames name what they reach in their own words: all are shown
    everywhere = ("recall", "erasure", "retraining request", "rename", "move")
    rows = (
        (event.time, event.action, event.subject, event.who, event.what, event.why)
        for event in events
        if event.action != "forget" and (event.subject in subjects or event.action in everywhere)
    )
    return Section(
        "decisions",
        "Decisions by people, and promotions",
        "article 14, article 12",
        tables=(Table("In order of time", ("when", "what", "of", "who", "which", "why"), tuple(rows)),),
    )


def backups(records: Records, steps: Sequence[Step]) -> Section:
    rows = []
    for step in steps:
        if step.use.stage == "snapshot":
            receipts = sorted(step.receipts.values(), key=lambda receipt: receipt.finished)
            moments = [str(receipt.facts.get("committed", receipt.finished)) for receipt in receipts]
            sealed = {bool(receipt.facts.get("encrypted")) for receipt in receipts}
            rows.append(
                (
                    step.use.asset,
                    f"{len(receipts):,}",
                    moments[0],
                    moments[-1],
                    "sealed" if sealed == {True} else "plain" if sealed == {False} else "both",
                    ", ".join(sorted({str(receipt.facts.get("vault", NOT_RECORDED)) for receipt in receipts})),
                )
            )
    restored = [
        (step.use.asset, f"{len(step.receipts):,}", f"{max(seconds):.2f}", f"{len(step.use.entries):,}")
        for step in steps
        if step.use.stage == "restored"
        and (seconds := [float(str(r.facts["rto_seconds"])) for r in step.receipts.values() if "rto_seconds" in r.facts])
    ]
    tally = records.tally
    return Section(
        "backups",
        "Backups and proof",
        "article 12, annex IV 2 (d)",
        (
            ("records whose signature was checked for this page", f"{tally.signatures:,}"),
            ("records whose hash was checked", f"{tally.hashes:,}"),
            ("Merkle roots computed again", f"{tally.roots:,}"),
        ),
        (
            Table(
                "Snapshots that it learned from",
                ("dataset", "snapshots", "first", "last", "at rest", "vault"),
                tuple(rows),
            ),
            Table(
                "Restores that it learned from: each byte was hashed on the way",
                ("dataset", "restores", "longest, seconds", "partitions"),
                tuple(restored),
            ),
        ),
    )


def retention(records: Records, steps: Sequence[Step], events: Iterable[Event]) -> Section:
    datasets = {str(r.facts["dataset"]) for step in steps for r in step.receipts.values() if "dataset" in r.facts}
    forgotten = tuple((e.time, e.subject, e.what, e.why) for e in events if e.action == "forget" and e.subject in datasets)
    erased = tuple((e.time, e.what, e.who, e.why) for e in events if e.action == "erasure")
    return Section(
        "retention",
        "Retention and erasure",
        "article 18, GDPR article 17",
        tables=(
            Table("Snapshots that were forgotten since", ("when", "dataset", "which", "why"), forgotten),
            Table("Legal holds that are on", ("dataset", "since", "why"), tuple(_held(records, datasets))),
            Table("Erasures of persons in this house", ("when", "reached", "who", "why"), erased),
        ),
    )


def _held(records: Records, datasets: Iterable[str]) -> Iterator[Row]:
    from orchestrai.vault.format.layout import IDENTITY
    from orchestrai.vault.format.records import IDENTITY_TYPE, document
    from orchestrai.vault.lifecycle.hold_records import holds

    try:
        vault = str(document(records.keyring, IDENTITY_TYPE, records.store.read(IDENTITY))["vault"])
    except ObjectNotFound:
        return  # a lake, which holds no holds
    for (dataset, seq), hold in sorted(holds(records.store, records.keyring, vault).items()):
        if dataset in datasets:
            yield f"{dataset}{f' snapshot {seq}' if seq else ''}", hold.placed, hold.reason
