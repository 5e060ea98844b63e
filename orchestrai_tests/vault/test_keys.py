"""Data keys wrapped by files and key services: AWS KMS on moto's server, Azure Key Vault and Google Cloud KMS by their own wire shapes."""

import base64
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import (
    AccessRefused,
    ConfigError,
    DigestMismatch,
    IntegrityError,
    MissingExtra,
    SignatureInvalid,
    StorageError,
    TransientStorageError,
)
from orchestrai.ledger.signing import Signer
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.keys.aws_kms import AwsKey
from orchestrai.vault.keys.azure_key_vault import AzureKey
from orchestrai.vault.keys.data_keys import wrapped_keys
from orchestrai.vault.keys.google_kms import GoogleKey
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.keys.key_port import KeyPort
from orchestrai.vault.keys.key_services import key_port
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.key_vault import KeyVaultTransport, Token
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.vault.contents import files, read_all

RING = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
DATA_KEY, CONTEXT = b"\x01" * 32, b'["data-key","v","id","port"]'


def azure_key(status: int = 0) -> AzureKey:
    return AzureKey("safe", "backup", Token(), {"transport": KeyVaultTransport(status), "retry_total": 0})


# -- Google Cloud KMS: its own request and response messages ----------------------------------------------------------


class GoogleService:
    """Encrypts with AES-GCM under the caller's additional data; every message is one of the service's proto model."""

    def __init__(self, flip: str = "", error: str = "") -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.aead, self.flip, self.error = AESGCM(b"\x05" * 32), flip, error

    def encrypt(self, request: Any) -> Any:
        import google_crc32c
        from google.cloud import kms

        asked = kms.EncryptRequest(request)
        self._fail()
        assert asked.name == RING and len(asked.additional_authenticated_data) > 0
        sound = int(asked.plaintext_crc32c) == google_crc32c.value(asked.plaintext)
        data = b"nonce-nonce-" + self.aead.encrypt(b"nonce-nonce-", asked.plaintext, asked.additional_authenticated_data)
        return kms.EncryptResponse(
            name=f"{RING}/cryptoKeyVersions/1",
            ciphertext=data,
            ciphertext_crc32c=google_crc32c.value(data) ^ (self.flip == "ciphertext"),
            verified_plaintext_crc32c=sound and self.flip != "plaintext",
            verified_additional_authenticated_data_crc32c=(
                int(asked.additional_authenticated_data_crc32c) == google_crc32c.value(asked.additional_authenticated_data)
            ),
        )

    def decrypt(self, request: Any) -> Any:
        import google_crc32c
        from cryptography.exceptions import InvalidTag
        from google.api_core.exceptions import InvalidArgument
        from google.cloud import kms

        asked = kms.DecryptRequest(request)
        self._fail()
        assert int(asked.ciphertext_crc32c) == google_crc32c.value(asked.ciphertext)
        try:
            data = self.aead.decrypt(asked.ciphertext[:12], asked.ciphertext[12:], asked.additional_authenticated_data)
        except InvalidTag as exc:
            raise InvalidArgument("Decryption failed") from exc
        return kms.DecryptResponse(plaintext=data, plaintext_crc32c=google_crc32c.value(data) ^ (self.flip == "answer"))

    def _fail(self) -> None:
        from google.api_core import exceptions

        if self.error:
            raise getattr(exceptions, self.error)("told")


# -- every port --------------------------------------------------------------------------------------------------------


def _aws(request: pytest.FixtureRequest, alias: bool = True) -> AwsKey:
    server: S3Server = request.getfixturevalue("moto")
    client = server.client("kms")
    made = client.create_key()["KeyMetadata"]["KeyId"]
    name = f"alias/k{made[:8]}"
    client.create_alias(AliasName=name, TargetKeyId=made)
    return AwsKey(name if alias else made, client)


PORTS: dict[str, Callable[[pytest.FixtureRequest], KeyPort]] = {
    "file": lambda request: FileKey(request.getfixturevalue("tmp_path") / "vault.key"),
    "aws": _aws,
    "azure": lambda request: azure_key(),
    "google": lambda request: GoogleKey(RING, GoogleService()),
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.emulator if name == "aws" else ()) for name in PORTS])
def port(request: pytest.FixtureRequest) -> KeyPort:
    return PORTS[request.param](request)


def test_a_wrapped_key_comes_back_under_its_own_context_alone(port: KeyPort) -> None:
    wrapped = port.wrap(DATA_KEY, CONTEXT)
    assert DATA_KEY not in wrapped and base64.b64encode(DATA_KEY)[:20] not in wrapped
    assert port.unwrap(wrapped, CONTEXT) == DATA_KEY
    with pytest.raises(ConfigError, match="expected"):
        port.unwrap(wrapped, CONTEXT + b"other")


