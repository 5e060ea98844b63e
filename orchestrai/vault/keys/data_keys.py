"""The data keys of a sealed vault: wrapped by a key port, kept in the vault, signed, wrapped again when the port changes.

`vault/keys/000001.json` and so on, each created once. A record names the data key by a random id; of several records of one id any
that the port can open counts, so a data key is wrapped again by adding a record. A record without a signature is from before 2026-11-23 and
counts only for a key file, whose AES-GCM nobody else can make.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError, DigestMismatch, IntegrityError, MissingObject, ObjectExists
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import DATA_KEYS
from orchestrai.vault.format.records import DATA_KEY_TYPE, FORMAT, document
from orchestrai.vault.keys.encryption import Cipher
from orchestrai.vault.keys.key_port import KeyPort


@dataclass(frozen=True)
class WrappedKey:
    """One record: a data key as a port wrapped it."""

    place: str
    id: bytes
    port: str
    wrapped: bytes


def wrapped_keys(store: Store, vault: str, keyring: Keyring) -> list[WrappedKey]:
    """The records of a vault, oldest first; raises SignatureInvalid, DigestMismatch, IntegrityError."""
    return [read_data_key(store.read(info.key), info.key, vault, keyring) for info in store.list(DATA_KEYS)]


def open_cipher(store: Store, vault: str, port: KeyPort, keyring: Keyring) -> Cipher:
    """The cipher of a vault; raises MissingObject where no wrapped data key is there."""
    return cipher_of(wrapped_keys(store, vault, keyring), vault, port, store.url)


def cipher_of(records: Sequence[WrappedKey], vault: str, port: KeyPort, url: str) -> Cipher:
    """The cipher of a vault at a URL by its records, which were verified; raises MissingObject where there are none."""
    keys = _unwrapped(records, vault, port)
    if not keys:
        raise MissingObject(
            f"expected a wrapped data key under {DATA_KEYS} in {url}, found none: run "
            "`orchestrai vault heal --apply`; no new one opens what is sealed",
            key=DATA_KEYS,
        )
    return Cipher(next(reversed(keys)), keys)


def make_data_key(store: Store, vault: str, port: KeyPort, signer: Signer) -> None:
    """Make the first data key of a new vault; one that another process has just made stays."""
    try:
        _write(store, vault, port, signer, 1, (os.urandom(8), os.urandom(32)))
    except ObjectExists:
        pass  # read that one


def rewrap(store: Store, vault: str, cipher: Cipher, port: KeyPort, signer: Signer, keyring: Keyring) -> int:
    """Wrap every data key by `port` too, and read each back through it; returns how many were wrapped.

    Idempotent. Records wrapped by the port of before stay: where they must not open the vault any longer, disable that key.
    Contents are not written again. Raises IntegrityError when what was read back differs.
    """
    records = wrapped_keys(store, vault, keyring)
    last = max((int(record.place.rsplit("/", 1)[-1].removesuffix(".json")) for record in records), default=0)
    newest = {record.id: record.port for record in records}
    todo = [identity for identity in cipher.keys if newest.get(identity) != port.name]
    for number, identity in enumerate(todo, last + 1):
        _write(store, vault, port, signer, number, (identity, cipher.keys[identity]))
    if _unwrapped(wrapped_keys(store, vault, keyring), vault, port) != dict(cipher.keys):
        raise IntegrityError(f"expected the data keys back from {port.name}, found others: keep the key of before")
    return len(todo)


def _context(vault: str, identity: bytes, port: str) -> bytes:
    return canonical_json(["data-key", vault, identity.hex(), port])


def _write(store: Store, vault: str, port: KeyPort, signer: Signer, number: int, named: tuple[bytes, bytes]) -> None:
    identity, key = named
    body = {
        "format": FORMAT,
        "vault": vault,
        "id": identity.hex(),
        "port": port.name,
        "wrapped": port.wrap(key, _context(vault, identity, port.name)).hex(),
    }
    store.write(f"{DATA_KEYS}{number:06d}.json", signer.sign(DATA_KEY_TYPE, canonical_json(body)), create=True)


def _unwrapped(records: Sequence[WrappedKey], vault: str, port: KeyPort) -> dict[bytes, bytes]:
    """Each data key, opened from the newest record that names the port; in the order they were made."""
    by_id: dict[bytes, WrappedKey] = {}
    for record in records:
        if record.id not in by_id or record.port == port.name or by_id[record.id].port != port.name:
            by_id[record.id] = record
    keys: dict[bytes, bytes] = {}
    for record in by_id.values():
        if record.port.partition(":")[0] != port.name.partition(":")[0]:
            raise ConfigError(
                f"expected a data key wrapped by {port.name}, found one of {record.port}: open the vault with that"
            )
        keys[record.id] = port.unwrap(record.wrapped, _context(vault, record.id, record.port))
    return keys


def read_data_key(data: bytes, key: str, vault: str, keyring: Keyring) -> WrappedKey:
    """Verify and read one record; raises SignatureInvalid, DigestMismatch, IntegrityError."""
    try:
        loose = json.loads(data)
        signed = "payload" in loose
        body = document(keyring, DATA_KEY_TYPE, data) if signed else loose
        record = WrappedKey(key, bytes.fromhex(body["id"]), str(body["port"]), bytes.fromhex(body["wrapped"]))
        plain = canonical_json({"id": record.id.hex(), "port": record.port, "wrapped": record.wrapped.hex()})
    except (ValueError, KeyError, TypeError) as exc:
        raise DigestMismatch(
            f"expected a wrapped data key in {key}, found something else: run `orchestrai vault heal --apply`"
        ) from exc
    if signed and body["vault"] != vault:
        raise IntegrityError(
            f"expected a data key of vault {vault[:8]} in {key}, found one of {body['vault'][:8]}: run `orchestrai vault heal --apply`"
        )
    if not signed and (plain != data or not record.port.startswith("file:")):
        raise DigestMismatch(
            f"expected a wrapped data key in {key} as it was written, found it altered: run `orchestrai vault heal --apply`"
        )
    return record
