"""The catalog of an Iceberg table: a database by SQL, or a service by Iceberg's REST protocol; and its errors as ours.

Whatever a table's properties or a service say, metadata is read and written by the product's own stores, and a service is asked where and
as it is declared: what pyiceberg would take over from either may name classes to load.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from orchestrai.errors import AccessRefused, ConcurrentCommit, ConfigError, MissingExtra, StorageError, TransientStorageError
from orchestrai.secrets.reference import scrubbed
from orchestrai.storage.base import Store
from orchestrai.storage.url import address_of
from orchestrai.warehouse.tables.location import reader_url

CATALOG = "orchestrai"
# so often somebody else may be in between
MAKERS = 5
# seconds that a service may take to connect, and between two bytes
PATIENCE = (10, 120)
# what a service may say of how it is asked
TOLD = ("prefix", "namespace-separator")


@dataclass(frozen=True)
class IcebergPlace:
    """Which table: its identifier, the URL of its catalog, and the store that its metadata lies in, under `folder`.

    The catalog is SQLAlchemy's URL of a database, or the https URL of a service, with `access` as pyiceberg's properties, secrets resolved.
    """

    identifier: str
    catalog: str
    store: Store
    folder: str
    access: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def rest(self) -> bool:
        """Whether the catalog is a service."""
        return self.catalog.startswith(("https://", "http://"))

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What no message may show."""
        if self.rest:
            return tuple(str(self.access[name]) for name in ("token", "secret") if name in self.access)
        from sqlalchemy import make_url

        return (make_url(self.catalog).password,)


def open_catalog(place: IcebergPlace) -> Any:
    """pyiceberg's catalog; one of a database has its tables afterwards. Raises MissingExtra, and what `translated` reads."""
    try:
        from pyiceberg.catalog.sql import SqlCatalog
    except ImportError as exc:
        raise MissingExtra("expected the package pyiceberg, found none: install orchestrai[iceberg]") from exc
    from orchestrai.warehouse.tables.iceberg.store_io import ADDRESS, BASE, StoreIO

    own = {BASE: reader_url(place.store), ADDRESS: address_of(place.store)}
    if place.rest:
        return _service(place, lambda: StoreIO(own))

    class Database(SqlCatalog):
        """A catalog of which no table names what it is read by."""

        def _load_file_io(self, properties: Any = None, location: str | None = None) -> StoreIO:
            return StoreIO(own)

    # it reads the newest metadata by the properties, and then would read by those of the table
    given = {"uri": place.catalog, "py-io-impl": f"{StoreIO.__module__}.{StoreIO.__name__}", **own}
    return settled(lambda: Database(CATALOG, **given))


def _service(place: IcebergPlace, file_io: Callable[[], Any]) -> Any:
    from pyiceberg.catalog.rest import RestCatalog

    class Service(RestCatalog):
        """A catalog that takes over no more from its service than how its paths are written."""

        def _fetch_config(self) -> None:
            own, uri = dict(self.properties), self.uri
            super()._fetch_config()
            if urlsplit(self.uri)[:2] != urlsplit(uri)[:2]:
                raise ConfigError(
                    f"expected the catalog to be at {uri}, found that it names {self.uri}: declare that URL if it is yours"
                )
            self.properties = {**own, **{name: self.properties[name] for name in TOLD if name in self.properties}}
            self.uri = uri

        def _create_session(self) -> Any:
            session: Any = super()._create_session()
            session.request = partial(session.request, timeout=PATIENCE)
            # readers and writers here have their own credentials for the store
            session.headers.pop("X-Iceberg-Access-Delegation", None)
            return session

        def _load_file_io(self, properties: Any = None, location: str | None = None) -> Any:
            return file_io()

    return Service(CATALOG, uri=place.catalog, **_properties(place.access))


def _properties(access: Mapping[str, Any]) -> dict[str, Any]:
    """pyiceberg's properties: an application's id and secret are exchanged for tokens, a token is sent as it is."""
    given = {"warehouse": access["warehouse"]} if access.get("warehouse") else {}
    if access.get("token"):
        return {**given, "token": access["token"]}
    if access.get("secret"):
        from orchestrai.warehouse.tables.iceberg import client_token

        told = {name: access[name] for name in ("client", "secret", "token_url", "scope")}
        kind = f"{client_token.__name__}.{client_token.client_token.__name__}"
        return {**given, "auth": {"type": "custom", "impl": kind, "custom": told}}
    return {**given, "auth": {"type": "noop"}}


def settled(task: Callable[[], Any]) -> Any:
    """Several that make the tables or the namespace of a catalog at once: who comes later finds them there."""
    import sqlalchemy as sa

    for _ in range(MAKERS):
        try:
            return task()
        except (sa.exc.OperationalError, sa.exc.IntegrityError, sa.exc.ProgrammingError):
            continue
    return task()


@contextmanager
def translated(place: IcebergPlace) -> Iterator[None]:
    """What pyiceberg, its catalog and our stores raise, as errors of ours: ConcurrentCommit, ConfigError, StorageError."""
    import pyiceberg.exceptions as errors
    import sqlalchemy as sa

    shown = place.identifier
    try:
        yield
    except (errors.CommitFailedException, errors.CommitStateUnknownException) as exc:
        raise ConcurrentCommit(f"expected to be the only writer of {shown}, found another: run it again") from exc
    except FileNotFoundError as exc:
        raise ConfigError(
            f"expected the metadata of {shown} under {reader_url(place.store)}, found {exc}: declare another name, or drop the table from "
            "its catalog where the lake was moved"
        ) from exc
    except errors.ValidationError as exc:
        raise ConfigError(
            f"expected {shown} to take the columns as they are now, found: {exc}; share them under another name"
        ) from exc
    except sa.exc.SQLAlchemyError as exc:
        raise _silent(place, str(getattr(exc, "orig", None) or exc), StorageError, "check address and access") from None
    except (errors.RESTError, errors.NoSuchNamespaceError, NotImplementedError, OSError, ValueError) as exc:
        told = _of_service(exc) if place.rest else None
        if told is None:
            raise
        raise _silent(place, f"{type(exc).__name__} {exc}", *told) from None


def _of_service(exc: Exception) -> tuple[type[StorageError | ConfigError], str] | None:
    """The error that an answer of a service, or none, is to us, with what to do; None for what is no such answer."""
    import pyiceberg.exceptions as errors
    import requests
    from pydantic import ValidationError

    response = getattr(exc, "response", None)
    if isinstance(
        exc, errors.UnauthorizedError | errors.ForbiddenError | errors.OAuthError | errors.AuthorizationExpiredError
    ):
        return AccessRefused, "check the token, or the client and its rights on the namespace"
    if isinstance(exc, requests.HTTPError) and response is not None and response.status_code < 500:
        return AccessRefused, "check client, secret, token_url and scope"
    if isinstance(
        exc, errors.ServiceUnavailableError | errors.TooManyRequestsError | errors.ServerError | requests.RequestException
    ):
        return TransientStorageError, "run it again"
    if isinstance(exc, NotImplementedError | ValidationError):
        return ConfigError, "name the URL under which the service has /v1/config, of a catalog that takes commits"
    if isinstance(exc, errors.RESTError | errors.NoSuchNamespaceError):
        return StorageError, "look at the catalog's own log"
    return None


def _silent(
    place: IcebergPlace, found: str, kind: type[StorageError | ConfigError], remedy: str
) -> StorageError | ConfigError:
    told = scrubbed(found.split("\n")[0][:200], *place.secrets)
    return kind(f"expected the catalog of {place.identifier} to answer, found: {told}; {remedy}")
