"""What a witness's records say, where they lie, and what is proven by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from orchestrai.core.canonical import JsonValue, sha256_hex
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.ledger.signing import Keyring, signatures_alone
from orchestrai.storage.base import Store
from orchestrai.vault.format.records import WITNESS_TYPE, document

# of the records of a witness
WITNESS_FORMAT = 1


class Place(NamedTuple):
    """The end of a chain: its last number, and that record's digest."""

    seq: int
    digest: str


@dataclass(frozen=True)
class Witnessed:
    """One record: the chains that had moved (all of them where it is `whole`), the end of the key log, the anchor's digest.

    `accepted` says why somebody took a loss for good: what it names counts from there on, whatever was witnessed before.
    """

    vault: str
    seq: int
    previous: str
    time: str
    whole: bool
    heads: Mapping[str, Place]
    key_log: str = ""
    anchor: str = ""
    by: str = ""
    accepted: str = ""
    digest: str = ""

    @property
    def moment(self) -> datetime:
        """When it was written, by the clock of whoever wrote it."""
        return datetime.fromisoformat(self.time).astimezone(UTC)

    def as_json(self) -> dict[str, JsonValue]:
        """The form that is signed."""
        body = {name: value for name, value in self.__dict__.items() if name not in ("digest", "heads")}
        return {**body, "format": WITNESS_FORMAT, "heads": {name: list(self.heads[name]) for name in sorted(self.heads)}}


@dataclass(frozen=True)
class Since:
    """From when on something was there: by the clock of whoever wrote, and by that of an authority, where one was asked."""

    witnessed: datetime
    stamped: datetime | None = None


@dataclass(frozen=True)
class WitnessReport:
    """What a witness proves of a vault: how many records by when, what the vault lost since, what of that was accepted."""

    records: int
    first: datetime | None
    last: datetime | None
    stamps: int
    stamped_until: datetime | None
    heads: Mapping[str, Place]
    losses: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    unstamped: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {
            "records": self.records,
            "first": self.first.isoformat() if self.first else None,
            "last": self.last.isoformat() if self.last else None,
            "stamps": self.stamps,
            "stamped_until": self.stamped_until.isoformat() if self.stamped_until else None,
            "chains": {name: place.seq for name, place in sorted(self.heads.items())},
            "losses": list(self.losses),
            "accepted": list(self.accepted),
            "unstamped": self.unstamped,
        }


def witness_key(vault: str, seq: int) -> str:
    """Where a record lies."""
    return f"{vault}/{seq:012d}.json"


def stamp_key(vault: str, seq: int) -> str:
    """Where the time-stamp of a record lies."""
    return f"{vault}/{seq:012d}.tsr"


def read_record(store: Store, keyring: Keyring, vault: str, seq: int) -> Witnessed:
    """A record by its number; raises IntegrityError, SignatureInvalid where it is not there, altered or another's."""
    try:
        envelope = store.read(witness_key(vault, seq))
    except ObjectNotFound:
        raise wrong_record(vault, seq, "none") from None
    # it is guarded by the place where it lies, and is of use longer than the key that signed it
    body = document(signatures_alone(keyring), WITNESS_TYPE, envelope, WITNESS_FORMAT)
    try:
        heads = {str(name): Place(int(number), str(digest)) for name, (number, digest) in body.pop("heads").items()}
        record = Witnessed(**body, heads=heads, digest=sha256_hex(envelope))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise wrong_record(vault, seq, f"something else ({exc})") from exc
    if (record.vault, record.seq) != (vault, seq):
        raise wrong_record(vault, seq, f"that of {record.vault[:8]} {record.seq}")
    return record


def wrong_record(vault: str, seq: int, found: str) -> IntegrityError:
    """What to raise for a record that is not as it was written."""
    return IntegrityError(
        f"expected record {seq} of the witness of vault {vault[:8]}, found {found}: put the witness back from a copy, or begin another by "
        "ORCHESTRAI_WITNESS"
    )
