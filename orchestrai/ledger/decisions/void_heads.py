"""Void heads: entries of a log that their key might not sign, which somebody has looked at.

`void_heads/<sha256 of the entry>.json` in lake and vault. The entry stays where it is, takes its number and counts for nothing;
`audit` tells of it ever after, with who looked and why, and fails no more for it.
"""

from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConfigError, NotCounted, ObjectNotFound
from orchestrai.ledger.decisions.signed_record import RecordKind, require_reason
from orchestrai.ledger.heads import head_key, read_head
from orchestrai.ledger.ledger import Ledger


@dataclass(frozen=True)
class VoidHead:
    """Says that entry `seq` of an asset's log, of this digest, is known to be void. Raises ConfigError without a reason or a name."""

    head: str
    asset: str
    seq: int
    refused: str
    reason: str
    by: str
    time: str

    def __post_init__(self) -> None:
        require_reason("an acknowledgement of a void entry", self.reason, self.by)

    def as_json(self) -> dict[str, object]:
        """For `--json`, and the form that is signed."""
        return dict(self.__dict__)


def _decode(body: dict[str, Any]) -> VoidHead:
    return VoidHead(**body)


VOID_HEADS = RecordKind[VoidHead](
    what="acknowledgement of a void entry",
    payload_type="application/vnd.orchestrai.void-head+json",
    folder="void_heads/",
    name=lambda record: record.head,
    body=VoidHead.as_json,
    decode=_decode,
)


def acknowledge_void(ledger: Ledger, asset: str, seq: int, *, by: str, reason: str) -> VoidHead:
    """Sign that an entry is known to be void, in lake and vault. Idempotent: the first word stands.

    Raises ConfigError for an entry that is not there, that counts, or without a reason.
    """
    key = head_key(asset, seq)
    stores = [ledger.lake, *([ledger.vault] if ledger.vault is not None else [])]
    for store in stores:
        try:
            envelope = store.read(key)
            read_head(store, ledger.keyring, asset, seq)
        except ObjectNotFound:
            continue
        except NotCounted as exc:
            time = ledger.clock().isoformat()
            record = VoidHead(sha256_hex(envelope), asset, seq, exc.message, reason, by, time)
            VOID_HEADS.put(stores, ledger.signer, record, keyring=ledger.keyring)
            return record
    raise ConfigError(f"expected an entry that does not count at {key}, found none: see `orchestrai audit`")
