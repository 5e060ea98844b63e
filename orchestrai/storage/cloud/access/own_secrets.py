"""The secrets of a connection, looked up when it is used; and who takes the place of a declared identity."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import ConfigError
from orchestrai.project.connection_set import ConnectionSet
from orchestrai.project.connection_spec import Connection
from orchestrai.secrets.reference import resolve_secret

_ASKING = threading.local()


def secret_of(connection: Connection, reference: str) -> str:
    """The secret behind a reference of a connection; raises ConfigError where it could only be read by the connection itself."""
    asking: list[str] = getattr(_ASKING, "names", [])
    if connection.name in asking:
        circle = " -> ".join([*asking, connection.name])
        raise ConfigError(
            f"expected the secrets of a connection to lie elsewhere than behind it, found {circle}: move one of them"
        )
    _ASKING.names = [*asking, connection.name]
    try:
        return resolve_secret(reference)
    finally:
        _ASKING.names = asking


@dataclass(frozen=True)
class Provider:
    """What a resource of Dagster gives in place of a declared identity: each a function, called when it is first needed.

    `aws_keys` gives access key, secret and session token; `azure` what an SDK of Azure takes as a credential; `google` credentials.
    With `everywhere` another process that has the connection alone comes to the same by the chain of its machine.
    """

    aws_keys: Callable[[], tuple[str, str, str | None]] | None = field(default=None, repr=False)
    azure: Callable[[], Any] | None = field(default=None, repr=False)
    google: Callable[[], Any] | None = field(default=None, repr=False)
    everywhere: bool = False

    @property
    def here_alone(self) -> bool:
        """Whether it gives what this process holds, which no other process can be told without telling the secret."""
        return not self.everywhere and any((self.aws_keys, self.azure, self.google))


_PROVIDERS: dict[str, Provider] = {}


def provide(name: str, provider: Provider | None) -> None:
    """Let a provider say who calls by the connection of this name; None lets the declared identity say it again."""
    if provider is None:
        _PROVIDERS.pop(name, None)
    else:
        _PROVIDERS[name] = provider


def provider_of(connection: Connection) -> Provider:
    """Who says who calls by a connection, where it is not the declared identity."""
    return _PROVIDERS.get(connection.name, Provider()) if connection.name else Provider()


def require_sendable(connections: ConnectionSet) -> None:
    """Raise ConfigError for connections whose credentials are in this process alone, before another one is to call by them."""
    here = sorted(one.shown for one in connections.by_name.values() if provider_of(one).here_alone)
    if here:
        raise ConfigError(
            f"expected credentials that Spark's workers find too, found {', '.join(here)} with a resource of Dagster that holds them: "
            "declare the identity in the project file by reference (access_key: {id: env://..., secret: env://...}) or by role, or give "
            "the resource a profile_name; or unset ORCHESTRAI_ENGINE and ORCHESTRAI_SPARK_THRESHOLD_BYTES"
        )
