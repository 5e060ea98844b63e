"""From a URL to the store behind it."""

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from orchestrai.core import plugins
from orchestrai.errors import ConfigError
from orchestrai.project.in_force import connection_for
from orchestrai.project.url_cover import CLOUDS, named
from orchestrai.secrets.url_credentials import refuse_credentials
from orchestrai.settings import Settings
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore

if TYPE_CHECKING:
    from orchestrai.project.identity_spec import Cloud
    from orchestrai.storage.cloud.connection import Backend, StoreOptions

CLOUD = ("s3", "s3a", "az", "azure", "abfs", "abfss", "gs", "gcs")
# what every store is opened through meanwhile
_THROUGH: ContextVar[Callable[[Store], Store] | None] = ContextVar("_THROUGH", default=None)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")


def open_store(url: str, options: "StoreOptions | None" = None) -> Store:
    """Open the store at `url`: a path, file:, memory:, s3://, az://, abfss:// or gs://, or a scheme that a plug-in adds.

    Without `options` it is reached by the connection that the URL names (`s3+replica://bucket`) or that covers it, else as the cloud's
    standard environment variables say, read now. A cloud store retries. Raises ConfigError, never with a secret in its message.
    """
    store, through = _opened(url, options), _THROUGH.get()
    return store if through is None else through(store)


@contextmanager
def opened_through(wrap: Callable[[Store], Store]) -> Iterator[None]:
    """For a while each store that is opened here is what `wrap` makes of it; one that was opened before is what it was."""
    token = _THROUGH.set(wrap)
    try:
        yield
    finally:
        _THROUGH.reset(token)


def _opened(given: str, options: "StoreOptions | None") -> Store:
    url, name = named(given)
    if name and options is None:
        options = _declared(given)
    scheme = _scheme(url)
    if not scheme:
        return LocalStore(Path(url).expanduser())
    if scheme == "file":
        return LocalStore(_file_path(url))
    if scheme == "memory":
        return MemoryStore(name=url.partition(":")[2].strip("/") or "memory")
    if scheme not in CLOUD:
        return _added(scheme, url)
    return _cloud(scheme, url, options if options is not None else _declared(url))


def _declared(url: str) -> "StoreOptions":
    """The options of the connection in force for a URL of a cloud."""
    from orchestrai.storage.cloud.connection import StoreOptions

    _require_cloud(named(url)[0].partition(":")[0])
    return StoreOptions(connection=connection_for(url, cloud_of(url)).declared)


def _require_cloud(scheme: str) -> None:
    if scheme not in CLOUD:
        raise ConfigError(
            f"expected the name of a connection in a URL of {', '.join(CLOUD)}, found {scheme}: leave the name out"
        )


def cloud_of(url: str) -> "Cloud":
    """The cloud of a URL of `CLOUD`."""
    return CLOUDS.get(named(url)[0].partition(":")[0], "azure")


def address_of(store: Store) -> str:
    """The URL by which another process opens a store as this one did: with the name of the connection that it is reached by."""
    inner: object = store
    while (base := getattr(inner, "base", None)) is not None:
        inner = base
    connection = getattr(getattr(getattr(inner, "backend", None), "options", None), "connection", None)
    return store.url if connection is None else store.url.replace("://", f"+{connection.name}://", 1)


def open_within_limits(url: str, settings: Settings) -> Store:
    """Open the store of a vault or replica at `url`, within the limits of the settings; raises as `open_store`."""
    store = open_store(url)
    if not settings.limited:
        return store
    # here, because most commands have no limits
    from orchestrai.storage.limits import limited, limits_in

    return limited(store, limits_in(settings))


def check_url(url: str) -> None:
    """Raise ConfigError for a URL that no store has; opens nothing and asks for no credentials."""
    url, name = named(url)
    scheme = _scheme(url)
    if name:
        _require_cloud(scheme)
    if scheme == "file":
        _file_path(url)
    elif scheme in CLOUD:
        parts = urlsplit(url)
        if scheme in ("abfs", "abfss"):
            _container(parts)
        else:
            _bucket(parts, scheme)
        _prefix(parts)


