"""The signed list of trusted keys: a chain of records in the key folder, begun by the home's own key.

`trust/<seq:012d>.json` holds the whole list after a change. The first record names and is signed by the home's own key alone; each later
one is signed by a key of the list before it, and names that record by its hash. A key that merely lies in `trusted/` counts for nothing.
"""

import base64
import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.decisions.signed_record import open_body, require_reason, sign_body
from orchestrai.ledger.signing import Keyring, Signer, key_id, load_keyring, load_signer

TRUST_TYPE = "application/vnd.orchestrai.trust+json"
FOLDER = "trust"
Change = Literal["begin", "trust", "distrust"]


@dataclass(frozen=True)
class TrustRecord:
    """The list after one change; `keys` are raw public keys in base64 by key id, `key` is the one that was changed."""

    seq: int
    change: Change
    key: str
    keys: Mapping[str, str]
    signed_by: str
    time: str
    by: str = ""
    reason: str = ""
    previous: str = ""
    digest: str = ""

    @property
    def keyring(self) -> Keyring:
        """The keys that count after this change."""
        raw = {name: Ed25519PublicKey.from_public_bytes(base64.b64decode(key)) for name, key in self.keys.items()}
        if any(key_id(key) != name for name, key in raw.items()):
            raise IntegrityError(
                f"expected each key of trust record {self.seq} under its own name, found another: treat it as forged"
            )
        return Keyring(raw)

    def as_json(self) -> dict[str, object]:
        """The form that is signed."""
        body = {**self.__dict__, "keys": dict(self.keys)}
        del body["digest"]
        return body


@dataclass(frozen=True)
class Trust:
    """Whose signatures count in a key folder: the chain of its list, and the keys that lie there and are not on it."""

    records: tuple[TrustRecord, ...]
    keyring: Keyring


def read_trust(folder: Path) -> Trust:
    """What the key folder says; raises IntegrityError for a chain with a gap or a change that no trusted key signed.

    A folder without a list and without a signing key belongs to someone who only checks: what its owner put there counts. One with a
    signing key and no list is of an earlier release: its own key counts, and no other before a person says so.
    """
    records = _records(folder)
    lying = load_keyring(path.read_bytes() for path in sorted((folder / "trusted").glob("*.pem")))
    if records:
        listed = records[-1].keyring.keys
    else:
        signer = load_signer(folder)
        listed = lying.keys if signer is None else signer.keyring().keys
    return Trust(records, Keyring(listed, frozenset(lying.keys.keys() - listed.keys())))


def trusted_keyring(folder: Path) -> Keyring:
    """The keys whose signatures count in a key folder."""
    return read_trust(folder).keyring


def begin_trust(folder: Path, signer: Signer, now: datetime) -> None:
    """Begin the list with the home's own key where there is none yet; in a folder that cannot be written the own key counts alone."""
    if _place(folder, 1).exists():
        return
    own = signer.key_id
    record = TrustRecord(1, "begin", own, {own: _encoded(signer.private_key.public_key())}, own, _moment(now))
    try:
        _write(folder, signer, record)
    except FileExistsError:
        return  # another process began it meanwhile
    except OSError as exc:
        if exc.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


def trust_key(folder: Path, signer: Signer, key: Ed25519PublicKey, now: datetime, *, by: str, reason: str) -> TrustRecord:
    """Sign a key onto the list; raises ConfigError where it is on it, IntegrityError where the signer's own key is not."""
    require_reason("a key that is to be trusted", reason, by)
    last = _last(folder, signer)
    name = key_id(key)
    if name in last.keys:
        raise ConfigError(
            f"expected a key that is not trusted yet, found {name} on the list since record {last.seq} or before"
        )
    keys = {**last.keys, name: _encoded(key)}
    return _next(folder, signer, last, TrustRecord(0, "trust", name, keys, signer.key_id, _moment(now), by, reason))


