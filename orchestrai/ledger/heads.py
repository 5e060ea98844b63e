"""Heads: the signed, chained log of what is current, one number after another.

`heads/<asset>/<seq:012d>.json` is created by put-if-absent; whoever creates the next number has committed.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Literal

from orchestrai.errors import IntegrityError, ObjectExists
from orchestrai.ledger.decisions.signed_record import open_body, sign_body
from orchestrai.ledger.manifest import sha256_hex
from orchestrai.ledger.signing import HEAD_TYPE, Keyring, Signer, rules_of
from orchestrai.storage.base import Store, exists

# how many names a cloud's listing answers with at once
PAGE = 1_000

Action = Literal["publish", "rollback", "override"]


@dataclass(frozen=True)
class Head:
    """One entry of an asset's log; `manifest`, `receipt` and `previous` are hex digests of stored objects.

    With a `transaction` it counts once that is committed (transactions.py). `key_log` is the end of the key log as the writer knew it.
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
    key_log: str = ""

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope (the digest field is derived, not stored)."""
        body = {**asdict(self), "changed": list(self.changed)}
        del body["digest"]
        for name in ("transaction", "key_log"):
            if not body[name]:
                del body[name]
        return sign_body(signer, HEAD_TYPE, body)


def head_prefix(asset: str) -> str:
    """The folder of an asset's log."""
    return f"heads/{asset}/"


def head_key(asset: str, seq: int) -> str:
    """Where an entry of an asset's log lies."""
    return f"{head_prefix(asset)}{seq:012d}.json"


def _number(key: str) -> int | None:
    name = key.rsplit("/", 1)[-1]
    return int(name[:12]) if len(name) == 17 and name[:12].isdigit() and name.endswith(".json") else None


def read_head(store: Store, keyring: Keyring, asset: str, seq: int) -> Head:
    """Read and verify one entry; raises ObjectNotFound, SignatureInvalid, NotCounted, IntegrityError."""
    envelope = store.read(head_key(asset, seq))
    body = open_body(keyring, HEAD_TYPE, envelope, "head")
    head = Head(**{**body, "changed": tuple(body["changed"]), "digest": sha256_hex(envelope)})
    rules = rules_of(keyring)
    if rules is not None:
        rules.require_known(head.key_log)
        rules.require_begun(envelope, f"heads/{head.asset}", head.seq)
    if (head.asset, head.seq) != (asset, seq):
        raise IntegrityError(
            f"expected head {seq} of {asset}, found head {head.seq} of {head.asset}: the record was moved or replayed",
            asset=asset,
        )
    return head


def head_numbers(store: Store, asset: str) -> list[int]:
    """The numbers present, ascending, as a listing of the whole log tells."""
    return sorted(_numbers(store, asset))


def _numbers(store: Store, asset: str, after: int = 0) -> Iterator[int]:
    prefix = head_prefix(asset)
    start = f"{prefix}{after:012d}.json" if after else None
    for info in store.list(prefix, start_after=start):
        number = _number(info.key) if "/" not in info.key[len(prefix) :] else None
        if number is not None and number > after:
            yield number


def has_head(store: Store, asset: str, seq: int) -> bool:
    """Whether an entry of that number is there; what it says is not looked at."""
    return exists(store, head_key(asset, seq))


def last_number(store: Store, asset: str, known: int = 0) -> int:
    """The number of the last entry, 0 for none; `known` is one that was there.

    Entries are numbered without a gap, so that of a long log some 2 log2(n) names are looked up and none is listed. Where a listing
    is answered a page at a time, as by object stores, the first page of a log is looked at first.
    """
    last = known
    if store.local_path(head_key(asset, 1)) is None:
        page = list(islice(_numbers(store, asset, known), PAGE))
        last = max(page, default=known)
        if len(page) < PAGE:
            return last
    return last_present(lambda number: has_head(store, asset, number), last)


def last_present(there: Callable[[int], bool], known: int = 0) -> int:
    """The last of numbers that have no gap, from a known one on, by doubling and halving: some 2 log2(n) of them are looked up."""
    last, step = known, 1
    while there(last + step):
        last += step
        step *= 2
    while step > 1:
        step //= 2
        if there(last + step):
            last += step
    return last


def append_head(store: Store, signer: Signer, head: Head) -> Head:
    """Create `head` as the next entry; raises ObjectExists when another session took the number."""
    envelope = head.sign(signer)
    key = head_key(head.asset, head.seq)
    try:
        store.write(key, envelope, create=True)
    except ObjectExists:
        # a retried write whose first answer was lost meets its own bytes: that is a success
        if store.read(key) != envelope:
            raise
    return Head(**{**asdict(head), "digest": sha256_hex(envelope)})
