"""A model's files signed as OpenSSF Model Signing v1.0, so that other tools check them with a public key and nothing of ours.

Source: the OMS specification 1.0 (an in-toto Statement in a DSSE envelope, in a sigstore bundle 0.3, signed by a key). Its tools take
elliptic curve keys only, so the home has one for this alone (`model_signing.pem`, P-256). It is on no list of trusted keys: no record
of ours counts by it. The home's own key vouches for it in a signed statement.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError
from orchestrai.ledger.receipt import STATEMENT
from orchestrai.ledger.signing import STATEMENT_TYPE, Signer, signed_text
from orchestrai.provenance.export.new_place import new_place
from orchestrai.storage.disk.private_file import create_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
KEY_PREDICATE = "urn:orchestrai:signing-key:v1"
PRIVATE_KEY = "model_signing.pem"
MODEL, SIGNATURE, PUBLIC_KEY, VOUCHER = "model", "model.sig", "model_signing.pub", "model_signing.pub.dsse.json"
# what the specification leaves out of a model at its top
_IGNORED = (".git", ".gitattributes", ".github", ".gitignore")


@dataclass(frozen=True)
class SignedModel:
    """What was written: the folder, the model's files with their hashes, and the id of the key that vouches for the signing key."""

    path: Path
    files: Mapping[str, str]
    vouched_by: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"format": "oms", "file": str(self.path), "files": dict(self.files), "vouched_by": self.vouched_by}


def write_signed_model(model: Mapping[str, Path], *, name: str, keys: Path, signer: Signer, to: Path) -> SignedModel:
    """Write a folder of a model's files, by name, its signature, the public key, and the home's word for that key.

    The folder appears whole or not at all. Raises ConfigError where `to` is taken, or for a model without files.
    """
    if not model:
        raise ConfigError(f"expected files of {name} to sign, found none: name a model")
    if outside := sorted(file for file in model if file.split("/")[0] in _IGNORED):
        raise ConfigError(
            f"expected files that a signature covers, found {outside[0]}: OMS leaves it out; name it otherwise"
        )
    key = _signing_key(keys)
    public = _public_pem(key)
    files: dict[str, str] = {}
    with new_place(to) as scratch:
        for file in sorted(model):
            copy = scratch / MODEL / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            data = model[file].read_bytes()
            copy.write_bytes(data)
            files[file] = sha256_hex(data)
        bundle = json.dumps(model_signature(files, name, key), indent=2, sort_keys=True) + "\n"
        (scratch / SIGNATURE).write_text(bundle, encoding="utf-8")
        (scratch / PUBLIC_KEY).write_bytes(public)
        (scratch / VOUCHER).write_bytes(_voucher(public, signer))
    return SignedModel(to, files, signer.key_id)


def model_signature(files: Mapping[str, str], name: str, key: "EllipticCurvePrivateKey") -> dict[str, Any]:
    """The sigstore bundle over files, given as their SHA-256 by name."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    ordered = sorted(files.items())
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in ordered)).hexdigest()
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(_IGNORED),
            },
            "resources": [{"name": file, "algorithm": "sha256", "digest": digest} for file, digest in ordered],
        },
    }
    payload = canonical_json(statement)
    signature = key.sign(signed_text(STATEMENT_TYPE, payload), ec.ECDSA(hashes.SHA256()))
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": sha256_hex(_public_pem(key))}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.standard_b64encode(payload).decode(),
            "payloadType": STATEMENT_TYPE,
            "signatures": [{"sig": base64.standard_b64encode(signature).decode(), "keyid": ""}],
        },
    }


def _voucher(public: bytes, signer: Signer) -> bytes:
    """The home's own key says what the other is for: an in-toto Statement about the file of the public key."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": PUBLIC_KEY, "digest": {"sha256": sha256_hex(public)}}],
        "predicateType": KEY_PREDICATE,
        "predicate": {"purpose": "model-signing", "algorithm": "ecdsa-p256-sha256", "key": public.decode()},
    }
    return signer.sign(STATEMENT_TYPE, canonical_json(statement)) + b"\n"


def _signing_key(folder: Path) -> "EllipticCurvePrivateKey":
    """The home's key for signing models, made on first use; two processes that start at once read the same one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = folder / PRIVATE_KEY
    if not path.exists():
        form = serialization.PrivateFormat.PKCS8
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, form, serialization.NoEncryption()
        )
        create_private(path, pem)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"expected a private key without a password in {path}, found another file: move it away") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"expected an elliptic curve key (P-256) in {path}, found another: move the file away")
    return key


def _public_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)
