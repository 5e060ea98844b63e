"""Where bytes live: one protocol, one adapter per kind of store, no knowledge of data."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.storage.base import ObjectInfo, Store
    from orchestrai.storage.capabilities import capabilities, control_plane
    from orchestrai.storage.control import Capabilities, ControlPlane, Retention
    from orchestrai.storage.local import LocalStore
    from orchestrai.storage.memory import MemoryStore
    from orchestrai.storage.options import StoreOptions
    from orchestrai.storage.retry import RetryingStore
    from orchestrai.storage.url import open_store

__all__ = [
    "Capabilities",
    "ControlPlane",
    "LocalStore",
    "MemoryStore",
    "ObjectInfo",
    "Retention",
    "RetryingStore",
    "Store",
    "StoreOptions",
    "capabilities",
    "control_plane",
    "open_store",
]

lazily(
    __name__,
    {
        "base": ("ObjectInfo", "Store"),
        "capabilities": ("capabilities", "control_plane"),
        "control": ("Capabilities", "ControlPlane", "Retention"),
        "local": ("LocalStore",),
        "memory": ("MemoryStore",),
        "options": ("StoreOptions",),
        "retry": ("RetryingStore",),
        "url": ("open_store",),
    },
)
