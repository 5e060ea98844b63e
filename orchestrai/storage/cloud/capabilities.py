"""From a store to what it can do beyond holding objects."""

from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import Capabilities, ControlPlane
from orchestrai.storage.objects import ObjectStore
from orchestrai.storage.retry import RetryingStore


def control_plane(store: Store) -> ControlPlane | None:
    """The control plane of a cloud store; None for stores that have none, such as a local directory."""
    while isinstance(store, RetryingStore):
        store = store.base
    return store.backend.control() if isinstance(store, ObjectStore) else None


def capabilities(store: Store) -> Capabilities:
    """What a store can do, asked from its own configuration: a store that cannot lock is never called locked."""
    control = control_plane(store)
    return Capabilities() if control is None else control.capabilities()
