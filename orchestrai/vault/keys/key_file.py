"""The key file: a wrapping key beside the vault's owner, for vaults without a key service."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag

from orchestrai.errors import ConfigError
from orchestrai.storage.disk.private_file import create_private
from orchestrai.vault.keys.encryption import aead

KEY_FILE = "vault.key"


@dataclass(frozen=True)
class FileKey:
    """A 32-byte key in a file of mode 0600, made on first use."""

    path: Path

    @property
    def name(self) -> str:
        """Which key this is, without its secret."""
        return f"file:{hashlib.sha256(b'orchestrai-key-name' + self._key()).hexdigest()[:16]}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to `context`."""
        nonce = os.urandom(12)
        return nonce + aead(self._key()).encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        try:
            return aead(self._key()).decrypt(wrapped[:12], wrapped[12:], context)
        except (InvalidTag, ValueError) as exc:
            raise ConfigError(
                f"expected {self.path.name} to open the vault's data key, found that it does not: use the key file it was made with"
            ) from exc

    def _key(self) -> bytes:
        if not self.path.exists():
            create_private(self.path, os.urandom(32))
        key = self.path.read_bytes()
        if len(key) != 32:
            raise ConfigError(f"expected 32 bytes in {self.path.name}, found {len(key)}: use the vault's key file")
        return key
