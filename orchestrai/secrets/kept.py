"""Secrets read from remote stores, kept in memory for a declared time: rotation needs no restart, an outage of minutes stops no run."""

import importlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrai.errors import ConfigError, TransientStorageError
from orchestrai.secrets.reference import RemoteSecret

# the adapter: the one place that knows clouds stands above this layer, and is loaded when the first remote secret is read
ADAPTER = "orchestrai.storage.cloud.secret_stores"
# after `keep`, what was read may serve this many times as long again while its store does not answer, and then no more
GRACE = 3
Fetch = Callable[[RemoteSecret], str]


def fetch(place: RemoteSecret) -> str:
    """The text of a secret, by the adapter; raises ConfigError, TransientStorageError."""
    return str(importlib.import_module(ADAPTER).fetch(place))


@dataclass(frozen=True, repr=False)
class _Read:
    at: float
    text: str


@dataclass(repr=False)
class KeptSecrets:
    """Texts of secrets by reference, in memory only; `clock` tells seconds that never go back."""

    fetch: Fetch = fetch
    clock: Callable[[], float] = time.monotonic
    _read: dict[str, _Read] = field(default_factory=dict)
    # each is held while a store is asked for one secret, so that it is asked once. Its own credentials may be a secret of another store,
    # which another thread asks for: one lock for all would have the two wait for each other
    _locks: dict[str, threading.RLock] = field(default_factory=dict)

    def text(self, place: RemoteSecret) -> str:
        """The secret, asked of its store when it is older than declared.

        Raises ConfigError where it is not there or not allowed, from then on; TransientStorageError where the store does not answer and
        nothing young enough is kept.
        """
        with self._locks.setdefault(place.reference, threading.RLock()):
            read, now = self._read.get(place.reference), self.clock()
            if read is None or now - read.at >= place.keep:
                read = self._anew(place, read, now)
            return _part(place, read.text)

    def forget(self) -> None:
        """Read every secret anew at its next use."""
        self._read.clear()

    def _anew(self, place: RemoteSecret, read: _Read | None, now: float) -> _Read:
        try:
            fresh = _Read(now, self.fetch(place))
        except TransientStorageError:
            if read is not None and now - read.at < place.keep * (1 + GRACE):
                return read
            self._read.pop(place.reference, None)
            raise
        except ConfigError:
            # revoked or removed: what was kept ends with it
            self._read.pop(place.reference, None)
            raise
        self._read[place.reference] = fresh
        return fresh


def _part(place: RemoteSecret, text: str) -> str:
    if not place.key:
        return text
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    value = document.get(place.key) if isinstance(document, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ConfigError(
            f"expected a JSON object with text under {place.key!r} at {place.reference.partition('#')[0]}, found none: set it, or name "
            "another key"
        )
    return str(value)


SECRETS = KeptSecrets()
