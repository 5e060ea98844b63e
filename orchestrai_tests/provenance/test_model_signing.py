"""The model signed as OpenSSF Model Signing: the tool of others accepts it, and refuses whatever was altered."""

import base64
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConfigError
from orchestrai.ledger.signing import STATEMENT_TYPE
from orchestrai.provenance.export.model_signing import SignedModel, write_signed_model
from orchestrai_tests.provenance.builder import World

# the tool in an environment of its own, else beside this Python
TOOL = os.environ.get("ORCHESTRAI_TEST_MODEL_SIGNING") or (
    f"{Path(sys.executable).parent}/model_signing" if importlib.util.find_spec("model_signing") else ""
)
others = pytest.mark.skipif(not TOOL, reason="model-signing is not installed: make setup, or ORCHESTRAI_TEST_MODEL_SIGNING")


def signed(folder: Path, world: World, **files: bytes) -> SignedModel:
    """Some files, signed, under folder/signed."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    paths = {}
    for number, (name, data) in enumerate(files.items()):
        paths[name] = source / str(number)
        paths[name].write_bytes(data)
    return write_signed_model(paths, name="churn@1", keys=folder / "keys", signer=world.signer, to=folder / "signed")


def check(folder: Path, key: Path | None = None) -> tuple[int, str]:
    """What the tool of others says of a signed folder."""
    command = [TOOL, "verify", "key", str(folder / "model"), "--signature", str(folder / "model.sig")]
    command += ["--public_key", str(key or folder / "model_signing.pub")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@others
def test_the_tool_of_others_accepts_a_signed_model_and_refuses_whatever_was_altered(tmp_path: Path, world: World) -> None:
    result = signed(tmp_path, world, **{"model.ubj": b"weights" * 999, "card.md": "é\n".encode(), "deep/er/info.json": b""})
    assert check(result.path)[0] == 0
    (tmp_path / "other").mkdir()
    other = signed(tmp_path / "other", world, a=b"a")
    assert check(result.path, other.path / "model_signing.pub")[0] != 0, "another home's key"

    def refused(name: str, data: bytes | None) -> None:
        path = result.path / name
        before = path.read_bytes() if path.exists() else None
        path.unlink() if data is None else path.write_bytes(data)
        code, said = check(result.path)
        assert code != 0, (name, said)
        path.unlink() if before is None else path.write_bytes(before)

    weights = (result.path / "model/model.ubj").read_bytes()
    refused("model/model.ubj", weights[:500] + bytes([weights[500] ^ 1]) + weights[501:])
    refused("model/model.ubj", weights[:-1])
    refused("model/deep/er/info.json", None)
    refused("model/another.bin", b"not signed")
    bundle = json.loads((result.path / "model.sig").read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"churn@1", b"churn@2")).decode()
    refused("model.sig", json.dumps(bundle).encode())
    assert check(result.path)[0] == 0


def test_a_signed_model_names_each_file_with_its_hash_and_the_home_vouches_for_the_key(tmp_path: Path, world: World) -> None:
    result = signed(tmp_path, world, **{"b.json": b"{}", "a/model.ubj": b"weights"})
    bundle = json.loads((result.path / "model.sig").read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    named = {one["name"]: one["digest"] for one in statement["predicate"]["resources"]}
    assert list(named) == sorted(named) == ["a/model.ubj", "b.json"]
    assert named == {name: sha256_hex((result.path / "model" / name).read_bytes()) for name in named} == result.files
    voucher = (result.path / "model_signing.pub.dsse.json").read_bytes().rstrip()
    word = json.loads(world.keyring.open(STATEMENT_TYPE, voucher))
    public = (result.path / "model_signing.pub").read_bytes()
    assert word["subject"] == [{"name": "model_signing.pub", "digest": {"sha256": sha256_hex(public)}}]
    assert word["predicate"]["purpose"] == "model-signing"
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == sha256_hex(public)


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path, world: World) -> None:
    def one(number: int) -> bytes:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "keys").symlink_to(tmp_path / "keys")
        return (signed(folder, world, a=b"a").path / "model_signing.pub").read_bytes()

    (tmp_path / "keys").mkdir()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(one, range(8)))) == 1
    assert stat.S_IMODE((tmp_path / "keys/model_signing.pem").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["model_signing.pem"]


@pytest.mark.parametrize("curve", [ec.SECP384R1(), None])
def test_another_key_in_its_place_is_told_and_nothing_is_written(
    tmp_path: Path, world: World, curve: ec.EllipticCurve | None
) -> None:
    (tmp_path / "keys").mkdir()
    key = b"no key"
    if curve is not None:
        key = ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "keys/model_signing.pem").write_bytes(key)
    with pytest.raises(ConfigError, match="away"):
        signed(tmp_path, world, a=b"a")
    assert not (tmp_path / "signed").exists()


def test_what_cannot_be_signed_is_told_and_nothing_is_overwritten(tmp_path: Path, world: World) -> None:
    with pytest.raises(ConfigError, match="files"):
        signed(tmp_path, world)
    with pytest.raises(ConfigError, match="OMS leaves it out"):
        signed(tmp_path, world, **{".github/a": b"a"})
    signed(tmp_path, world, a=b"a")
    with pytest.raises(ConfigError, match="new place"):
        signed(tmp_path, world, a=b"b")
    shutil.rmtree(tmp_path / "signed")
    signed(tmp_path, world, a=b"b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "signed", "source"]
