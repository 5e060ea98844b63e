"""Key services that wrap a vault's data keys: AWS KMS, Azure Key Vault, Google Cloud KMS, or the key file.

    file                                                        vault.key in the key folder
    awskms://alias/NAME, awskms://KEY-ID, awskms://arn:aws:...  symmetric key
    azurekv://VAULT/KEY                                         RSA key of 2,048 bits or more
    gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K     symmetric key

The wrapping key never leaves its service, and the data key never leaves this machine unwrapped. Each wrapping is bound to a context (vault,
data key, port): by the service where it can (AWS, Google), inside the wrapped bytes where it cannot (Azure).
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError, IntegrityError, MissingExtra, StorageError, TransientStorageError
from orchestrai.vault.keys.encryption import FileKey, KeyPort

FILE = "file"
KEY_FILE = "vault.key"
_AWS_WRONG = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_AWS_TRANSIENT = frozenset(
    {"ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "LimitExceededException"}
)


def key_port(url: str, key_folder: Path) -> KeyPort:
    """The port of a URL, or of a port's recorded name; raises ConfigError. Calls no service yet."""
    scheme, _, rest = url.partition("://")
    if url == FILE or url.startswith(f"{FILE}:"):
        return FileKey(key_folder / KEY_FILE)
    if scheme == "awskms" and rest:
        return AwsKey(rest)
    if scheme == "azurekv" and rest.count("/") == 1 and all(rest.split("/")):
        return AzureKey(*rest.split("/"))
    if (
        scheme == "gcpkms"
        and rest.startswith("projects/")
        and rest.split("/")[2:7:2] == ["locations", "keyRings", "cryptoKeys"]
    ):
        return GoogleKey(rest)
    raise ConfigError(
        "expected file, awskms://alias/NAME, azurekv://VAULT/KEY or gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K, found "
        f"{url!r}: correct the encryption of the backup"
    )


