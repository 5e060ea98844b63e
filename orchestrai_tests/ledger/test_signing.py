"""Keys and envelopes."""

import json
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, SignatureInvalid
from orchestrai.ledger.signing import (
    HEAD_TYPE,
    STATEMENT_TYPE,
    Keyring,
    load_keyring,
    load_or_create_signer,
)
from orchestrai.ledger.trust.trust_list import trusted_keyring


def test_the_signing_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    load_or_create_signer(tmp_path)
    assert stat.S_IMODE((tmp_path / "signing.pem").stat().st_mode) == 0o600


def _key_id(folder: str) -> str:
    return load_or_create_signer(Path(folder)).key_id


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    # an executor asks its processes to end, where a pool sends signals
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        assert len(set(pool.map(_key_id, [str(tmp_path)] * 8))) == 1


def test_an_envelope_of_another_type_is_refused(tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path)
    envelope = signer.sign(STATEMENT_TYPE, b"{}")
    assert signer.keyring().open(STATEMENT_TYPE, envelope) == b"{}"
    with pytest.raises(SignatureInvalid, match="type"):
        signer.keyring().open(HEAD_TYPE, envelope)


def test_a_signature_moved_to_another_payload_is_refused(tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path)
    first, second = (json.loads(signer.sign(STATEMENT_TYPE, text)) for text in (b"one", b"two"))
    first["signatures"] = second["signatures"]
    forged = json.dumps(first, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(SignatureInvalid):
        signer.keyring().open(STATEMENT_TYPE, forged)


def test_a_key_that_is_not_trusted_does_not_count(tmp_path: Path) -> None:
    signer, stranger = load_or_create_signer(tmp_path / "a"), load_or_create_signer(tmp_path / "b")
    assert trusted_keyring(tmp_path / "a").keys.keys() == {signer.key_id}
    with pytest.raises(SignatureInvalid, match=stranger.key_id):
        trusted_keyring(tmp_path / "a").open(HEAD_TYPE, stranger.sign(HEAD_TYPE, b"{}"))
    with pytest.raises(SignatureInvalid):
        Keyring({}).open(HEAD_TYPE, signer.sign(HEAD_TYPE, b"{}"))


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_key_file_in_another_form_of_pem_is_the_same_key(tmp_path: Path, ending: bytes) -> None:
    """What we write is read without the library's parser of all forms; whatever else is PEM still goes through it."""
    first = load_or_create_signer(tmp_path)
    path = tmp_path / "signing.pem"
    pem = path.read_bytes()
    path.write_bytes(b"a comment\n" + pem.replace(b"\n", b"\r\n") + ending)
    assert load_or_create_signer(tmp_path).key_id == first.key_id
    public = first.public_pem
    assert set(load_keyring([public]).keys) == set(load_keyring([public.replace(b"\n", b"\r\n") + ending]).keys)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    load_or_create_signer(tmp_path)
    other = X25519PrivateKey.generate()
    pem = other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "signing.pem").write_bytes(pem)
    with pytest.raises(ConfigError, match="Ed25519"):
        load_or_create_signer(tmp_path)
    public = other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigError, match="Ed25519"):
        load_keyring([public])
