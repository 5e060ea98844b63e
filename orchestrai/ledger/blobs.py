"""Content-addressed records: where they lie and how they are written once."""

from orchestrai.errors import IntegrityError, ObjectExists
from orchestrai.storage.base import Store


def blob_key(kind: str, digest: str) -> str:
    """Where a content-addressed record lies."""
    return f"{kind}/{digest[:2]}/{digest}.json"


def put_absent(store: Store, key: str, data: bytes) -> None:
    """Create an object, or find it already there with the same bytes; raises IntegrityError on other bytes."""
    try:
        store.write(key, data, create=True)
    except ObjectExists:
        if store.read(key) != data:
            raise IntegrityError(f"expected {key} in {store.url} to hold what is being written, found other bytes") from None
