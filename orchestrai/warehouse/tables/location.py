"""Where objects of a store are for other engines: the URLs that Iceberg and Delta readers take."""

from urllib.parse import unquote, urlsplit

from orchestrai.errors import ConfigError
from orchestrai.storage.base import Store


def reader_url(store: Store) -> str:
    """The URL of a store as other engines open it; raises ConfigError for one that they cannot reach.

    A path of this machine is written as it is: readers take no escapes in it. A container of Azure is named with its account.
    """
    parts = urlsplit(store.url)
    if parts.scheme == "file":
        return f"file://{unquote(parts.path)}".rstrip("/")
    if parts.scheme in ("s3", "gs"):
        return store.url.rstrip("/")
    if parts.scheme in ("az", "abfss"):
        account = _account(store)
        container, path = (parts.netloc.partition("@")[0], parts.path)
        return f"abfss://{container}@{account}.dfs.core.windows.net{path}".rstrip("/")
    raise ConfigError(
        f"expected a lake that other engines reach (a path, s3://, az:// or gs://), found {store.url}: share none of it"
    )


def _account(store: Store) -> str:
    inner: object = store
    while (base := getattr(inner, "base", None)) is not None:
        inner = base
    return str(inner.backend.options.account_name)  # type: ignore[attr-defined]