def test_altered_wrapped_bytes_are_refused_with_one_of_our_errors(port: KeyPort) -> None:
    wrapped = port.wrap(DATA_KEY, CONTEXT)
    for bad in (
        b"",
        b"{}",
        wrapped[:-9],
        wrapped.replace(b'"blob":"', b'"blob":"AAAA') if b"blob" in wrapped else b"x" * 60,
    ):
        # moto reads another key's id in altered bytes, where AWS reads nothing
        with pytest.raises((ConfigError, StorageError)):
            port.unwrap(bad, CONTEXT)


def test_a_vault_sealed_by_any_port_opens_again_and_verifies(port: KeyPort, signer: Signer) -> None:
    vault = Vault(MemoryStore(), signer, workers=0, encryption=port)
    commit = vault.commit("d", {"p": files(a=b"secret" * 100)})
    assert b"secret" not in b"".join(vault.store.read(info.key) for info in vault.store.list())
    opened = Vault(vault.store, signer, workers=0, encryption=port)
    assert read_all(opened, commit) == {"p": {"a": b"secret" * 100}}
    assert verify(opened, level="read").ok


def test_the_data_key_is_wrapped_again_and_the_old_snapshots_open_by_the_new_key(
    port: KeyPort, signer: Signer, tmp_path: Path
) -> None:
    before = FileKey(tmp_path / "before.key")
    vault = Vault(MemoryStore(), signer, workers=0, encryption=before)
    commit = vault.commit("d", {"p": files(a=b"secret" * 100)})
    objects = {info.key: info.etag for info in vault.store.list("vault/packs/")}
    assert vault.rewrap(port) == 1 and vault.rewrap(port) == 0
    opened = Vault(vault.store, signer, workers=0, encryption=port)
    assert read_all(opened, commit) == {"p": {"a": b"secret" * 100}}
    assert {info.key: info.etag for info in vault.store.list("vault/packs/")} == objects
    assert [record.port for record in wrapped_keys(vault.store, vault.identity(), vault.keyring)] == [before.name, port.name]
    # the key of before opens it too, until it is destroyed
    assert read_all(Vault(vault.store, signer, workers=0, encryption=before), commit)


def test_a_data_key_that_somebody_else_wrapped_is_refused(signer: Signer, port: KeyPort) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if isinstance(port, FileKey):
        pytest.skip("nobody else has the key file")
    vault = Vault(MemoryStore(), signer, workers=0, encryption=port)
    vault.commit("d", {"p": files(a=b"a")})
    other = Signer(Ed25519PrivateKey.generate())
    # a public key wraps for anybody, and a key service for whoever may use it: the signature decides
    hostile = Vault(MemoryStore(), other, workers=0, encryption=port)
    hostile.commit("d", {"p": files(a=b"a")})
    record = hostile.store.read("vault/keys/000001.json")
    loose = json.loads(base64.b64decode(json.loads(record)["payload"]))
    plain = json.dumps(
        {name: loose[name] for name in ("id", "port", "wrapped")}, sort_keys=True, separators=(",", ":")
    ).encode()
    for data, error in ((record, SignatureInvalid), (plain, DigestMismatch)):
        vault.store.write("vault/keys/000002.json", data)
        with pytest.raises(error):
            Vault(vault.store, signer, workers=0, encryption=port).cipher  # noqa: B018


def test_a_data_key_record_of_another_vault_is_refused(signer: Signer, tmp_path: Path) -> None:
    port, numbers = FileKey(tmp_path / "k"), itertools.count()
    one, two = (Vault(MemoryStore(), signer, new_id=lambda: f"v{next(numbers)}", workers=0, encryption=port) for _ in "12")
    for vault in (one, two):
        vault.commit("d", {"p": files(a=b"a")})
    one.store.write("vault/keys/000002.json", two.store.read("vault/keys/000001.json"))
    with pytest.raises(IntegrityError, match="of vault"):
        Vault(one.store, signer, workers=0, encryption=port).cipher  # noqa: B018


# -- choosing one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("file", FileKey),
        ("awskms://alias/backup", AwsKey),
        ("awskms://arn:aws:kms:eu-west-1:111122223333:key/1234abcd", AwsKey),
        ("azurekv://safe/backup", AzureKey),
        (f"gcpkms://{RING}", GoogleKey),
    ],
)
def test_a_url_leads_to_its_port_and_back(url: str, kind: type, tmp_path: Path) -> None:
    found = key_port(url, tmp_path)
    assert isinstance(found, kind)
    if url != "file":
        assert found.name == url and key_port(found.name, tmp_path) == found