def distrust_key(folder: Path, signer: Signer, name: str, now: datetime, *, by: str, reason: str) -> TrustRecord:
    """Sign a key off the list; raises ConfigError for one that is not on it, and for the signer's own."""
    require_reason("a key that is to be trusted no more", reason, by)
    last = _last(folder, signer)
    if name not in last.keys:
        raise ConfigError(f"expected one of the trusted keys {', '.join(sorted(last.keys))}, found {name}")
    if name == signer.key_id:
        raise ConfigError(f"expected another key than this home's own, found {name}: put a signing key in its place first")
    keys = {known: key for known, key in last.keys.items() if known != name}
    return _next(folder, signer, last, TrustRecord(0, "distrust", name, keys, signer.key_id, _moment(now), by, reason))


def require_own_key(trust: Trust, signer: Signer) -> None:
    """Raise ConfigError where the home signs with a key that its own list does not name."""
    if signer.key_id not in trust.keyring.keys:
        raise ConfigError(
            f"expected this home's signing key {signer.key_id} on its list of trusted keys, found "
            f"{', '.join(sorted(trust.keyring.keys))}: put the former signing key back and run `orchestrai keys trust` on the new "
            "one, or move the folder trust/ away to begin a list anew"
        )


def _records(folder: Path) -> tuple[TrustRecord, ...]:
    records: list[TrustRecord] = []
    while (place := _place(folder, len(records) + 1)).exists():
        envelope = place.read_bytes()
        before = records[-1] if records else None
        keyring = before.keyring if before is not None else _self_signed(envelope)
        record = TrustRecord(**open_body(keyring, TRUST_TYPE, envelope, "trust record"), digest=sha256_hex(envelope))
        _require_next(record, before)
        records.append(record)
    return tuple(records)


def _self_signed(envelope: bytes) -> Keyring:
    """The key that a first record names, to check its own signature with."""
    try:
        payload = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        (key,) = payload["keys"].values()
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
        return Keyring({key_id(public): public})
    except (ValueError, KeyError, TypeError) as exc:
        raise IntegrityError(
            f"expected a list of trusted keys that begins with one key, found something else ({exc})"
        ) from exc


def _require_next(record: TrustRecord, before: TrustRecord | None) -> None:
    expected = (before.seq + 1, before.digest) if before is not None else (1, "")
    if (record.seq, record.previous) != expected or (before is None and record.change != "begin"):
        raise IntegrityError(
            f"expected trust record {expected[0]} to follow {expected[1][:12] or 'nothing'}, found record {record.seq} after "
            f"{record.previous[:12] or 'nothing'}: put back the folder trust/ from a backup of the key folder"
        )


def _last(folder: Path, signer: Signer) -> TrustRecord:
    trust = read_trust(folder)
    require_own_key(trust, signer)
    if not trust.records:
        raise ConfigError(
            f"expected a signed list of trusted keys in {folder}, found none that could be written: make it writable"
        )
    return trust.records[-1]


def _next(folder: Path, signer: Signer, last: TrustRecord, change: TrustRecord) -> TrustRecord:
    record = replace(change, seq=last.seq + 1, previous=last.digest)
    try:
        _write(folder, signer, record)
    except FileExistsError as exc:
        raise ConfigError(
            f"expected to write trust record {record.seq}, found that another was first: run it again"
        ) from exc
    return record


def _write(folder: Path, signer: Signer, record: TrustRecord) -> None:
    """Create the record's file, by link: of two that change the list at once one gets FileExistsError."""
    place = _place(folder, record.seq)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    staged.write_bytes(sign_body(signer, TRUST_TYPE, record.as_json()))
    try:
        os.link(staged, place)
    finally:
        staged.unlink()


def _place(folder: Path, seq: int) -> Path:
    return folder / FOLDER / f"{seq:012d}.json"


def _encoded(key: Ed25519PublicKey) -> str:
    return base64.b64encode(key.public_bytes_raw()).decode()


def _moment(now: datetime) -> str:
    return now.astimezone(UTC).isoformat()
