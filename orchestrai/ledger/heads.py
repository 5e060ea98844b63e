"""Heads: the signed, chained log of what is current, one number after another.

`heads/<asset>/<seq:012d>.json` is created by put-if-absent; whoever creates the next number has committed.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from orchestrai.errors import IntegrityError, ObjectExists, UnknownFormatVersion
from orchestrai.ledger.manifest import FORMAT, canonical_json, sha256_hex
from orchestrai.ledger.signing import HEAD_TYPE, Keyring, Signer
from orchestrai.storage.base import Store

Action = Literal["publish", "rollback", "override"]


@dataclass(frozen=True)
class Head:
    """One entry of an asset's log; `manifest`, `receipt` and `previous` are hex digests of stored objects.

    With a `transaction` it counts once that is committed (transactions.py).
    """

    asset: str
    seq: int
    version: str
    manifest: str
    receipt: str
    session: str
    time: str
    changed: tuple[str, ...]
    previous: str = ""
    action: Action = "publish"
    reason: str = ""
    digest: str = ""
    transaction: str = ""

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope (the digest field is derived, not stored)."""
        body = {**asdict(self), "format": FORMAT, "changed": list(self.changed)}
        del body["digest"]
        if not self.transaction:
            del body["transaction"]
        return signer.sign(HEAD_TYPE, canonical_json(body))


def head_prefix(asset: str) -> str:
    """The folder of an asset's log."""
    return f"heads/{asset}/"


def _number(key: str) -> int | None:
    name = key.rsplit("/", 1)[-1]
    return int(name[:12]) if len(name) == 17 and name[:12].isdigit() and name.endswith(".json") else None


def read_head(store: Store, keyring: Keyring, asset: str, seq: int) -> Head:
    """Read and verify one entry; raises ObjectNotFound, SignatureInvalid, IntegrityError."""
    envelope = store.read(f"{head_prefix(asset)}{seq:012d}.json")
    body = json.loads(keyring.open(HEAD_TYPE, envelope))
    if body.pop("format", None) != FORMAT:
        raise UnknownFormatVersion(f"expected head format {FORMAT}, found another: use a newer release")
    head = Head(**{**body, "changed": tuple(body["changed"]), "digest": sha256_hex(envelope)})
    if (head.asset, head.seq) != (asset, seq):
        raise IntegrityError(
            f"expected head {seq} of {asset}, found head {head.seq} of {head.asset}: the record was moved or replayed",
            asset=asset,
        )
    return head


def head_numbers(store: Store, asset: str, after: int = 0) -> list[int]:
    """The numbers present, ascending, greater than `after`."""
    prefix = head_prefix(asset)
    start = f"{prefix}{after:012d}.json" if after else None
    numbers = (_number(info.key) for info in store.list(prefix, start_after=start) if "/" not in info.key[len(prefix) :])
    return sorted(number for number in numbers if number is not None and number > after)


def append_head(store: Store, signer: Signer, head: Head) -> Head:
    """Create `head` as the next entry; raises ObjectExists when another session took the number."""
    envelope = head.sign(signer)
    key = f"{head_prefix(head.asset)}{head.seq:012d}.json"
    try:
        store.write(key, envelope, create=True)
    except ObjectExists:
        # a retried write whose first answer was lost meets its own bytes: that is a success
        if store.read(key) != envelope:
            raise
    return Head(**{**asdict(head), "digest": sha256_hex(envelope)})
