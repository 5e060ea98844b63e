"""Online features over HTTP: what an inference client asks for by key, with its age and whether it is stale."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrai.core.identity import Clock, utc_now
from orchestrai.errors import FeatureViewError, OrchestraiError
from orchestrai.features.by_key.online import OnlineStore, flag_online

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_KEYS = 10_000
JUDGE_SECONDS = 30.0


class FeaturesRequest(BaseModel):
    """Keys to look up: the entity's columns of each, in order."""

    model_config = ConfigDict(extra="forbid")
    keys: list[list[str | int | bool]] = Field(min_length=1, max_length=MAX_KEYS)


class EntityFeatures(BaseModel):
    """The newest features of one entity; `time` is null and `values` empty for one never seen.

    `age_seconds` counts from `time`. `stale` says whether data has changed since that they were made of, and `why`; null where nobody
    looked.
    """

    key: list[str | int | bool]
    time: str | None
    values: dict[str, Any]
    age_seconds: float | None = None
    stale: bool | None = None
    why: str | None = None


class FeaturesResponse(BaseModel):
    """One row per key, in their order, the feature table's version they were read from, the view's digest, and when it was looked at
    which features are stale.
    """

    version: str
    definition: str
    judged: str | None = None
    rows: list[EntityFeatures]


@dataclass
class Flags:
    """Keeps the flags of online stores as they are by now: asks at most once per `every` seconds which partitions of a view are stale."""

    stale: Callable[[str], Mapping[str, str]]
    clock: Clock = utc_now
    every: float = JUDGE_SECONDS
    _asked: dict[str, datetime] = field(default_factory=dict)

    def refresh(self, view: str, path: Path) -> None:
        """Bring one store's flags up to date; where they cannot be told or written, the older ones stay with the time they are of."""
        now = self.clock()
        if view in self._asked and (now - self._asked[view]).total_seconds() < self.every:
            return
        self._asked[view] = now
        with suppress(OrchestraiError, sqlite3.OperationalError):
            flag_online(path, self.stale(view), now)


def features_app(stores: Mapping[str, Path], flags: Flags | None = None, clock: Clock = utc_now) -> "FastAPI":
    """The application: POST /{view} with keys, GET / lists the views and the version each serves.

    `stores` maps a view to its file, and `flags` keep what is said of stale features true between updates. Answers 404 for another
    view, 503 before its first update. It has no authentication.
    """
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    def answer(store: OnlineStore, key: list[str | int | bool]) -> EntityFeatures:
        row = store.get(*key)
        if row is None:
            return EntityFeatures(key=key, time=None, values={})
        return EntityFeatures(
            key=key,
            time=row.time.isoformat(),
            values=row.values,
            age_seconds=round(row.age(clock()).total_seconds(), 3),
            stale=None if row.stale is None else bool(row.stale),
            why=row.stale or None,
        )

    app = FastAPI(title="orchestrai online features", docs_url=None, redoc_url=None)

    @app.get("/")
    def views() -> Any:
        versions = {}
        for name, path in sorted(stores.items()):
            if path.is_file():
                with OnlineStore(path) as store:
                    versions[name] = store.version
        return versions

    @app.post("/{view}", response_model=FeaturesResponse)
    def features(view: str, request: FeaturesRequest) -> Any:
        if view not in stores:
            return JSONResponse({"detail": f"expected one of {', '.join(sorted(stores))}, found {view}"}, status_code=404)
        try:
            # one connection a request: SQLite's readers see one state each
            if flags is not None:
                flags.refresh(view, stores[view])
            with OnlineStore(stores[view]) as store, store.reading():
                rows = [answer(store, key) for key in request.keys]
                judged = store.judged.isoformat() if store.judged else None
                return FeaturesResponse(version=store.version, definition=store.definition, judged=judged, rows=rows)
        except FeatureViewError as exc:
            return JSONResponse({"detail": exc.message}, status_code=503)

    return app
