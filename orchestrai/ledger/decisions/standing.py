"""What was decided on moves of several assets, and which entries of their logs count for it.

Each asset's log gets an entry that names the transaction; `transactions/<id>.json`, put-if-absent and signed, decides for all of
them. Until it says "commit" such an entry counts as a repetition of the one before it, and so for ever once it says "abort".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrai.errors import IntegrityError, ObjectNotFound, UnknownFormatVersion
from orchestrai.ledger.heads import Head, read_head
from orchestrai.ledger.manifest import FORMAT, canonical_json
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store

TRANSACTION_TYPE = "application/vnd.orchestrai.transaction+json"
PREFIX = "transactions/"


@dataclass(frozen=True)
class Decision:
    """What became of a transaction; `heads` are the digests of the entries that count, by asset."""

    id: str
    outcome: Literal["commit", "abort"]
    heads: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    time: str = ""

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope."""
        return signer.sign(
            TRANSACTION_TYPE,
            canonical_json({**self.__dict__, "heads": dict(self.heads), "format": FORMAT}),
        )


def decision_key(name: str) -> str:
    """Where the decision on a transaction lies."""
    return f"{PREFIX}{name}.json"


def read_decision(store: Store, keyring: Keyring, name: str) -> Decision | None:
    """The decision on a transaction, verified; None while there is none. Raises SignatureInvalid, IntegrityError."""
    try:
        envelope = store.read(decision_key(name))
    except ObjectNotFound:
        return None
    body = json.loads(keyring.open(TRANSACTION_TYPE, envelope))
    if body.pop("format", None) != FORMAT:
        raise UnknownFormatVersion(f"expected transaction format {FORMAT}, found another: use a newer release")
    found = Decision(**body)
    if found.id != name:
        raise IntegrityError(f"expected the decision on transaction {name}, found that on {found.id}: it was moved")
    return found


def counted(store: Store, keyring: Keyring, head: Head) -> Head:
    """What an entry stands for: itself, or a repetition of its predecessor when its transaction is not committed."""
    if not head.transaction:
        return head
    decision = read_decision(store, keyring, head.transaction)
    if decision is not None and decision.outcome == "commit":
        if decision.heads.get(head.asset) != head.digest:
            raise IntegrityError(
                f"expected transaction {head.transaction} to name head {head.seq} of {head.asset}, found another: treat it as forged",
                asset=head.asset,
            )
        return head
    before = counted(store, keyring, read_head(store, keyring, head.asset, head.seq - 1))
    return replace(before, seq=head.seq, digest=head.digest, previous=head.previous, changed=(), action="publish")


def undecided(store: Store, keyring: Keyring, asset: str, seq: int) -> str | None:
    """The transaction of an entry on which nothing was decided yet."""
    name = read_head(store, keyring, asset, seq).transaction
    return name if name and read_decision(store, keyring, name) is None else None