@pytest.mark.parametrize(
    "url", ["awskms://", "azurekv://safe", "azurekv://safe/", "gcpkms://projects/p", "vault://x", "https://x/y"]
)
def test_any_other_url_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected file, awskms"):
        key_port(url, tmp_path)


# -- what services answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("DisabledException", 409, ConfigError),
        ("NotFoundException", 400, ConfigError),
        ("InvalidCiphertextException", 400, ConfigError),
        ("AccessDeniedException", 400, AccessRefused),
        ("ThrottlingException", 400, TransientStorageError),
        ("KMSInternalException", 500, TransientStorageError),
    ],
)
def test_aws_refusals_are_translated_once(code: str, status: int, error: type[Exception]) -> None:
    import boto3
    from botocore.config import Config
    from botocore.stub import Stubber

    settings = {"region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "s"}
    client = boto3.client("kms", config=Config(retries={"total_max_attempts": 1}), **settings)
    stub = Stubber(client)
    stub.add_client_error("encrypt", code, http_status_code=status)
    with stub, pytest.raises(error) as told:
        AwsKey("alias/none", client).wrap(DATA_KEY, CONTEXT)
    assert type(told.value) is error


@pytest.mark.emulator
def test_an_alias_that_leads_elsewhere_still_opens_what_it_wrapped(request: pytest.FixtureRequest) -> None:
    port = _aws(request)
    wrapped = port.wrap(DATA_KEY, CONTEXT)
    other = port.client.create_key()["KeyMetadata"]["KeyId"]
    port.client.update_alias(AliasName=port.key, TargetKeyId=other)
    assert port.unwrap(wrapped, CONTEXT) == DATA_KEY


@pytest.mark.parametrize(("status", "error"), [(404, ConfigError), (403, AccessRefused), (503, TransientStorageError)])
def test_azure_refusals_are_translated_once(status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as told:
        azure_key(status=status).wrap(DATA_KEY, CONTEXT)
    assert type(told.value) is error


def test_azure_names_the_version_that_wrapped_and_asks_that_one(tmp_path: Path) -> None:
    port = azure_key()
    wrapped = port.wrap(DATA_KEY, CONTEXT)
    assert json.loads(wrapped)["key"] == "https://safe.vault.azure.net/keys/backup/0a1b"
    port.unwrap(wrapped, CONTEXT)
    assert port.options["transport"].asked[-1] == ("POST", "https://safe.vault.azure.net/keys/backup/0a1b/unwrapkey")
    elsewhere = wrapped.replace(b"safe.vault", b"evil.vault")
    with pytest.raises(ConfigError, match="use that key"):
        port.unwrap(elsewhere, CONTEXT)


@pytest.mark.parametrize(
    ("error", "ours"),
    [("NotFound", ConfigError), ("PermissionDenied", AccessRefused), ("ServiceUnavailable", TransientStorageError)],
)
def test_google_refusals_are_translated_once(error: str, ours: type[Exception]) -> None:
    with pytest.raises(ours) as told:
        GoogleKey(RING, GoogleService(error=error)).wrap(DATA_KEY, CONTEXT)
    assert type(told.value) is ours


@pytest.mark.parametrize("flip", ["plaintext", "ciphertext", "answer"])
def test_google_bytes_damaged_on_the_way_are_found(flip: str) -> None:
    port = GoogleKey(RING, GoogleService(flip=flip))
    with pytest.raises(IntegrityError, match="CRC32C"):
        port.unwrap(port.wrap(DATA_KEY, CONTEXT), CONTEXT)


@pytest.mark.parametrize(
    ("module", "port"), [("azure.keyvault.keys.crypto", azure_key()), ("google.cloud.kms_v1", GoogleKey(RING))]
)
def test_a_missing_package_is_told_in_one_line_that_names_the_extra(
    module: str, port: KeyPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"install orchestrai\[keys\]"):
        port.wrap(DATA_KEY, CONTEXT)


def test_a_declaration_names_its_key_and_a_wrong_one_is_refused() -> None:
    assert BackupSpec().key_url == ""
    assert BackupSpec(encrypt=True).key_url == BackupSpec(encryption="file").key_url == "file"
    assert BackupSpec(encrypt=True, encryption="awskms://alias/x").key_url == "awskms://alias/x"
    for wrong in ("kms://x", "awskms://", "https://vault/key", "awskms://a b"):
        with pytest.raises(ValueError, match="pattern"):
            BackupSpec(encryption=wrong)
