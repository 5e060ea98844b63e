"""The key log: which keys may sign records of a vault, each from where to where and for what, signed by the vault's root key.

`vault/keylog/<seq:012d>.json` is created by put-if-absent; each record names the hash of the one before and the vault's identity.
`vault/census/<sha256>` is a list of records, 32 bytes of SHA-256 each: what an ended key had signed when it ended.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError, IntegrityError, ObjectNotFound, SignatureInvalid, UnknownFormatVersion
from orchestrai.ledger.signing import Keyring, Signer, joined_envelope, key_id, opened_envelope, signed_by
from orchestrai.storage.base import Store

KEY_LOG_TYPE = "application/vnd.orchestrai.key-log+json"
KEY_LOG = "vault/keylog/"
CENSUS = "vault/census/"
KEY_LOG_FORMAT = 1
# of the record that names another root: a release that knows none must not pass over it
NEW_ROOT_FORMAT = 2
# write: commits, heads, receipts; prune: tombstones and fences; release: legal holds lifted; decide: recalls, erasures, skips, renames
ROLES = ("write", "prune", "release", "decide")
# what may need the signatures of several people
APPROVED = ("forget", "release", "erase")
MINIMUM_DIGITS = 32


@dataclass(frozen=True)
class LoggedKey:
    """One key: `since` and `ended` are numbers of the key log (0: not ended), `starts` and `ends` are positions by chain.

    A key with `starts` counts in those chains behind these numbers alone. `ending` is true while its census is taken.
    """

    public: Ed25519PublicKey
    roles: frozenset[str]
    since: int
    starts: Mapping[str, int] = field(default_factory=dict)
    ending: bool = False
    ended: int = 0
    ends: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    census: str = ""
    reason: str = ""


@dataclass(frozen=True)
class KeyLog:
    """What the records of a key log say together; `cosigners` are the keys in it that signed one of them beside the root.

    `root` signs from here on; `roots` are all that ever did, each signed in by the one before it.
    """

    vault: str
    identity: str
    root: Ed25519PublicKey
    seq: int
    digest: str
    keys: Mapping[str, LoggedKey]
    approvals: Mapping[str, int] = field(default_factory=dict)
    exempt: str = ""
    records: tuple[Mapping[str, Any], ...] = ()
    digests: tuple[str, ...] = ()
    cosigners: frozenset[str] = frozenset()
    roots: tuple[Ed25519PublicKey, ...] = ()

    @property
    def named(self) -> str:
        """The end of the log, as commits and heads name it."""
        return f"{self.seq}:{self.digest}"


def fingerprint(key: Ed25519PublicKey) -> str:
    """The whole SHA-256 of a public key, to be kept on paper."""
    return sha256_hex(key.public_bytes_raw())


def grouped(digits: str) -> str:
    """A fingerprint as people copy it."""
    return " ".join(digits[place : place + 4] for place in range(0, len(digits), 4))


def typed_fingerprint(text: str) -> str:
    """A fingerprint as somebody typed it; raises ConfigError for too few digits."""
    digits = "".join(text.split()).replace(":", "").replace("-", "").lower()
    if len(digits) < MINIMUM_DIGITS or len(digits) > 64 or not set(digits) <= set("0123456789abcdef"):
        raise ConfigError(f"expected a root's fingerprint of {MINIMUM_DIGITS} to 64 hex digits, found {text!r}")
    return digits


def record_key(seq: int) -> str:
    """Where a record of the log lies."""
    return f"{KEY_LOG}{seq:012d}.json"


def log_envelopes(store: Store) -> list[bytes]:
    """The records of a vault's key log as they lie there; raises IntegrityError for a gap."""
    names = [info.key for info in store.list(KEY_LOG)]
    for place, name in enumerate(names, 1):
        if name != record_key(place):
            raise IntegrityError(
                f"expected {record_key(place)} of the key log, found {name} next: run `orchestrai vault heal --apply`"
            )
    try:
        return [store.read(name) for name in names]
    except ObjectNotFound as exc:
        raise IntegrityError(
            f"expected the key log of {store.url} as it was listed, found a record gone: run it again"
        ) from exc


def read_log(envelopes: list[bytes]) -> KeyLog | None:
    """What a log says; None for none. Whether its root is the right one is for the caller.

    Raises SignatureInvalid, IntegrityError for a record that the root did not sign for its place.
    """
    log: KeyLog | None = None
    for envelope in envelopes:
        log = extended(log, envelope)
    return log


