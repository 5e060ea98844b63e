"""The private keys of a home: its signing key, its successor while a rotation runs, and the root key until it is moved out."""

from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.signing import Signer, key_id, load_private, load_signer, new_signer, write_private
from orchestrai.ledger.trust.trust_list import read_trust, trust_key

SIGNING, NEXT, ROOT, NEXT_ROOT = "signing.pem", "next.pem", "root.pem", "root-next.pem"


def load_root(folder: Path) -> Signer | None:
    """The root key that a home made for its vault; None where it was moved out, or never was."""
    path = folder / ROOT
    return load_private(path) if path.is_file() else None


def root_file(folder: Path, root: Ed25519PublicKey) -> Path | None:
    """Where the private key of a vault's root lies in a key folder; None where it does not."""
    files = sorted(folder.glob("root*.pem"))
    return next((path for path in files if load_private(path).key_id == key_id(root)), None)


def root_signer(folder: Path, root: Ed25519PublicKey, given: Path | None) -> Signer:
    """The root key: from a file that is given, or from the key folder; raises ConfigError where it is in neither."""
    if given is not None:
        signer = load_private(given)
        if signer.key_id != key_id(root):
            raise ConfigError(f"expected the root key {key_id(root)} in {given}, found {signer.key_id}: give the right file")
        return signer
    path = root_file(folder, root)
    candidate = load_private(path) if path is not None else load_signer(folder)
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
    if before.key_id == key_id(root) and root_file(folder, root) is None:
        place = folder / ROOT
        write_private(folder / f"root-{before.key_id}.pem" if place.exists() else place, before)
    (folder / "trusted" / f"{after.key_id}.pem").write_bytes(after.public_pem)
    (folder / NEXT).replace(folder / SIGNING)
    return after


def next_root(folder: Path, to: Path | None) -> tuple[Signer, Path]:
    """The key that is to be root, in a new file or in the key folder; of a succession that died before, the one it made. Idempotent."""
    place = to if to is not None else folder / NEXT_ROOT
    if not place.exists():
        write_private(place, new_signer())
    return load_private(place), place


def drop_root(folder: Path, before: Ed25519PublicKey, after: Signer) -> Path | None:
    """Give the new root its name in the key folder where it lies there, and let the old one's private half go.

    Returns the file of the old one where it stays: as this home's own signing key.
    """
    if (folder / NEXT_ROOT).exists():
        (folder / NEXT_ROOT).replace(folder / f"root-{after.key_id}.pem")
    old = root_file(folder, before)
    if old is not None:
        old.unlink()
    own = load_signer(folder)
    return folder / SIGNING if own is not None and own.key_id == key_id(before) else None


def move_root(folder: Path, root: Ed25519PublicKey, to: Path) -> None:
    """Move the root key out of the key folder into a new file; raises ConfigError where it is not there or still signs records."""
    path = root_file(folder, root)
    if path is None:
        own = load_signer(folder)
        if own is not None and own.key_id == key_id(root):
            raise ConfigError(
                f"expected a root key of its own, found that {own.key_id} is root and signs this home's records too: run `orchestrai keys "
                "rotate` first, which gives the home another key to sign with"
            )
        raise ConfigError(f"expected the root key {key_id(root)} in {folder}, found none: it was moved out before")
    signer = load_private(path)
    try:
        write_private(to, signer)
    except FileExistsError as exc:
        raise ConfigError(f"expected a new file for the root key, found {to}: name another") from exc
    if load_private(to).key_id != signer.key_id:
        raise IntegrityError(f"expected the root key back from {to}, found another: keep {path}")
    path.unlink()
