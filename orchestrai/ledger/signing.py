"""Ed25519 signatures in DSSE envelopes, and the keys behind them.

Source: DSSE protocol v1 (pre-authentication encoding), RFC 8032. A key id is the first 16 hex digits of SHA-256 over the
raw public key. Private keys are PKCS#8 PEM files of mode 0600, made on first use.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError, SignatureInvalid

STATEMENT_TYPE = "application/vnd.in-toto+json"
HEAD_TYPE = "application/vnd.orchestrai.head+json"
# what stands before the 32 bytes of an Ed25519 key in the DER of RFC 8410, section 10
_PRIVATE = bytes.fromhex("302e020100300506032b657004220420")
_PUBLIC = bytes.fromhex("302a300506032b6570032100")
# an envelope with one signature in the one spelling that we write
_WRITTEN = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/]*={0,2})","payloadType":"([ !#-\[\]-~]*)","signatures":'
    rb'\[\{"keyid":"([ !#-\[\]-~]*)","sig":"([A-Za-z0-9+/]*={0,2})"\}\]\}'
)
# a record of a vault comes from another copy of it; one of a lake from the vault, by a rebuild, which puts nothing over what is there
_REMEDY = "mend a vault by `orchestrai vault heal --apply`; in a lake remove it and run `orchestrai rebuild`"
_PEM = re.compile(rb"-----BEGIN (PRIVATE|PUBLIC) KEY-----\n([A-Za-z0-9+/]+=?)\n-----END \1 KEY-----\n")


def signed_text(payload_type: str, payload: bytes) -> bytes:
    """What is signed of a payload: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _envelope(payload_type: str, payload: bytes, signatures: Iterable[tuple[str, bytes]]) -> bytes:
    return canonical_json(
        {
            "payloadType": payload_type,
            "payload": base64.standard_b64encode(payload).decode(),
            "signatures": [{"keyid": name, "sig": base64.standard_b64encode(value).decode()} for name, value in signatures],
        }
    )


def _opened(envelope: bytes) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """Type, payload and signatures (by key id) of an envelope in its one spelling; raises SignatureInvalid for any other."""
    plain = _WRITTEN.fullmatch(envelope)
    if plain is not None:
        try:
            payload, signature = (base64.b64decode(plain[place], validate=True) for place in (1, 4))
        except binascii.Error as exc:
            raise _no_envelope(exc) from exc
        if base64.b64encode(payload) != plain[1] or base64.b64encode(signature) != plain[4]:
            raise _altered()
        return plain[2].decode(), payload, [(plain[3].decode(), signature)]
    try:
        document: dict[str, Any] = json.loads(envelope)
        payload = base64.b64decode(document["payload"], validate=True)
        found_type = document["payloadType"]
        signatures = [(s["keyid"], base64.b64decode(s["sig"], validate=True)) for s in document["signatures"]]
        rewritten = _envelope(found_type, payload, signatures)
    except (ValueError, KeyError, TypeError, binascii.Error) as exc:
        raise _no_envelope(exc) from exc
    if rewritten != envelope:
        raise _altered()
    return found_type, payload, signatures


def _no_envelope(exc: Exception) -> SignatureInvalid:
    return SignatureInvalid(f"expected a DSSE envelope, found something else ({exc}): {_REMEDY}")


