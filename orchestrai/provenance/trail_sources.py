"""What a trail tells besides the logs of assets and people's decisions: alerts taken on, legal holds, keys that came and went."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted
from orchestrai.observability.alerts.alert_log import ALERTS
from orchestrai.provenance.verified_records import Records
from orchestrai.storage.base import Store


class Deed(NamedTuple):
    """One operation, as an event of the trail begins."""

    time: str
    action: str
    subject: str
    who: str
    what: str
    why: str
    record: str


def signer_of(store: Store, key: str) -> str:
    """The ids of the keys that signed a record; its signature was checked when it was read."""
    envelope = json.loads(store.read(key))
    return "key " + ", ".join(str(signature["keyid"]) for signature in envelope["signatures"])


def other_deeds(records: Records) -> Iterator[Deed]:
    """All of them; raises SignatureInvalid, IntegrityError for a record that does not verify."""
    yield from _alerts(records)
    yield from _holds(records)
    yield from _keys(records)


def _alerts(records: Records) -> Iterator[Deed]:
    before = ""
    for key in ALERTS.keys(records.store):
        previous, before = before, sha256_hex(records.store.read(key))
        try:
            record = ALERTS.read(records.store, records.keyring, key)
        except NotCounted:
            continue  # it was signed by a key that may not, and moved nothing
        if record.previous != previous:
            raise IntegrityError(
                f"expected {key} to follow {previous[:12] or 'nothing'}, found {record.previous[:12]}: one is missing"
            )
        for change, alert in record.changes:
            if change == "acknowledged":
                who = f"{alert.by} ({signer_of(records.store, key)})"
                yield Deed(
                    record.time, "alert taken on", alert.condition.subject, who, alert.condition.title, alert.reason, key
                )


def _holds(records: Records) -> Iterator[Deed]:
    from orchestrai.vault.lifecycle.hold_records import HOLD_RECORDS

    for key in HOLD_RECORDS.keys(records.store):
        try:
            hold = HOLD_RECORDS.read(records.store, records.keyring, key)
        except NotCounted:
            continue
        what = f"snapshot {hold.seq}" if hold.seq else "all its snapshots"
        action = "legal hold" if hold.on else "release of a hold"
        yield Deed(hold.placed, action, hold.dataset, signer_of(records.store, key), what, hold.reason, key)


def _keys(records: Records) -> Iterator[Deed]:
    from orchestrai.ledger.trust.key_log import log_envelopes, read_log, record_key

    log = read_log(log_envelopes(records.store))
    for number, body in enumerate(log.records if log else (), 1):
        parts = [f"{name} may {', '.join(key['roles'])}" for name, key in body.get("add", {}).items()]
        parts += [f"{name} is ended" for name in body.get("end", {})]
        parts += [f"{what} needs {count} keys" for what, count in body.get("approvals", {}).items()]
        key = record_key(number)
        who = f"{body['by']} ({signer_of(records.store, key)})" if body.get("by") else signer_of(records.store, key)
        if parts:
            action = "key ended" if body.get("end") else "key added" if body.get("add") else "approvals"
            yield Deed(str(body.get("time", "")), action, "keys", who, "; ".join(parts), str(body.get("reason", "")), key)
