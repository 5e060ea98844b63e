"""What was decided on moves of several assets, and which entries of their logs count for it.

Each asset's log gets an entry that names the transaction; `transactions/<id>.json`, put-if-absent and signed, decides for all of
them. Until it says "commit" such an entry counts as a repetition of the one before it, and so for ever once it says "abort".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.heads import Head, head_key, read_head
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store


@dataclass(frozen=True)
class Decision:
    """What became of a transaction; `heads` are the digests of the entries that count, by asset."""

    id: str
    outcome: Literal["commit", "abort"]
    heads: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    time: str = ""

    def as_json(self) -> dict[str, object]:
        """The form that is signed."""
        return {**self.__dict__, "heads": dict(self.heads)}


TRANSACTIONS = RecordKind[Decision](
    what="decision on a transaction",
    payload_type="application/vnd.orchestrai.transaction+json",
    folder="transactions/",
    name=lambda decision: decision.id,
    body=Decision.as_json,
    decode=lambda body: Decision(**body),
)


def counted(store: Store, keyring: Keyring, head: Head) -> Head:
    """What an entry stands for: itself, or a repetition of its predecessor when its transaction is not committed."""
    if not head.transaction:
        return head
    decision = TRANSACTIONS.find(store, keyring, head.transaction)
    if decision is not None and decision.outcome == "commit":
        if decision.heads.get(head.asset) != head.digest:
            raise IntegrityError(
                f"expected transaction {head.transaction} to name head {head.seq} of {head.asset}, found another: treat it as forged",
                asset=head.asset,
            )
        return head
    before = standing_head(store, keyring, head.asset, head.seq - 1)
    return replace(before, seq=head.seq, digest=head.digest, previous=head.previous, changed=(), action="publish")


def standing_head(store: Store, keyring: Keyring, asset: str, seq: int) -> Head:
    """An entry as it counts; one that its key might not sign is a repetition of its predecessor too.

    Raises NotCounted where there is none before it.
    """
    try:
        return counted(store, keyring, read_head(store, keyring, asset, seq))
    except NotCounted:
        if seq <= 1:
            raise
    before = standing_head(store, keyring, asset, seq - 1)
    digest = sha256_hex(store.read(head_key(asset, seq)))
    return replace(before, seq=seq, digest=digest, previous=before.digest, changed=(), action="publish", transaction="")


def undecided(store: Store, keyring: Keyring, asset: str, seq: int) -> str | None:
    """The transaction of an entry on which nothing was decided yet."""
    try:
        name = read_head(store, keyring, asset, seq).transaction
    except NotCounted:
        return None
    return name if name and TRANSACTIONS.find(store, keyring, name) is None else None