@dataclass(frozen=True)
class AwsKey:
    """A symmetric key of AWS KMS, by id, ARN or alias; credentials and region are those of boto3."""

    key: str
    client: Any = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Which key this is, without its secret."""
        return f"awskms://{self.key}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to `context`."""
        with self._errors():
            found = self._kms().encrypt(KeyId=self.key, Plaintext=key, EncryptionContext=_context(context))
        # an alias may lead to another key later
        return _packed(found["KeyId"], found["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        key, blob = _unpacked(wrapped)
        with self._errors():
            found = self._kms().decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=_context(context))
        return bytes(found["Plaintext"])

    def _kms(self) -> Any:
        if self.client is not None:
            return self.client
        import boto3
        from botocore.config import Config

        return boto3.client("kms", config=Config(retries={"mode": "standard", "max_attempts": 4}))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

        try:
            yield
        except ClientError as exc:
            code = str(exc.response["Error"].get("Code", ""))
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise _refused(self.name, code, status, wrong=code in _AWS_WRONG, again=code in _AWS_TRANSIENT) from exc
        except (NoCredentialsError, NoRegionError) as exc:
            raise ConfigError(
                f"expected AWS credentials and a region for {self.name}, found {type(exc).__name__}: set them"
            ) from exc
        except BotoCoreError as exc:
            raise TransientStorageError(f"expected {self.name} to answer, found {type(exc).__name__}: try again") from exc


@dataclass(frozen=True)
class AzureKey:
    """An RSA key of Azure Key Vault, wrapped with RSA-OAEP-256; needs the permissions get, wrapKey and unwrapKey.

    RSA-OAEP takes no context, so its hash is wrapped with the key and compared. Anybody can wrap for a public key: that a
    wrapping is the vault's own is shown by the signature over its record.
    """

    vault: str
    key: str
    credential: Any = field(default=None, repr=False, compare=False)
    options: Any = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Which key this is, without its secret."""
        return f"azurekv://{self.vault}/{self.key}"

    @property
    def identifier(self) -> str:
        """The key's URL."""
        host = self.vault if "." in self.vault else f"{self.vault}.vault.azure.net"
        return f"https://{host}/keys/{self.key}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to `context`."""
        with self._errors():
            client, algorithm = self._client(self.identifier)
            found = client.wrap_key(algorithm, key + hashlib.sha256(context).digest())
        if str(found.key_id).rstrip("/").endswith(f"/keys/{self.key}"):
            raise ConfigError(f"expected the version of {self.name}, found none told: grant the permission keys/get")
        return _packed(str(found.key_id), found.encrypted_key)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        identifier, blob = _unpacked(wrapped)
        if not identifier.startswith(f"{self.identifier}/"):
            raise ConfigError(f"expected a data key wrapped by {self.name}, found one of {identifier}: use that key")
        with self._errors():
            client, algorithm = self._client(identifier)
            plain = bytes(client.unwrap_key(algorithm, blob).key)
        key, bound = plain[:-32], plain[-32:]
        if not secrets.compare_digest(bound, hashlib.sha256(context).digest()):
            raise _wrong(self.name, "one wrapped for another vault")
        return key

    def _client(self, identifier: str) -> tuple[Any, Any]:
        try:
            from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
        except ImportError as exc:
            raise _extra(self.name) from exc
        credential = self.credential
        if credential is None:
            from azure.identity import DefaultAzureCredential

            credential = DefaultAzureCredential()
        return CryptographyClient(identifier, credential, **self.options), KeyWrapAlgorithm.rsa_oaep_256

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

        try:
            yield
        except ClientAuthenticationError as exc:
            raise _refused(self.name, "ClientAuthenticationError", exc.status_code or 401) from exc
        except HttpResponseError as exc:
            code = str(getattr(exc.error, "code", "") or "")
            raise _refused(self.name, code, exc.status_code or 0, wrong=exc.status_code == 400) from exc
        except AzureError as exc:
            raise TransientStorageError(f"expected {self.name} to answer, found {type(exc).__name__}: try again") from exc


@dataclass(frozen=True)
class GoogleKey:
    """A symmetric key of Google Cloud KMS; the context is additional authenticated data, CRC32C is checked both ways."""

    key: str
    client: Any = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Which key this is, without its secret."""
        return f"gcpkms://{self.key}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to `context`."""
        request = {
            "name": self.key,
            "plaintext": key,
            "plaintext_crc32c": _crc32c(key),
            "additional_authenticated_data": context,
            "additional_authenticated_data_crc32c": _crc32c(context),
        }
        found = self._called(lambda kms: kms.encrypt(request=request))
        if not (found.verified_plaintext_crc32c and found.verified_additional_authenticated_data_crc32c):
            raise self._damaged()
        return _packed(found.name, self._whole(found.ciphertext, found.ciphertext_crc32c))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        _, blob = _unpacked(wrapped)
        request = {
            "name": self.key,
            "ciphertext": blob,
            "ciphertext_crc32c": _crc32c(blob),
            "additional_authenticated_data": context,
            "additional_authenticated_data_crc32c": _crc32c(context),
        }
        found = self._called(lambda kms: kms.decrypt(request=request))
        return self._whole(found.plaintext, found.plaintext_crc32c)

    def _called(self, call: Callable[[Any], Any]) -> Any:
        try:
            from google.api_core import exceptions as raised
            from google.auth.exceptions import GoogleAuthError
            from google.cloud.kms_v1 import KeyManagementServiceClient
        except ImportError as exc:
            raise _extra(self.name) from exc
        try:
            return call(self.client or KeyManagementServiceClient())
        except raised.GoogleAPICallError as exc:
            # the service says INVALID_ARGUMENT for bytes that it cannot decrypt
            code = exc.code or 0
            again = isinstance(exc, raised.ServerError | raised.TooManyRequests)
            wrong = isinstance(exc, raised.InvalidArgument)
            raise _refused(self.name, type(exc).__name__, int(code), wrong=wrong, again=again) from exc
        except GoogleAuthError as exc:
            raise ConfigError(f"expected Google credentials for {self.name}, found none that work: set them") from exc

    def _whole(self, data: bytes, crc32c: Any) -> bytes:
        # a wrapped integer of the protocol, or a plain one
        if int(getattr(crc32c, "value", crc32c)) != _crc32c(data):
            raise self._damaged()
        return bytes(data)

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"expected {self.name} to get and give bytes whole, found another CRC32C: try again")


def _context(context: bytes) -> dict[str, str]:
    return {"orchestrai": context.decode()}


def _packed(key: str, blob: bytes) -> bytes:
    return canonical_json({"blob": base64.b64encode(blob).decode(), "key": key})


def _unpacked(wrapped: bytes) -> tuple[str, bytes]:
    try:
        body = json.loads(wrapped)
        return str(body["key"]), base64.b64decode(body["blob"], validate=True)
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError("expected a data key wrapped by a key service, found something else: use its own port") from exc


def _crc32c(data: bytes) -> int:
    try:
        import google_crc32c
    except ImportError as exc:
        raise _extra("gcpkms") from exc
    return int(google_crc32c.value(data))


def _extra(name: str) -> MissingExtra:
    return MissingExtra(f"expected the package of {name}, found none: install orchestrai[keys]")


def _wrong(name: str, found: str) -> ConfigError:
    return ConfigError(f"expected {name} to open the vault's data key, found {found}: use the key it was wrapped with")


def _refused(name: str, code: str, status: int, *, wrong: bool = False, again: bool = False) -> ConfigError | StorageError:
    if again or status >= 500 or status == 429:
        return TransientStorageError(f"expected {name} to answer, found {status} {code}: try again")
    if wrong:
        return _wrong(name, f"that it does not ({code or status})")
    if status == 404 or code in ("NotFoundException", "DisabledException", "KMSInvalidStateException"):
        return ConfigError(f"expected the key {name} to be there and enabled, found {code or status}: correct or enable it")
    return StorageError(f"expected {name} to allow wrapping, found {status} {code}: check the credentials and their roles")
