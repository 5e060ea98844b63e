"""What all signed records share: payload type, format version, name and place, verification, and being put once.

A record is a JSON document in a DSSE envelope at `<folder><name>.json`. Its name follows from what it says, so that none can be passed
off as another; the first of a name counts, and every store holds that one.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError, IntegrityError, NotCounted, ObjectExists, ObjectNotFound, UnknownFormatVersion
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store, put_absent

FORMAT = 1
Record = TypeVar("Record")
Body = Mapping[str, Any]


def sign_body(signer: Signer, payload_type: str, body: Body) -> bytes:
    """The envelope of a document, which also says its format."""
    return signer.sign(payload_type, canonical_json({"format": FORMAT, **body}))


def open_body(keyring: Keyring, payload_type: str, envelope: bytes, what: str, newest: int = FORMAT) -> dict[str, Any]:
    """The document in an envelope, verified, without its format; raises SignatureInvalid, UnknownFormatVersion."""
    body: dict[str, Any] = json.loads(keyring.open(payload_type, envelope))
    version = body.pop("format", None)
    if version not in range(FORMAT, newest + 1):
        known = f"{FORMAT} to {newest}" if newest > FORMAT else f"{FORMAT}"
        raise UnknownFormatVersion(f"expected {what} format {known}, found {version!r}: use a newer release")
    return body


def require_reason(what: str, reason: str, by: str) -> None:
    """Raise ConfigError for a decision that does not say why and who."""
    if not (reason.strip() and by.strip()):
        raise ConfigError(f"expected a reason and a name for {what}, found none: say why and who")


@dataclass(frozen=True)
class RecordKind(Generic[Record]):
    """One kind of signed record; `body` is what is signed of one, `decode` reads it back, `name` follows from what it says."""

    what: str
    payload_type: str
    folder: str
    name: Callable[[Record], str]
    body: Callable[[Record], Body]
    decode: Callable[[dict[str, Any]], Record]

    def key(self, name: str) -> str:
        """Where the record of a name lies."""
        return f"{self.folder}{name}.json"

    def keys(self, store: Store) -> list[str]:
        """The keys of all of a store, ascending."""
        return [info.key for info in store.list(self.folder)]

    def sign(self, signer: Signer, record: Record) -> bytes:
        """The signed envelope."""
        return sign_body(signer, self.payload_type, self.body(record))

    def read(self, store: Store, keyring: Keyring, key: str) -> Record:
        """Read and verify one; raises ObjectNotFound, SignatureInvalid, IntegrityError for one that lies at another's place."""
        record = self.decode(open_body(keyring, self.payload_type, store.read(key), self.what))
        if self.key(self.name(record)) != key:
            raise IntegrityError(
                f"expected {key} to hold the {self.what} of that name, found {self.name(record)[:12]}: it was moved"
            )
        return record

    def find(self, store: Store, keyring: Keyring, name: str) -> Record | None:
        """The record of a name, verified; None while there is none."""
        try:
            return self.read(store, keyring, self.key(name))
        except ObjectNotFound:
            return None

    def all(self, store: Store, keyring: Keyring) -> Iterator[Record]:
        """Every record of a store that counts, each verified."""
        yield from self.those(store, keyring, self.keys(store))

    def those(self, store: Store, keyring: Keyring, keys: Iterable[str]) -> Iterator[Record]:
        """The records at some keys that count, each verified when it is asked for."""
        for key in keys:
            try:
                yield self.read(store, keyring, key)
            except NotCounted:
                continue

    def put(
        self,
        stores: Iterable[Store],
        signer: Signer,
        record: Record,
        signed: bytes | None = None,
        keyring: Keyring | None = None,
    ) -> bytes:
        """Put a record where none of its name is in any store yet; returns the envelope that counts, which all of them hold then.

        `signed` is its envelope where others signed it too. With a `keyring`, one of the name that is there must count under it: else
        SignatureInvalid or NotCounted is raised, and somebody has to remove it.
        """
        places, key = list(stores), self.key(self.name(record))
        envelope = next((held for store in places if (held := _held(store, key)) is not None), None)
        if envelope is not None and keyring is not None:
            open_body(keyring, self.payload_type, envelope, self.what)
        if envelope is None:
            envelope = signed or self.sign(signer, record)
            try:
                places[0].write(key, envelope, create=True)
            except ObjectExists:
                # another writer was first between the two looks
                envelope = places[0].read(key)
        for store in places:
            put_absent(store, key, envelope)
        return envelope


def _held(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except ObjectNotFound:
        return None
