"""Open the place where producers put objects."""

from hashlib import sha256
from pathlib import Path

from orchestrai.storage import LocalStore, Store, open_store


def open_landing(url: str, home: Path) -> Store:
    """The store of landed objects; relative paths lie under `home`.

    What is pulled from an HTTP API is landed below `home` first, so that its original bytes are kept like any other.
    """
    if url.startswith(("http://", "https://")):
        return LocalStore(home / "landing" / f"pulled-{sha256(url.encode()).hexdigest()[:12]}")
    if "://" in url or Path(url).is_absolute():
        return open_store(url)
    return open_store(str(home / url))