def _altered() -> SignatureInvalid:
    # spelling, order and unused base64 bits are not signed: only the one form counts
    return SignatureInvalid(f"expected an envelope as it was written, found it altered around its payload: {_REMEDY}")


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def key_id(key: Ed25519PublicKey) -> str:
    """The short name of a public key."""
    return sha256_hex(_raw(key))[:16]


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as the file that others read."""
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Signer(NamedTuple):
    """Signs with one private key."""

    private_key: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        """The short name of this signer's public key."""
        return key_id(self.private_key.public_key())

    @property
    def public_pem(self) -> bytes:
        """The public key, to hand to a stranger who verifies."""
        return public_pem(self.private_key.public_key())

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Wrap `payload` in a signed DSSE envelope (canonical JSON)."""
        return _envelope(payload_type, payload, [(self.key_id, self.private_key.sign(signed_text(payload_type, payload)))])

    def signature(self, payload_type: str, payload: bytes) -> bytes:
        """The bare signature over a payload of a type."""
        return self.private_key.sign(signed_text(payload_type, payload))

    def keyring(self) -> "Keyring":
        """A keyring that trusts this signer alone."""
        public = self.private_key.public_key()
        return Keyring({key_id(public): public})


class KeyRules(Protocol):
    """What a key log says: which keys there are, and what each may sign (see trust/key_rules.py)."""

    def keys(self, otherwise: Mapping[str, Ed25519PublicKey]) -> Mapping[str, Ed25519PublicKey]:
        """Every key of the log, the ended ones too; `otherwise` where there is no log."""

    def admit(self, payload_type: str, envelope: bytes, payload: bytes, signers: list[str]) -> None:
        """Raise NotCounted for a record that these keys may not sign."""

    def require_known(self, named: str) -> None:
        """Raise IntegrityError where the log is not the one that a record names."""

    def require_begun(self, envelope: bytes, chain: str, seq: int) -> None:
        """Raise NotCounted for a record of a chain that lies before its key was there."""

    def require_may(self, signer: str, *roles: str, anew: bool = True) -> None:
        """Raise KeyRefused where a key may not sign for any of these roles."""

    def needed(self, what: str) -> int:
        """How many keys must sign to forget, release or erase."""

    def has_role(self, name: str, role: str) -> bool:
        """Whether a key is valid now and has a role."""

    def may_release(self, envelope: bytes) -> bool:
        """Whether a hold note lifts by itself what it leaves out."""

    def begin(self, root: "Signer | None", signer: "Signer", time: str) -> object:
        """Make the log where there is none."""

    def named(self) -> str:
        """The end of the log as records name it; empty where there is none."""


@dataclass(frozen=True)
class Keyring:
    """The public keys whose signatures count; `refused` are the names of keys that lie beside them and that nobody signed for.

    Where there is a key log its `rules` say which keys count, and for what.
    """

    keys: Mapping[str, Ed25519PublicKey]
    refused: frozenset[str] = frozenset()
    rules: KeyRules | None = None

    def open(self, payload_type: str, envelope: bytes) -> bytes:
        """Return the payload of a DSSE envelope signed by a key that counts; raises SignatureInvalid, NotCounted."""
        found_type, payload, signatures = _opened(envelope)
        if found_type != payload_type:
            raise SignatureInvalid(f"expected an envelope of type {payload_type}, found {found_type!r}")
        keys = self.keys if self.rules is None else self.rules.keys(self.keys)
        signers = signed_by(keys, payload_type, payload, signatures)
        if signers:
            if self.rules is not None:
                self.rules.admit(payload_type, envelope, payload, signers)
            return payload
        known = ", ".join(sorted(keys)) or "none"
        names = ", ".join(name for name, _ in signatures) or "none"
        if any(name in self.refused for name, _ in signatures):
            raise SignatureInvalid(
                f"expected a signature by a trusted key ({known}), found {names}, which lies in the folder of trusted keys and is not on "
                "their signed list: `orchestrai keys trust` it if it is yours, or treat the record as forged"
            )
        how = (
            "have the vault's root add it by `orchestrai keys add --history`"
            if keys is not self.keys
            else "add it to the keyring"
        )
        raise SignatureInvalid(
            f"expected a signature by a trusted key ({known}), found {names}: {how} if it is yours, or treat the record as forged"
        )


def rules_of(keyring: Keyring) -> KeyRules | None:
    """The key log's rules that a keyring stands under; None without a key log, and for what only stands in for a keyring."""
    return getattr(keyring, "rules", None)


def without_rules(keyring: Keyring) -> Keyring:
    """A keyring that asks for a right signature alone; itself for what only stands in for one."""
    return replace(keyring, rules=None) if isinstance(keyring, Keyring) and keyring.rules is not None else keyring


def signatures_alone(keyring: Keyring) -> Keyring:
    """A keyring to which a right signature by any key counts, those of the key log and the ended ones among them too."""
    if not isinstance(keyring, Keyring) or keyring.rules is None:
        return keyring
    return Keyring({**keyring.keys, **keyring.rules.keys(keyring.keys)})


