"""Online features over HTTP: what an inference client asks for by key."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrai.errors import FeatureViewError
from orchestrai.features.by_key.online import OnlineStore

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_KEYS = 10_000


class FeaturesRequest(BaseModel):
    """Keys to look up: the entity's columns of each, in order."""

    model_config = ConfigDict(extra="forbid")
    keys: list[list[str | int | bool]] = Field(min_length=1, max_length=MAX_KEYS)


class EntityFeatures(BaseModel):
    """The newest features of one entity; `time` is null and `values` empty for one never seen."""

    key: list[str | int | bool]
    time: str | None
    values: dict[str, Any]


class FeaturesResponse(BaseModel):
    """One row per key, in their order, the feature table's version they were read from, and the view's digest."""

    version: str
    definition: str
    rows: list[EntityFeatures]


def features_app(stores: Mapping[str, Path]) -> "FastAPI":
    """The application: POST /{view} with keys, GET / lists the views and the version each serves.

    `stores` maps a view to its file. Answers 404 for another view, 503 before its first update. It has no authentication.
    """
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

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
            with OnlineStore(stores[view]) as store, store.reading():
                rows = []
                for key in request.keys:
                    row = store.get(*key)
                    rows.append(
                        EntityFeatures(key=key, time=row.time.isoformat() if row else None, values=row.values if row else {})
                    )
                return FeaturesResponse(version=store.version, definition=store.definition, rows=rows)
        except FeatureViewError as exc:
            return JSONResponse({"detail": exc.message}, status_code=503)

    return app
