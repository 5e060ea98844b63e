"""The audit trail: every operation on data, in order of time, read from signed records alone.

Who is the key that signed it, and, where a person decided, the name in the record. Order and time are claims of the signers' clocks;
that nothing was taken out of the middle is checked by `orchestrai audit`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrai.errors import NotCounted
from orchestrai.ledger.decisions.acknowledgements import ACKNOWLEDGEMENTS
from orchestrai.ledger.decisions.renames import RENAMES
from orchestrai.ledger.decisions.skips import SKIPS
from orchestrai.ledger.decisions.void_heads import VOID_HEADS
from orchestrai.ledger.heads import Head, head_key, read_head
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.decision_log import ERASURES, RETRAININGS, decision_keys, read_decision
from orchestrai.provenance.masking.export_record import EXPORTS
from orchestrai.provenance.trail_sources import other_deeds, signer_of
from orchestrai.provenance.verified_records import Records


@dataclass(frozen=True)
class Event:
    """One operation: when (ISO, UTC), what was done to what, by whom, why, the record that says so, and from which interface.

    `who` is the person that the machine knew, and the keys that signed. A name that somebody gave themselves is told as a claim.
    """

    time: str
    action: str
    subject: str
    who: str
    what: str
    why: str
    record: str
    interface: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return dict(self.__dict__)


def trail(records: Records) -> list[Event]:
    """Every operation on data that the records of a store tell of, oldest first; raises IntegrityError for one that does not verify.

    Publishing, dropping, rolling back and overriding come from the logs of assets; recalls, erasures, retraining requests and other
    decisions from their own signed records; forgotten snapshots from the tombstones of a vault.
    """
    events = [event for asset in records.assets() for event in _asset_events(records, asset)]
    events += [_decision(records, key) for key in decision_keys(records.store)]
    events += _forgotten(records)
    events += [Event(*deed, interface="command line") for deed in other_deeds(records)]
    return sorted(events, key=lambda event: (event.time, event.subject, event.record))


def _asset_events(records: Records, asset: str) -> Iterator[Event]:
    for head in records.log(asset):
        receipt = records.receipt(head.receipt)
        key = head_key(asset, head.seq)
        signed = signer_of(records.store, key)
        if not head.changed and head.action == "publish":
            # it stands for the entry before it, so what it was meant to be is told by its own bytes
            try:
                meant = read_head(records.store, records.keyring, asset, head.seq)
            except NotCounted as exc:
                yield Event(head.time, "refused record", asset, signed, exc.message, "", key)
                continue
            what = f"transaction {meant.transaction[:12]} was not committed: nothing moved"
            yield Event(meant.time, f"aborted {meant.action}", asset, signed, what, meant.reason, key)
            continue
        who, interface = _actor(receipt, signed)
        yield Event(head.time, _action(head, receipt), asset, who, _published(head, receipt), head.reason, key, interface)
        for partition in head.changed:
            override = receipt.override(partition)
            if override is not None:
                what = f"waived {', '.join(override.checks)} of {partition}"
                yield Event(head.time, "override", asset, f"{override.by} ({signed})", what, override.reason, key, interface)


def _actor(receipt: Receipt, signed: str) -> tuple[str, str]:
    """Who ran it and from where, as its receipt says; the key alone in receipts of before that was noted."""
    actor = receipt.facts.get("actor")
    if not isinstance(actor, dict):
        return signed, ""
    claim = f", claims to be {actor['claimed']}" if actor.get("claimed") else ""
    return f"{actor['person']} ({actor['known_by']}{claim}; {signed})", str(actor["interface"])


def _action(head: Head, receipt: Receipt) -> str:
    if head.action == "publish" and not any(key in receipt.partitions for key in head.changed):
        return "drop"
    return {"publish": receipt.stage, "override": receipt.stage}.get(head.action, head.action)


def _published(head: Head, receipt: Receipt) -> str:
    made = [key for key in head.changed if key in receipt.partitions]
    gone = [key for key in head.changed if key not in receipt.partitions]
    parts = [f"{_span(made)} at {head.version[7:19]}" if made else "", f"dropped {_span(gone)}" if gone else ""]
    return "; ".join(part for part in parts if part)


def _span(keys: Iterable[str]) -> str:
    partitions = sorted(keys)
    return partitions[0] if len(partitions) == 1 else f"{partitions[0]}..{partitions[-1]} ({len(partitions):,})"


def _decision(records: Records, key: str) -> Event:
    body = read_decision(records.store, records.keyring, key)
    signed = signer_of(records.store, key)
    kind = key.split("/", 1)[0]
    who = f"{body['by']} ({signed})" if body.get("by") else signed
    if key.startswith(ERASURES.folder):
        subject, what = (
            "person " + body["person"][:12],
            f"{len(body['partitions'])} partitions, {len(body['models'])} models",
        )
    elif key.startswith(RETRAININGS.folder):
        subject, what = body["target"], "retraining of " + ", ".join(body["models"])
    elif key.startswith(RENAMES.folder):
        subject, what = body["old"], f"the {body['kind']} is called {body['new']} from then on"
    elif key.startswith(ACKNOWLEDGEMENTS.folder):
        subject, what = body["dataset"], f"snapshot {body['seq']} is well, though {'; '.join(body['findings'])}"
    elif key.startswith(VOID_HEADS.folder):
        subject, what = body["asset"], f"entry {body['seq']} is void: {body['refused']}"
    elif key.startswith(EXPORTS.folder):
        record = EXPORTS.decode(body)
        subject, what = ", ".join(record.pipelines), record.told
    elif "receipts" in body:
        subject, what = body["target"], f"{sum(map(len, body['receipts'].values())):,} derivations refused"
    else:
        subject, what = str(body.get("asset") or body.get("pipeline") or body.get("id", "")), kind
    # the end of a skip is one of its own
    action = (
        str(body.get("action") or _SINGULAR.get(kind, kind)) if key.startswith(SKIPS.folder) else _SINGULAR.get(kind, kind)
    )
    return Event(str(body.get("time", "")), action, subject, who, what, str(body.get("reason", "")), key)


_SINGULAR = {
    "recalls": "recall",
    "erasures": "erasure",
    "retrainings": "retraining request",
    "skips": "skip",
    "transactions": "move",
    "renames": "rename",
    "acknowledgements": "acknowledgement",
    "void_heads": "void entry",
    "exports": "masked export",
}


def _forgotten(records: Records) -> Iterator[Event]:
    """Snapshots that retention or a person removed, from the vault's tombstones, by the store's clock; nothing in a lake."""
    from orchestrai.vault.format.layout import FORGOTTEN
    from orchestrai.vault.format.records import TOMBSTONE_TYPE, document

    for info in records.store.list(FORGOTTEN):
        signed = signer_of(records.store, info.key)
        try:
            body = document(records.keyring, TOMBSTONE_TYPE, records.store.read(info.key))
        except NotCounted as exc:
            yield Event(info.modified.isoformat(), "refused record", info.key, signed, exc.message, "", info.key)
            continue
        what = f"snapshot {body['seq']}, commit {body['commit'][:12]}"
        yield Event(info.modified.isoformat(), "forget", body["dataset"], signed, what, body["reason"], info.key)
