"""AWS KMS as the key that wraps a vault's data keys."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.vault.keys.key_port import key_error, packed, unpacked


@dataclass(frozen=True)
class AwsKey:
    """A symmetric key of AWS KMS, by id, ARN or alias; what covers `awskms://<key>` says who calls and where."""

    key: str
    client: Any = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Which key this is, without its secret."""
        return f"awskms://{self.key}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to `context`."""
        with self._errors():
            response = self._kms().encrypt(KeyId=self.key, Plaintext=key, EncryptionContext={"orchestrai": context.decode()})
        return packed(response["KeyId"], response["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        key, blob = unpacked(wrapped)
        with self._errors():
            response = self._kms().decrypt(
                KeyId=key, CiphertextBlob=blob, EncryptionContext={"orchestrai": context.decode()}
            )
        return bytes(response["Plaintext"])

    def _kms(self) -> Any:
        if self.client is not None:
            return self.client
        parts = self.key.split(":")
        # an ARN says its region
        return aws_client("kms", url=self.name, region=parts[3] if len(parts) > 5 else None)

    def _errors(self) -> AbstractContextManager[None]:
        return aws_errors(f"{self.name} to allow wrapping", own=lambda fault: key_error(fault, self.name))
