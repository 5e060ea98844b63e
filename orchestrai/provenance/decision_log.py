"""What people decided beside the logs of assets: recalls, erasures, retraining requests, skips, moves of several assets,
renames, acknowledgements of unusual snapshots and of void entries, masked copies.

Each is a signed record of its own.
"""

from typing import Any

from orchestrai.ledger.decisions.acknowledgements import ACKNOWLEDGEMENTS
from orchestrai.ledger.decisions.recalls import RECALLS
from orchestrai.ledger.decisions.renames import RENAMES
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.decisions.skips import SKIPS
from orchestrai.ledger.decisions.standing import TRANSACTIONS
from orchestrai.ledger.decisions.void_heads import VOID_HEADS
from orchestrai.ledger.signing import Keyring
from orchestrai.provenance.masking.export_record import EXPORTS
from orchestrai.storage.base import Store

ERASURES = RecordKind[dict[str, Any]](
    what="erasure",
    payload_type="application/vnd.orchestrai.erasure+json",
    folder="erasures/",
    name=lambda body: str(body["person"]),
    body=dict,
    decode=dict,
)
RETRAININGS = RecordKind[dict[str, Any]](
    what="retraining request",
    payload_type="application/vnd.orchestrai.retraining+json",
    folder="retrainings/",
    name=lambda body: str(body["recall"]),
    body=dict,
    decode=dict,
)
KINDS: dict[str, RecordKind[Any]] = {
    kind.folder: kind
    for kind in (RECALLS, ERASURES, RETRAININGS, SKIPS, TRANSACTIONS, RENAMES, ACKNOWLEDGEMENTS, VOID_HEADS, EXPORTS)
}


def read_decision(store: Store, keyring: Keyring, key: str) -> dict[str, Any]:
    """One of them by its key, verified; raises SignatureInvalid, UnknownFormatVersion, IntegrityError for one that was moved."""
    kind = KINDS[key[: key.index("/") + 1]]
    return dict(kind.body(kind.read(store, keyring, key)))


def decision_keys(store: Store) -> list[str]:
    """The keys of all of them."""
    return [key for kind in KINDS.values() for key in kind.keys(store)]
