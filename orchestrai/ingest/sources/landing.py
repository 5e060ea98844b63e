"""Open the place where producers put objects."""

from hashlib import sha256
from pathlib import Path

from orchestrai.errors import StorageError
from orchestrai.ingest.sources.access.http_client import check_api
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.base import Store
from orchestrai.storage.url import check_url, open_store


def open_landing(url: str, home: Path) -> Store:
    """The store of landed objects; relative paths lie under `home`.

    What is pulled from an HTTP API is landed below `home` first, so that its original bytes are kept like any other.
    """
    if url.startswith(("http://", "https://")):
        return open_store(str(home / "landing" / f"pulled-{sha256(url.encode()).hexdigest()[:12]}"))
    if "://" in url or Path(url).is_absolute():
        return open_store(url)
    return open_store(str(home / url))


def check_landing(source: SourceSpec) -> None:
    """Raise ConfigError for a URL at which no objects can be, or no HTTP API; asks nobody."""
    if source.kind == "http":
        check_api(source)
    elif not source.url.startswith(("http://", "https://")):
        check_url(source.url)


def require_landing(landing: Store, source: SourceSpec) -> Store:
    """The landing; raises StorageError for a folder that is not there, which a store of files would list as empty."""
    inside = None if source.kind == "http" else landing.local_path("probe")
    if inside is not None and not inside.parent.is_dir():
        raise StorageError(f"expected the landing folder {inside.parent}, found none: mount or make it, or mend source.url")
    return landing