def signed_by(
    keys: Mapping[str, Ed25519PublicKey], payload_type: str, payload: bytes, signatures: Iterable[tuple[str, bytes]]
) -> list[str]:
    """The names of the keys whose signature over a payload is right, each once."""
    signers: list[str] = []
    for name, signature in signatures:
        key = keys.get(name)
        if key is None or name in signers:
            continue
        try:
            key.verify(signature, signed_text(payload_type, payload))
        except InvalidSignature:
            continue
        signers.append(name)
    return signers


def opened_envelope(envelope: bytes) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """Type, payload and signatures (by key id) of an envelope, none of them checked; raises SignatureInvalid for another spelling."""
    return _opened(envelope)


def joined_envelope(payload_type: str, payload: bytes, signatures: Mapping[str, bytes]) -> bytes:
    """One envelope with the signatures of several keys, in order of their names."""
    return _envelope(payload_type, payload, sorted(signatures.items()))


def load_keyring(pems: Iterable[bytes]) -> Keyring:
    """Read PEM public keys; raises ConfigError for anything but Ed25519."""
    keys = map(load_public, pems)
    return Keyring({key_id(key): key for key in keys})


def load_public(pem: bytes) -> Ed25519PublicKey:
    """Read one PEM public key; raises ConfigError for anything but Ed25519."""
    raw = _plain(pem, _PUBLIC)
    if raw:
        return Ed25519PublicKey.from_public_bytes(raw)
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as exc:
        raise ConfigError(f"expected a PEM public key, found something else ({exc})") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"expected an Ed25519 public key, found {type(key).__name__}")
    return key


def load_or_create_signer(folder: Path) -> Signer:
    """The signer kept in `folder` (signing.pem, 0600; public keys in trusted/*.pem), made on first use.

    Safe when two processes start at once: the key file is created by link, and the loser reads the winner's.
    """
    path = folder / "signing.pem"
    if not path.exists():
        (folder / "trusted").mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            # a new home's vault gets a root key of its own, which may be moved out (trust/home_keys.py)
            write_private(folder / "root.pem", new_signer())
        except FileExistsError:
            pass
        try:
            write_private(path, new_signer())
        except FileExistsError:
            pass
    signer = Signer(_load_private(path))
    public = folder / "trusted" / f"{signer.key_id}.pem"
    if not public.exists():
        public.parent.mkdir(parents=True, exist_ok=True)
        public.write_bytes(signer.public_pem)
    return signer


def load_signer(folder: Path) -> Signer | None:
    """The signer kept in `folder`; None where there is none. Makes nothing."""
    path = folder / "signing.pem"
    return Signer(_load_private(path)) if path.exists() else None


def write_private(path: Path, signer: Signer, *, replace: bool = False) -> None:
    """Write a private key (0600), whole or not at all; raises FileExistsError where there is a file, unless it is to be replaced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, _private_pem(signer.private_key))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if replace:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()


def load_private(path: Path) -> Signer:
    """The private key in a file; raises ConfigError where there is none."""
    if not path.is_file():
        raise ConfigError(f"expected a private key at {path}, found no file")
    return Signer(_load_private(path))


def new_signer() -> Signer:
    """A new key."""
    return Signer(Ed25519PrivateKey.generate())


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _load_private(path: Path) -> Ed25519PrivateKey:
    pem = path.read_bytes()
    raw = _plain(pem, _PRIVATE)
    if raw:
        return Ed25519PrivateKey.from_private_bytes(raw)
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"expected an Ed25519 key in {path.name}, found {type(private).__name__}: move the file away")
    return private


def _plain(pem: bytes, prefix: bytes) -> bytes:
    """The key's 32 bytes where the file has the one form that we write, else nothing.

    The library's parser of all forms takes as long to load as all else that a short command does.
    """
    match = _PEM.fullmatch(pem)
    if match is None:
        return b""
    encoded = base64.b64decode(match[2])
    return encoded[len(prefix) :] if encoded.startswith(prefix) and len(encoded) == len(prefix) + 32 else b""
