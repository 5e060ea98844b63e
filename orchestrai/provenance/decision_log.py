"""What people decided beside the logs of assets: recalls, erasures, retraining requests, skips, moves of several assets.

Each is a signed record of its own.
"""

import json
from typing import Any

from orchestrai.errors import IntegrityError, UnknownFormatVersion
from orchestrai.ledger.decisions.recalls import PREFIX as RECALLS
from orchestrai.ledger.decisions.recalls import RECALL_TYPE, read_recall
from orchestrai.ledger.decisions.skips import PREFIX as SKIPS
from orchestrai.ledger.decisions.skips import SKIP_TYPE
from orchestrai.ledger.decisions.standing import PREFIX as TRANSACTIONS
from orchestrai.ledger.decisions.standing import TRANSACTION_TYPE
from orchestrai.ledger.manifest import FORMAT
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store

ERASURE_TYPE = "application/vnd.orchestrai.erasure+json"
ERASURES = "erasures/"
RETRAINING_TYPE = "application/vnd.orchestrai.retraining+json"
RETRAININGS = "retrainings/"
PREFIXES = {RECALLS: RECALL_TYPE, ERASURES: ERASURE_TYPE, RETRAININGS: RETRAINING_TYPE} | {
    SKIPS: SKIP_TYPE,
    TRANSACTIONS: TRANSACTION_TYPE,
}
# the field that gives each its name, so that one cannot be passed off as another
_NAMED_BY = {ERASURES: "person", RETRAININGS: "recall", SKIPS: "id", TRANSACTIONS: "id"}


def read_decision(store: Store, keyring: Keyring, key: str) -> dict[str, Any]:
    """One of them by its key, verified; raises SignatureInvalid, UnknownFormatVersion, IntegrityError for one that was moved."""
    prefix, _, name = key.rpartition("/")
    kind = f"{prefix}/"
    body: dict[str, Any] = json.loads(keyring.open(PREFIXES[kind], store.read(key)))
    if body.get("format") != FORMAT:
        raise UnknownFormatVersion(f"expected {kind} of format {FORMAT}, found {body.get('format')!r}: use a newer release")
    if kind == RECALLS:
        read_recall(store, keyring, key)
    elif f"{body[_NAMED_BY[kind]]}.json" != name:
        raise IntegrityError(f"expected {key} to hold what its name says, found {body[_NAMED_BY[kind]][:12]}: it was moved")
    return body


def decision_keys(store: Store) -> list[str]:
    """The keys of all of them."""
    return [info.key for prefix in PREFIXES for info in store.list(prefix)]