def _scheme(url: str) -> str:
    """The scheme of a URL, nothing for a path; raises ConfigError for one that no store has, or with a credential in it."""
    refuse_credentials(url)
    scheme = url.partition(":")[0] if ":" in url else ""
    if not scheme or "/" in scheme:
        return ""
    if scheme not in ("file", "memory", *CLOUD) and plugins.find("stores", scheme) is None:
        added = "".join(f", {name}://" for name in plugins.names("stores"))
        raise ConfigError(
            f"expected a path or a URL of file:, memory:, s3://, az://, abfss:// or gs://{added}, found {scheme}: correct it, or install "
            "the package that adds it"
        )
    return scheme


def _added(scheme: str, url: str) -> Store:
    """The store that a plug-in opens: its entry point takes the URL."""
    return plugins.make(plugins.required("stores", scheme), Store, url)  # type: ignore[type-abstract]


def _file_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ConfigError(f"expected file:///path, found the host {parts.netloc!r} in it: write three slashes")
    return Path(unquote(parts.path))


def _cloud(scheme: str, url: str, options: "StoreOptions") -> Store:
    # here, because a command on a local store takes half as long without them
    from orchestrai.storage.cloud.aws import S3Backend
    from orchestrai.storage.cloud.google import GcsBackend
    from orchestrai.storage.objects import ObjectStore
    from orchestrai.storage.retry import RetryingStore

    parts = urlsplit(url)
    backend: Backend
    if scheme in ("s3", "s3a"):
        backend = S3Backend(_bucket(parts, scheme), _prefix(parts), options.for_s3(os.environ))
    elif scheme in ("gs", "gcs"):
        backend = GcsBackend(_bucket(parts, scheme), _prefix(parts), options.for_gcs(os.environ))
    else:
        backend = _azure(parts, scheme, options)
    budget = options.connection.retries if options.connection is not None else None
    if budget is None:
        return RetryingStore(ObjectStore(backend))
    within = budget.within.total_seconds() if budget.within is not None else math.inf
    return RetryingStore(ObjectStore(backend), retries=budget.attempts - 1, within=within)


def _azure(parts: SplitResult, scheme: str, options: "StoreOptions") -> "Backend":
    from orchestrai.storage.cloud.azure import AzureBackend

    if scheme in ("abfs", "abfss"):
        container, account = _container(parts)
        options = replace(options, account_name=account)
    else:
        container = _bucket(parts, scheme)
    return AzureBackend(container, _prefix(parts), options.for_azure(os.environ))


def _container(parts: SplitResult) -> tuple[str, str]:
    """The container and the account of abfss://container@account.dfs.core.windows.net."""
    container, at, host = parts.netloc.partition("@")
    account = host.partition(".")[0]
    if not at or ":" in container or not re.fullmatch("[a-z0-9]{3,24}", account):
        raise ConfigError("expected abfss://container@account.dfs.core.windows.net/prefix: correct the URL")
    return container, account


def _bucket(parts: SplitResult, scheme: str) -> str:
    # the text is not shown where it may hold a password
    if "@" in parts.netloc or not _BUCKET.fullmatch(parts.netloc):
        raise ConfigError(f"expected {scheme}://bucket/prefix with a plain bucket name and no credentials: correct the URL")
    return parts.netloc


def _prefix(parts: SplitResult) -> str:
    if parts.query or parts.fragment:
        raise ConfigError(f"expected {parts.scheme}://bucket/prefix, found a query or fragment in it: remove it")
    segments = [segment for segment in parts.path.split("/") if segment]
    if any(segment in (".", "..") for segment in segments):
        raise ConfigError(f"expected a prefix of plain segments, found {parts.path!r}: correct the URL")
    return "".join(f"{segment}/" for segment in segments)
