"""Google Cloud KMS as the key that wraps a vault's data keys."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import IntegrityError
from orchestrai.project.in_force import connection_for
from orchestrai.storage.cloud.cloud_errors import google_errors
from orchestrai.storage.cloud.google import client_settings
from orchestrai.vault.keys.key_port import key_error, missing_package, packed, unpacked


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
        response = self._called(lambda kms: kms.encrypt(request=request))
        if not (response.verified_plaintext_crc32c and response.verified_additional_authenticated_data_crc32c):
            raise self._damaged()
        return packed(response.name, self._whole(response.ciphertext, response.ciphertext_crc32c))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        _, blob = unpacked(wrapped)
        request = {
            "name": self.key,
            "ciphertext": blob,
            "ciphertext_crc32c": _crc32c(blob),
            "additional_authenticated_data": context,
            "additional_authenticated_data_crc32c": _crc32c(context),
        }
        response = self._called(lambda kms: kms.decrypt(request=request))
        return self._whole(response.plaintext, response.plaintext_crc32c)

    def _called(self, call: Callable[[Any], Any]) -> Any:
        try:
            from google.cloud.kms_v1 import KeyManagementServiceClient
        except ImportError as exc:
            raise missing_package(self.name) from exc
        with google_errors(f"{self.name} to allow wrapping", own=lambda fault: key_error(fault, self.name)):
            return call(self.client or KeyManagementServiceClient(**self._settings()))

    def _settings(self) -> dict[str, Any]:
        return client_settings(connection_for(self.name, "gcp"), "cloudkms")

    def _whole(self, data: bytes, crc32c: Any) -> bytes:
        # a wrapped integer of the protocol, or a plain one
        if int(getattr(crc32c, "value", crc32c)) != _crc32c(data):
            raise self._damaged()
        return bytes(data)

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"expected {self.name} to get and give bytes whole, found another CRC32C: try again")


def _crc32c(data: bytes) -> int:
    try:
        import google_crc32c
    except ImportError as exc:
        raise missing_package("gcpkms") from exc
    return int(google_crc32c.value(data))
