"""What the ledger knows of landed objects: those its receipts name, those it refused, those it has dead letters of.

Objects are known by identities of 64 bits over URI and version or etag: what a receipt names is read and verified once a process.
"""

from array import array
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from orchestrai.contracts.anomaly.ordinary import ORDINARY
from orchestrai.contracts.checks import PASSES_AT
from orchestrai.errors import NotReceipted
from orchestrai.ingest.dead_letters import OBJECTS, UNPLACED, asset_of
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.skips import Skips
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import PartitionEntry, decode_partition
from orchestrai.ledger.quarantine import Refusal, read_record
from orchestrai.ledger.receipt import Material, open_receipt

_QUOTE = '"'
# by asset and digest of a receipt or manifest, which say the same for ever: the identities named, by partition
_NAMED: dict[tuple[str, str], Mapping[str, "array[int]"]] = {}
# by place and etag of a record of quarantine, likewise
_REFUSED: dict[tuple[str, str, str], Mapping[str, "Refused"]] = {}


def identify(uri: str, mark: str) -> int:
    """The identity of one arrival: where it lay and which version or etag it had, however quoted."""
    digest = blake2b(f"{uri}\n{mark.strip(_QUOTE)}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def pack(identities: Iterable[int]) -> str:
    """Identities as short text; the same set gives the same text."""
    return urlsafe_b64encode(b"".join(i.to_bytes(8, "big", signed=True) for i in sorted(identities))).decode()


def unpack(text: str) -> set[int]:
    """The identities of such a text."""
    raw = urlsafe_b64decode(text)
    return {int.from_bytes(raw[at : at + 8], "big", signed=True) for at in range(0, len(raw), 8)}


@dataclass(frozen=True)
class Refused:
    """What a gate refused of one partition: the arrivals that went in, the checks that closed it, the root of the content.

    `since` is when that very content was refused for the first time, `passes_at` when it is judged otherwise by the clock alone: events
    that were to come then. Empty where a person or other objects are waited for.
    """

    time: str
    arrivals: frozenset[int] = frozenset()
    checks: tuple[str, ...] = ()
    root: str = ""
    since: str = ""
    passes_at: str = ""

    @property
    def held(self) -> bool:
        """Whether it only waits for a yes, or for more data."""
        return self.checks == (ORDINARY,)

    def merged(self, other: "Refused") -> "Refused":
        """The newer one of two refusals of one partition, refused since the older where that had the same content."""
        newer, older = (self, other) if self.time >= other.time else (other, self)
        return replace(newer, since=min(newer.since, older.since)) if newer.root == older.root else newer


@dataclass
class Records:
    """The records of one dataset of objects as they are now; without a ledger there are none."""

    ledger: Ledger | None
    asset: str
    raw: Dataset | None = field(init=False, default=None)
    dead: Dataset | None = field(init=False, default=None)
    _refused: Mapping[str, Refused] | None = field(init=False, default=None)
    _skips: Skips | None = field(init=False, default=None)
    _sets: dict[tuple[str, str], frozenset[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.ledger is not None:
            self.raw, self.dead = self.ledger.find(self.asset), self.ledger.find(asset_of(self.asset))

    def published(self, partition: str) -> frozenset[int]:
        """The arrivals that a published partition was made from."""
        entry = self.raw.partitions.get(partition) if self.raw else None
        return self._once("raw", partition, entry, self._named)

    def all_published(self) -> set[int]:
        """Every arrival that is in the raw events; costs a read of each receipt that this process has not seen yet."""
        partitions = self.raw.partitions if self.raw else {}
        return {identity for key, entry in partitions.items() for identity in self._named(key, entry)}

    def dead_in(self, partition: str) -> frozenset[int]:
        """The arrivals that are dead letters as a whole, kept with a partition; UNPLACED for those that have none."""
        entry = self.dead.partitions.get(partition) if self.dead else None
        return self._once("dead", partition, entry, self._letters)

    def all_dead(self) -> set[int]:
        """Every arrival that is a dead letter as a whole, but for those without a partition."""
        partitions = self.dead.partitions if self.dead else {}
        return {i for key, entry in partitions.items() if key != UNPLACED for i in self._letters(key, entry)}

    def refused(self, partition: str) -> Refused | None:
        """The newest refusal of a partition; None where there is none or its published content was judged again and stands."""
        if self._refused is None:
            self._refused = self._newest_refusals()
        return self._refused.get(partition)

    def left_out(self, partition: str, refused: Refused) -> str | None:
        """Who left a refused partition out and why, where a person did."""
        if self._skips is None:
            self._skips = self.ledger.skips() if self.ledger is not None else Skips()
        skip = self._skips.find(self.asset, partition, refused.root)
        return skip.note if skip is not None else None

    def _once(
        self,
        kind: str,
        partition: str,
        entry: PartitionEntry | None,
        read: Callable[[str, PartitionEntry], Iterable[int]],
    ) -> frozenset[int]:
        if (kind, partition) not in self._sets:
            self._sets[kind, partition] = frozenset(read(partition, entry) if entry is not None else ())
        return self._sets[kind, partition]

    def _named(self, partition: str, entry: PartitionEntry) -> Iterable[int]:
        named = _NAMED.get((self.asset, entry.receipt))
        if named is None:
            assert self.ledger is not None
            # not kept as a receipt: a million materials would fill the memory of a process that lives for weeks
            receipt = open_receipt(self.ledger.blob("receipts", entry.receipt), self.ledger.keyring)
            if receipt.asset != self.asset:
                raise NotReceipted(f"expected a receipt of {self.asset}, found one of {receipt.asset}: treat it as forged")
            named = _NAMED[self.asset, entry.receipt] = _by_partition(receipt.materials)
        return named.get(partition, ())

    def _letters(self, partition: str, entry: PartitionEntry) -> Iterable[int]:
        named = _NAMED.get((self.asset, entry.manifest))
        if named is None:
            assert self.ledger is not None
            manifest = decode_partition(self.ledger.blob("manifests", entry.manifest))
            objects = manifest.stats.get(OBJECTS, ())
            named = _NAMED[self.asset, entry.manifest] = {
                partition: array("q", (identify(uri, mark) for uri, mark in objects))
            }
        return named.get(partition, ())

    def _newest_refusals(self) -> Mapping[str, Refused]:
        newest: dict[str, Refused] = {}
        if self.ledger is None:
            return newest
        lake = self.ledger.lake
        for info in lake.list(f"quarantine/{self.asset}/"):
            place = (lake.url, info.key, info.etag)
            if place not in _REFUSED:
                _REFUSED[place] = {key: _refused(refusal) for key, refusal in read_record(lake, info.key).items()}
            for key, refused in _REFUSED[place].items():
                newest[key] = refused.merged(newest[key]) if key in newest else refused
        return {key: refused for key, refused in newest.items() if refused.checks}

    def forget_old(self) -> None:
        """Drop what this process remembers of receipts and manifests that are current no more."""
        current = {entry.receipt for entry in self.raw.partitions.values()} if self.raw else set()
        current |= {entry.manifest for entry in self.dead.partitions.values()} if self.dead else set()
        for place in [place for place in _NAMED if place[0] == self.asset and place[1] not in current]:
            del _NAMED[place]


def _refused(refusal: Refusal) -> Refused:
    arrivals = frozenset(identify(uri, etag) for uri, etag in refusal.arrivals)
    moments = [str(verdict.details.get(PASSES_AT, "")) for verdict in refusal.verdicts if verdict.closes_gate]
    passes_at = max(moments) if moments and all(moments) else ""
    return Refused(refusal.time, arrivals, refusal.closed, refusal.root, refusal.time, passes_at)


def _by_partition(materials: Iterable[Material]) -> Mapping[str, "array[int]"]:
    named: dict[str, array[int]] = {}
    for material in materials:
        named.setdefault(material.partition, array("q")).append(identify(material.uri, material.etag))
    return named
