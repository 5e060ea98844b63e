"""The private keys of a home: its signing key, its successor while a rotation runs, and the root key until it is moved out."""

from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.signing import Signer, key_id, load_private, load_signer, new_signer, write_private
from orchestrai.ledger.trust.trust_list import read_trust, trust_key

SIGNING, NEXT, ROOT = "signing.pem", "next.pem", "root.pem"


def load_root(folder: Path) -> Signer | None:
    """The root key that lies in a key folder; None where it was moved out, or never was."""
    path = folder / ROOT
    return load_private(path) if path.is_file() else None


def root_signer(folder: Path, root: Ed25519PublicKey, given: Path | None) -> Signer:
    """The root key: from a file that is given, or from the key folder; raises ConfigError where it is in neither."""
    if given is not None:
        signer = load_private(given)
        if signer.key_id != key_id(root):
            raise ConfigError(f"expected the root key {key_id(root)} in {given}, found {signer.key_id}: give the right file")
        return signer
    for candidate in (load_root(folder), load_signer(folder)):
        if candidate is not None and candidate.key_id == key_id(root):
            return candidate
    raise ConfigError(f"expected the root key {key_id(root)}, found that it is not in the key folder: give --root FILE")


def successor_of(folder: Path, signer: Signer, root: Ed25519PublicKey, now: datetime, *, by: str, reason: str) -> Signer:
    """The key that is to follow, made and trusted by this home; of a rotation that died before, the one it made. Idempotent."""
    path = folder / NEXT
    if not path.exists():
        write_private(path, new_signer())
    successor = load_private(path)
    for key in (successor.private_key.public_key(), root):
        if key_id(key) not in read_trust(folder).keyring.keys:
            trust_key(folder, signer, key, now, by=by, reason=reason)
    return successor


def install_successor(folder: Path, root: Ed25519PublicKey) -> Signer:
    """Put the successor in the place of the signing key, which goes, but for a root key; returns the new one."""
    before, after = load_private(folder / SIGNING), load_private(folder / NEXT)
    if before.key_id == key_id(root) and load_root(folder) is None:
        write_private(folder / ROOT, before)
    (folder / "trusted" / f"{after.key_id}.pem").write_bytes(after.public_pem)
    (folder / NEXT).replace(folder / SIGNING)
    return after


def move_root(folder: Path, root: Ed25519PublicKey, to: Path) -> None:
    """Move the root key out of the key folder into a new file; raises ConfigError where it is not there or still signs records."""
    signer = load_root(folder)
    if signer is None or signer.key_id != key_id(root):
        own = load_signer(folder)
        if own is not None and own.key_id == key_id(root):
            raise ConfigError(
                f"expected a root key of its own, found that {own.key_id} is root and signs this home's records too: run `orchestrai keys "
                "rotate` first, which gives the home another key to sign with"
            )
        raise ConfigError(f"expected the root key {key_id(root)} in {folder}, found none: it was moved out before")
    try:
        write_private(to, signer)
    except FileExistsError as exc:
        raise ConfigError(f"expected a new file for the root key, found {to}: name another") from exc
    if load_private(to).key_id != signer.key_id:
        raise IntegrityError(f"expected the root key back from {to}, found another: keep {folder / ROOT}")
    (folder / ROOT).unlink()
