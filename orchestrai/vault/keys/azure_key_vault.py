"""Azure Key Vault as the key that wraps a vault's data keys."""

import hashlib
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.project.in_force import connection_for
from orchestrai.storage.cloud.access.azure_access import azure_identity_of
from orchestrai.storage.cloud.cloud_errors import Fault, azure_errors
from orchestrai.vault.keys.key_port import key_error, missing_package, packed, unpacked, wrong_key


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
            result = client.wrap_key(algorithm, key + hashlib.sha256(context).digest())
        if str(result.key_id).rstrip("/").endswith(f"/keys/{self.key}"):
            raise ConfigError(f"expected the version of {self.name}, found none told: grant the permission keys/get")
        return packed(str(result.key_id), result.encrypted_key)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        identifier, blob = unpacked(wrapped)
        if not identifier.startswith(f"{self.identifier}/"):
            raise ConfigError(f"expected a data key wrapped by {self.name}, found one of {identifier}: use that key")
        with self._errors():
            client, algorithm = self._client(identifier)
            plain = bytes(client.unwrap_key(algorithm, blob).key)
        key, bound = plain[:-32], plain[-32:]
        if not secrets.compare_digest(bound, hashlib.sha256(context).digest()):
            raise wrong_key(self.name, "one wrapped for another vault")
        return key

    def _client(self, identifier: str) -> tuple[Any, Any]:
        try:
            from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
        except ImportError as exc:
            raise missing_package(self.name) from exc
        credential = self.credential or azure_identity_of(connection_for(self.name, "azure"))
        return CryptographyClient(identifier, credential, **self.options), KeyWrapAlgorithm.rsa_oaep_256

    def _errors(self) -> AbstractContextManager[None]:
        return azure_errors(f"{self.name} to allow wrapping", own=self._own)

    def _own(self, fault: Fault) -> OrchestraiError | None:
        # the service answers 400, whatever code it gives, for bytes that it cannot decrypt
        if fault.status == 400:
            return wrong_key(self.name, f"that it does not ({fault.code})")
        return key_error(fault, self.name)