def extended(log: KeyLog | None, envelope: bytes) -> KeyLog:
    """The log with one more record, its first one for None; raises SignatureInvalid, IntegrityError as `read_log`."""
    kind, payload, signatures = opened_envelope(envelope)
    seq = log.seq + 1 if log else 1
    if kind != KEY_LOG_TYPE:
        raise SignatureInvalid(f"expected record {seq} of the key log, found {kind}: run `orchestrai vault heal --apply`")
    try:
        body: dict[str, Any] = json.loads(payload)
        wanted = NEW_ROOT_FORMAT if log and "root" in body else KEY_LOG_FORMAT
        if body.pop("format", None) != wanted:
            raise UnknownFormatVersion(f"expected key log format {wanted}, found another: use a newer release")
        root = log.root if log else _root_of(body)
        if not signed_by({key_id(root): root}, kind, payload, signatures):
            raise SignatureInvalid(
                f"expected record {seq} of the key log to be signed by its root {key_id(root)}, found it is not: treat it as forged"
            )
        expected = (log.vault, seq, log.digest) if log else (body["vault"], 1, "")
        if (body["vault"], body["seq"], body["previous"]) != expected:
            raise IntegrityError(
                f"expected record {seq} of the key log of vault {expected[0][:8]}, found one of another place: "
                "run `orchestrai vault heal --apply`"
            )
        before = log or KeyLog(body["vault"], body["identity"], root, 0, "", {}, roots=(root,))
        after = _applied(before, body)
        if log and "root" in body:
            after = _succeeded(after, body, signed_by({key_id(_root_of(body)): _root_of(body)}, kind, payload, signatures))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise IntegrityError(
            f"expected record {seq} of the key log, found something else ({exc}): run `orchestrai vault heal --apply`"
        ) from exc
    digest = sha256_hex(envelope)
    cosigners = before.cosigners | _cosigners(after, kind, payload, signatures)
    return replace(
        after,
        seq=seq,
        digest=digest,
        records=(*before.records, body),
        digests=(*before.digests, digest),
        cosigners=cosigners,
    )


def _root_of(body: Mapping[str, Any]) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(body["root"]))


def _succeeded(log: KeyLog, body: Mapping[str, Any], signers: list[str]) -> KeyLog:
    """The log under another root, which shows by its own signature that somebody has it."""
    new = _root_of(body)
    if key_id(new) not in signers:
        raise SignatureInvalid(
            f"expected record {log.seq + 1} of the key log to be signed by the new root {key_id(new)} too, found it is not"
        )
    if any(key_id(one) == key_id(new) for one in log.roots):
        raise IntegrityError(f"expected another root in record {log.seq + 1} of the key log, found {key_id(new)} again")
    return replace(log, root=new, roots=(*log.roots, new))


def _cosigners(log: KeyLog, kind: str, payload: bytes, signatures: list[tuple[str, bytes]]) -> frozenset[str]:
    return frozenset(signed_by({name: key.public for name, key in log.keys.items()}, kind, payload, signatures))


def _applied(log: KeyLog, body: Mapping[str, Any]) -> KeyLog:
    keys = dict(log.keys)
    seq = log.seq + 1
    for name, key in body.get("add", {}).items():
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key["public"]))
        if key_id(public) != name or name in keys or not set(key["roles"]) <= set(ROLES):
            raise IntegrityError(f"expected a new key under its own name in record {seq} of the key log, found {name}")
        keys[name] = LoggedKey(public, frozenset(key["roles"]), seq, {c: int(n) for c, n in key["starts"].items()})
    for name in body.get("ending", ()):
        keys[name] = replace(keys[name], ending=True)
    for name, end in body.get("end", {}).items():
        ends = {chain: (int(number), str(digest)) for chain, (number, digest) in end["chains"].items()}
        keys[name] = replace(
            keys[name], ending=False, ended=seq, ends=ends, census=str(end["census"]), reason=str(body["reason"])
        )
    if "approvals" in body:
        log = replace(log, approvals={n: int(body["approvals"][n]) for n in body["approvals"]}, exempt=str(body["exempt"]))
    return replace(log, keys=keys)


def logged(
    key: Ed25519PublicKey, roles: frozenset[str] = frozenset(ROLES), starts: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """A key as a record adds it."""
    return {
        "public": base64.b64encode(key.public_bytes_raw()).decode(),
        "roles": [role for role in ROLES if role in roles],
        "starts": dict(starts or {}),
    }


def sign_record(body: Mapping[str, Any], root: Signer, *others: Signer) -> bytes:
    """A record's envelope, signed by the root, and by others who vouch for it."""
    wanted = NEW_ROOT_FORMAT if "root" in body and body["seq"] > 1 else KEY_LOG_FORMAT
    payload = canonical_json({"format": wanted, **body})
    return joined_envelope(
        KEY_LOG_TYPE, payload, {one.key_id: one.signature(KEY_LOG_TYPE, payload) for one in (root, *others)}
    )


def first_record(vault: str, identity: str, root: Signer, signer: Signer, trusted: Keyring, time: str) -> bytes:
    """The record that begins a log: the root, and every key that the home trusts, for everything."""
    keys = {**trusted.keys, signer.key_id: signer.private_key.public_key()}
    body = {
        "vault": vault,
        "seq": 1,
        "previous": "",
        "change": "begin",
        "identity": identity,
        "root": base64.b64encode(root.private_key.public_key().public_bytes_raw()).decode(),
        "add": {name: logged(key) for name, key in keys.items()},
        "time": time,
        "by": "",
        "reason": "the vault's first keys",
    }
    return sign_record(body, root, signer)


def read_census(store: Store, digest: str) -> bytes:
    """A census as it is stored, nothing where it is not there."""
    try:
        return store.read(f"{CENSUS}{digest}") if digest else b""
    except ObjectNotFound:
        return b""


def census_of(data: bytes, digest: str) -> frozenset[bytes]:
    """The records in a census; raises IntegrityError where it is missing or altered."""
    if digest and sha256_hex(data) != digest:
        raise IntegrityError(
            f"expected {CENSUS}{digest} as the key log names it, found another: run `orchestrai vault heal --apply`"
        )
    return frozenset(data[place : place + 32] for place in range(0, len(data), 32))


def census_bytes(digests: Iterator[bytes] | set[bytes]) -> bytes:
    """A census as it is stored."""
    return b"".join(sorted(digests))
