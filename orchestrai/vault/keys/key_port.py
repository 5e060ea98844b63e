"""The port of what wraps a vault's data keys, the form of a wrapped key, and what a refusal of a key service means.

The wrapping key never leaves its service, and the data key never leaves this machine unwrapped. Each wrapping is bound to a context (vault,
data key, port): by the service where it can (AWS, Google), inside the wrapped bytes where it cannot (Azure).
"""

import base64
import json
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError, MissingExtra, OrchestraiError

if TYPE_CHECKING:
    from orchestrai.storage.cloud.cloud_errors import Fault

# what services say of bytes that another key has wrapped
_WRONG_KEY = frozenset({"InvalidCiphertextException", "IncorrectKeyException", "InvalidArgument"})
_NO_KEY = frozenset({"DisabledException", "KMSInvalidStateException"})


class KeyPort(Protocol):
    """What wraps data keys: a file, or a cloud key service."""

    @property
    def name(self) -> str:
        """Which key this is, without its secret."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key, bound to `context`."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a data key; raises ConfigError when it is not this port's."""
        ...


def packed(key: str, blob: bytes) -> bytes:
    """A wrapped data key, and the key that wrapped it: an alias may lead to another one later."""
    return canonical_json({"blob": base64.b64encode(blob).decode(), "key": key})


def unpacked(wrapped: bytes) -> tuple[str, bytes]:
    """The wrapping key's name and the wrapped bytes; raises ConfigError."""
    try:
        body = json.loads(wrapped)
        return str(body["key"]), base64.b64decode(body["blob"], validate=True)
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError("expected a data key wrapped by a key service, found something else: use its own port") from exc


def missing_package(name: str) -> MissingExtra:
    """The service's library is not installed."""
    return MissingExtra(f"expected the package of {name}, found none: install orchestrai[keys]")


def wrong_key(name: str, problem: str) -> ConfigError:
    """The port did not wrap this data key."""
    return ConfigError(f"expected {name} to open the vault's data key, found {problem}: use the key it was wrapped with")


def key_error(fault: "Fault", name: str) -> OrchestraiError | None:
    """What a fault means to whoever wraps with the key `name`; None where it means the same as anywhere."""
    if fault.code in _WRONG_KEY:
        return wrong_key(name, f"that it does not ({fault.code})")
    from orchestrai.storage.cloud.cloud_errors import Meaning

    if fault.meaning is Meaning.MISSING or fault.code in _NO_KEY:
        code = fault.code or fault.status
        return ConfigError(f"expected the key {name} to be there and enabled, found {code}: correct or enable it")
    return None
