"""Does a record prove right by itself: by its signature and its place, or by the hash in its name?"""

import json
from typing import Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted
from orchestrai.ledger.decisions.recalls import RECALLS
from orchestrai.ledger.decisions.renames import RENAMES
from orchestrai.ledger.decisions.signed_record import RecordKind, open_body
from orchestrai.ledger.decisions.skips import SKIPS
from orchestrai.ledger.decisions.standing import TRANSACTIONS
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.ledger.signing import HEAD_TYPE, Keyring
from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG
from orchestrai.vault.format.layout import DATA_KEYS, FORGOTTEN, HOLDS, IDENTITY, SNAPSHOTS, numbered
from orchestrai.vault.format.records import (
    IDENTITY_TYPE,
    TOMBSTONE_TYPE,
    Tombstone,
    document,
    open_record,
    require_place,
)
from orchestrai.vault.keys.data_keys import read_data_key
from orchestrai.vault.lifecycle.hold_records import HOLD_RECORDS

# what says of a vault which snapshots count and what opens them
VAULT_RECORDS = (IDENTITY, KEY_LOG, CENSUS, DATA_KEYS, FORGOTTEN, SNAPSHOTS, HOLDS)
# all that proves right by itself; what else lies under vault/ proves right by the hash that a snapshot names
PROVEN = (*VAULT_RECORDS, *RECORDS)
# named by their content
BLOBS = ("receipts/", "manifests/", "contracts/", CENSUS)
HEADS = "heads/"
_DECISIONS: dict[str, RecordKind[Any]] = {kind.folder: kind for kind in (RECALLS, RENAMES, SKIPS, TRANSACTIONS)}


def identity_of(keyring: Keyring, envelope: bytes) -> str:
    """The name of the vault that an identity record is of; raises as `record_problem` tells."""
    return str(document(keyring, IDENTITY_TYPE, envelope)["vault"])


def record_problem(key: str, data: bytes, vault: str, keyring: Keyring) -> str:
    """Why a record under this key does not prove right; empty where it does. Raises NotCounted for one whose key may not sign it."""
    try:
        require_record(key, data, vault, keyring)
    except NotCounted:
        raise
    except IntegrityError as exc:
        return exc.message
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        return f"expected a record, found something else ({exc})"
    return ""


def require_record(key: str, data: bytes, vault: str, keyring: Keyring) -> None:
    """Raise NotCounted, IntegrityError or what a broken record leads to, unless one under this key proves right."""
    if key == IDENTITY:
        _require_same("identity", identity_of(keyring, data), vault)
    elif key.startswith(SNAPSHOTS):
        require_place(open_record(keyring, data), vault, *_place(SNAPSHOTS, key))
    elif key.startswith(FORGOTTEN):
        require_place(Tombstone(**document(keyring, TOMBSTONE_TYPE, data)), vault, *_place(FORGOTTEN, key))
    elif key.startswith(HOLDS):
        hold = HOLD_RECORDS.decode(open_body(keyring, HOLD_RECORDS.payload_type, data, "hold"))
        _require_same("hold", f"{hold.vault} {hold.key}", f"{vault} {key}")
    elif key.startswith(DATA_KEYS):
        read_data_key(data, key, vault, keyring)
    elif key.startswith(BLOBS):
        _require_same("SHA-256", sha256_hex(data), key.rsplit("/", 1)[-1].removesuffix(".json"))
    elif key.startswith(HEADS):
        head = open_body(keyring, HEAD_TYPE, data, "head")
        _require_same("head", f"{HEADS}{head['asset']}/{head['seq']:012d}.json", key)
    else:
        _require_decision(key, data, keyring)


def _require_decision(key: str, data: bytes, keyring: Keyring) -> None:
    kind = _DECISIONS.get(f"{key.partition('/')[0]}/")
    if kind is None:
        # kinds that other layers know: signed, under the type that they say
        keyring.open(str(json.loads(data)["payloadType"]), data)
        return
    decision = kind.decode(open_body(keyring, kind.payload_type, data, kind.what))
    _require_same(kind.what, kind.key(kind.name(decision)), key)


def _require_same(what: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise IntegrityError(f"expected the {what} {expected[:80]}, found {actual[:80]}: it was moved or replayed")


def _place(prefix: str, key: str) -> tuple[str, int]:
    place = numbered(prefix, key)
    if place is None:
        raise IntegrityError("expected a record's number as its name, found another: remove it")
    return place
