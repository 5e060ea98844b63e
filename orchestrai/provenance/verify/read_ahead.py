"""Reads begun before they are asked for, so that records a network away are checked about as quickly as those on a disk."""

from collections.abc import Iterable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast

from orchestrai.storage.base import Store

if TYPE_CHECKING:
    from concurrent.futures import Future

WORKERS = 16
# per plan: what may be in memory before it is asked for
WINDOW = 64


class ReadAhead:
    """A store of which planned objects are read in several threads, a window ahead; all else goes to the store itself.

    Not safe to share between threads. What a planned read raises is raised when it is asked for.
    """

    def __init__(self, store: Store) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._store = store
        self._pool = ThreadPoolExecutor(WORKERS)
        self._begun: dict[str, tuple[Future[bytes], Iterator[str]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def plan(self, keys: Iterable[str]) -> None:
        """Objects that will be read whole, in about this order."""
        waiting = iter(keys)
        for _ in range(WINDOW):
            self._begin(waiting)

    def read(self, key: str, **how: Any) -> bytes:
        """An object's bytes, as the store reads them; of a planned one those that were read ahead."""
        begun = None if how else self._begun.pop(key, None)
        if begun is None:
            return self._store.read(key, **how)
        future, waiting = begun
        self._begin(waiting)
        return future.result()

    def _begin(self, waiting: Iterator[str]) -> None:
        for key in waiting:
            if key not in self._begun:
                self._begun[key] = self._pool.submit(copy_context().run, self._store.read, key), waiting
                return


def reading_ahead(store: Store) -> Store:
    """A store in a cloud (they retry) with its planned objects read ahead; any other as it is."""
    if store.local_path("records") is not None:
        return store
    from orchestrai.storage.retry import RetryingStore

    return cast(Store, ReadAhead(store)) if isinstance(store, RetryingStore) else store


def plan(store: Store, keys: Iterable[str]) -> None:
    """Tell a store what will be read next; nothing happens where it reads its own disk."""
    if isinstance(store, ReadAhead):
        store.plan(keys)
