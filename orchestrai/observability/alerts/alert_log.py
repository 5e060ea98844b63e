"""The signed log of alerts: `alerts/<number>.json` in the lake, each record with the whole outbox after it; copies in the vault.

A number is put where it is absent, so that of two writers one wins. Only the newest record is read, whatever the history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConcurrentCommit, NotCounted, ObjectExists, StorageError
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.heads import last_present
from orchestrai.ledger.log import Log
from orchestrai.observability.alerts.alert_changes import Alert, Change, Outbox, read_alert, read_message
from orchestrai.storage.base import Store, exists, put_absent

Changes = Sequence[tuple[Change, Alert]]
# copies that a vault lacks are made up for, so many a time
MOST_COPIES = 100


@dataclass(frozen=True)
class AlertRecord:
    """One entry: what changed, and the outbox after it; `previous` is the digest of the entry before."""

    seq: int
    previous: str
    time: str
    outbox: Outbox
    changes: tuple[tuple[Change, Alert], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The form that is signed."""
        return {
            "seq": self.seq,
            "previous": self.previous,
            "time": self.time,
            "alerts": [alert.as_json() for alert in self.outbox.alerts],
            "messages": [message.as_json() for message in self.outbox.messages],
            "changes": [{"change": change, "alert": alert.as_json()} for change, alert in self.changes],
        }


def _decode(body: dict[str, Any]) -> AlertRecord:
    outbox = Outbox(tuple(map(read_alert, body["alerts"])), tuple(map(read_message, body["messages"])))
    changes = tuple((one["change"], read_alert(one["alert"])) for one in body["changes"])
    return AlertRecord(body["seq"], body["previous"], body["time"], outbox, changes)


ALERTS = RecordKind[AlertRecord](
    what="record of alerts",
    payload_type="application/vnd.orchestrai.alert+json",
    folder="alerts/",
    name=lambda record: f"{record.seq:012d}",
    body=AlertRecord.as_json,
    decode=_decode,
)


class AlertLog:
    """The log of one ledger. Looking at it makes nothing."""

    def __init__(self, ledger: Log) -> None:
        self.ledger = ledger
        self._known = 0

    def newest(self) -> AlertRecord:
        """The newest record that counts, or one of nothing where there is none; raises SignatureInvalid, IntegrityError."""
        number = last = self._last()
        while number:
            try:
                record = ALERTS.read(self.ledger.lake, self.ledger.keyring, _key(number))
            except NotCounted:
                # it has its number, and stands for the one before it
                number -= 1
                continue
            return AlertRecord(last, record.previous, record.time, record.outbox, record.changes)
        return AlertRecord(last, "", "", Outbox())

    def append(self, after: AlertRecord, outbox: Outbox, changes: Changes, now: datetime) -> AlertRecord:
        """Put the next record; raises ConcurrentCommit where another writer was first, StorageError."""
        lake, number = self.ledger.lake, after.seq + 1
        previous = sha256_hex(lake.read(_key(after.seq))) if after.seq else ""
        record = AlertRecord(number, previous, now.isoformat(), outbox, tuple(changes))
        try:
            lake.write(_key(number), ALERTS.sign(self.ledger.signer, record), create=True)
        except ObjectExists as exc:
            raise ConcurrentCommit(
                f"expected to write record {number} of alerts, found it there: read it and try again"
            ) from exc
        return record

    def copy(self) -> None:
        """Bring the vault's copy up to date; one that does not answer gets it later."""
        vault, number = self.ledger.vault, self._last()
        if vault is None:
            return
        try:
            lacking = []
            while number and not _has(vault, number):
                lacking.append(number)
                number -= 1
            # the oldest first: a copy has no gap
            for one in lacking[::-1][:MOST_COPIES]:
                put_absent(vault, _key(one), self.ledger.lake.read(_key(one)))
        except StorageError:
            return  # what is told must not wait for the vault: it may be what is told of

    def _last(self) -> int:
        """The number of the newest record; numbers have no gap, so that few names are looked up and none is listed."""
        lake = self.ledger.lake
        known = self._known if _has(lake, self._known) else 0
        self._known = last_present(lambda number: _has(lake, number), known)
        return self._known


def _key(number: int) -> str:
    return ALERTS.key(f"{number:012d}")


def _has(store: Store, number: int) -> bool:
    return number > 0 and exists(store, _key(number))
