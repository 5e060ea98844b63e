"""Online reads: the newest features of an entity by key, from one SQLite file built from a feature table.

Readers on other threads and processes see the state before or after an update, never between.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import all_quoted, literal, quoted
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.views.moment_partitions import made_by
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger

_LAYOUT = 3
PARTITIONS_AT_ONCE = 64
UNIT = "orchestrai_unit"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS latest (entity TEXT PRIMARY KEY, time TEXT NOT NULL, unit TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS latest_unit ON latest (unit);
CREATE TABLE IF NOT EXISTS source (partition TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (partition TEXT, path TEXT, sha256 TEXT NOT NULL, PRIMARY KEY (partition, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stale (partition TEXT PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;
"""
# rows of a partition begin their unit with its key
_WHY = "SELECT why FROM stale WHERE substr(latest.unit, 1, length(partition) + 1) = partition || '/'"
_UPSERT = """
INSERT INTO latest VALUES (?, ?, ?, ?) ON CONFLICT (entity) DO UPDATE
SET time = excluded.time, unit = excluded.unit, body = excluded.body WHERE excluded.time >= latest.time
"""


@dataclass(frozen=True)
class OnlineRow:
    """The newest features of one entity: their event or as-of time, and the feature table's version they were read from.

    `stale` says which data has changed since that they were made of, and is empty where none has, as it was looked at `judged`; both are
    None where nobody did.
    """

    entity: tuple[JsonValue, ...]
    time: datetime
    version: str
    values: dict[str, JsonValue]
    stale: str | None = None
    judged: datetime | None = None

    def age(self, now: datetime) -> timedelta:
        """How old they are."""
        return now - self.time


@dataclass(frozen=True)
class OnlineUpdate:
    """What an update did: the version now served, partitions read, and entities known."""

    version: str
    partitions: int
    entities: int


class OnlineStore:
    """Reads of one online store; raises FeatureViewError where none was built."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FeatureViewError(f"expected an online store at {path.name}, found none: build it with update_online")
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )

    def get(self, *entity: JsonValue) -> OnlineRow | None:
        """The newest features of an entity, or None for one never seen."""
        judged = self.judged
        why = "NULL" if judged is None else f"COALESCE(({_WHY}), '')"
        row = self._db.execute(
            f"SELECT entity, time, body, (SELECT value FROM meta WHERE name = 'version'), {why} FROM latest WHERE entity = ?",
            (json.dumps(entity),),
        ).fetchone()
        if row is None:
            return None
        return OnlineRow(
            tuple(json.loads(row[0])), datetime.fromisoformat(row[1]), row[3], json.loads(row[2]), row[4], judged
        )

    @property
    def judged(self) -> datetime | None:
        """When it was last looked at which features are stale; None where that was never done, as in files of earlier releases."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'judged'").fetchone()
        return None if row is None else datetime.fromisoformat(row[0])

    @property
    def version(self) -> str:
        """The feature table's version that is served."""
        return str(self._db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()[0])

    @property
    def definition(self) -> str:
        """The digest of the view whose features these are: a model that learned from another one must not be given them."""
        return str(self._db.execute("SELECT value FROM meta WHERE name = 'definition'").fetchone()[0])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the store for the length of a `with` block, whatever is updated meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> "OnlineStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def update_online(
    ledger: Ledger, view: FeatureView, *, asset: str, path: Path, stale: Mapping[str, str] | None = None
) -> OnlineUpdate:
    """Bring the store at `path` to the feature table's current version, reading only files that are new in changed partitions.

    `stale` are its stale partitions with the reason, which reads tell from then on.

    Idempotent and atomic. Only partitions that this very definition of the view computed are served. A file that is gone takes
    back what was served from it; entities whose newest row it held fall back to their newest row elsewhere.
    """
    dataset = ledger.open(asset)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        if db.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:
            db.executescript(
                "".join(f"DROP TABLE IF EXISTS {name};" for name in ("latest", "source", "held", "meta", "stale"))
            )
        db.executescript(f"{_SCHEMA} PRAGMA user_version = {_LAYOUT};")
        with _transaction(db):
            known = dict(db.execute("SELECT partition, state FROM source"))
            if db.execute("SELECT value FROM meta WHERE name = 'definition'").fetchone() != (view.hash,):
                known = dict.fromkeys(known, "")
            # the same bytes may come from another definition: its receipt says so
            roots = {key: f"{entry.root} {entry.receipt}" for key, entry in dataset.partitions.items()}
            changed = sorted(key for key in {*known, *roots} if known.get(key) != roots.get(key))
            added = {key: _exchange(db, view, dataset, key) for key in changed}
            _read(db, view, dataset, added)
            # an entity whose newest row is gone falls back to its next newest, in whatever partition that lies
            for key in sorted(roots, reverse=True):
                if not db.execute("SELECT 1 FROM latest WHERE time = '' LIMIT 1").fetchone():
                    break
                held = {name for (name,) in db.execute("SELECT path FROM held WHERE partition = ?", (key,))}
                _read(db, view, dataset, {key: held - added.get(key, set())})
            db.execute("DELETE FROM latest WHERE time = ''")
            db.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (dataset.version,))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('definition', ?)", (view.hash,))
            if stale is not None:
                _flag(db, stale, ledger.clock())
            entities = int(db.execute("SELECT count(*) FROM latest").fetchone()[0])
    return OnlineUpdate(dataset.version, len([key for key in changed if key in roots]), entities)


def flag_online(path: Path, stale: Mapping[str, str], now: datetime) -> None:
    """Note in a store which partitions are stale and why, as of `now`; does nothing where there is none yet, or of another layout."""
    if not path.is_file():
        return
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as db:
        if db.execute("PRAGMA user_version").fetchone()[0] == _LAYOUT:
            db.executescript(_SCHEMA)
            with _transaction(db):
                _flag(db, stale, now)


def _flag(db: sqlite3.Connection, stale: Mapping[str, str], now: datetime) -> None:
    db.execute("DELETE FROM stale")
    db.executemany("INSERT INTO stale VALUES (?, ?)", sorted(stale.items()))
    db.execute("INSERT OR REPLACE INTO meta VALUES ('judged', ?)", (now.isoformat(),))


def _exchange(db: sqlite3.Connection, view: FeatureView, dataset: Dataset, partition: str) -> set[str]:
    """Note which files a partition has now and take back what those served that are gone; returns the files to read.

    A partition of another definition of the view counts as one without files.
    """
    entry = dataset.partitions.get(partition)
    ours = entry is not None and made_by(dataset, partition) == view.hash
    now = {part.path: part.sha256 for part in dataset.files(partition).files if part.role == "data"} if ours else {}
    then = dict(db.execute("SELECT path, sha256 FROM held WHERE partition = ?", (partition,)))
    for name in (name for name, digest in then.items() if now.get(name) != digest):
        db.execute("UPDATE latest SET time = '' WHERE unit = ?", (f"{partition}/{name}",))
        db.execute("DELETE FROM held WHERE partition = ? AND path = ?", (partition, name))
    db.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", [(partition, *item) for item in now.items()])
    if entry is None:
        db.execute("DELETE FROM source WHERE partition = ?", (partition,))
    else:
        db.execute("INSERT OR REPLACE INTO source VALUES (?, ?)", (partition, f"{entry.root} {entry.receipt}"))
    return {name for name, digest in now.items() if then.get(name) != digest}


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _read(db: sqlite3.Connection, view: FeatureView, dataset: Dataset, wanted: Mapping[str, set[str]]) -> None:
    """Take in the newest row of each entity from the wanted files of each partition, a number of partitions at a time."""
    keys = sorted(key for key, names in wanted.items() if names)
    engine = DuckDbEngine()
    for chunk in (keys[at : at + PARTITIONS_AT_ONCE] for at in range(0, len(keys), PARTITIONS_AT_ONCE)):
        with dataset.fetched(chunk) as files:
            units = {
                file.path: f"{key}/{file.entry.path}"
                for key in chunk
                for file in files[key]
                if file.entry.path in wanted[key]
            }
            db.executemany(_UPSERT, _newest(engine, view, units))


def _newest(engine: DuckDbEngine, view: FeatureView, units: Mapping[Path, str]) -> Iterator[tuple[str, str, str, str]]:
    """Key, time, unit and features by entity; of rows at one moment that of the last unit."""
    with engine.connect() as workspace:
        db = workspace.connection
        placed = {str(workspace.place(path)): unit for path, unit in units.items()}
        sql = (
            f"SELECT rows.* FROM read_parquet({workspace.paths(units)}, filename = {literal(UNIT)}) AS rows "
            f"JOIN units ON units.path = rows.{quoted(UNIT)} "
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {all_quoted(view.entity)} "
            f"ORDER BY {quoted(view.time)} DESC, units.number DESC) = 1"
        )
        listed = pa.table({"path": list(placed), "number": range(len(placed))})
        db.register("units", listed)
        features, entity_of = view.features, len(view.entity)
        for batch in db.sql(sql).to_arrow_reader(65_536):
            columns = [_plain_values(batch.column(name)) for name in (*view.entity, *features)]
            times, places = (batch.column(name).to_pylist() for name in (view.time, UNIT))
            for row, time, place in zip(zip(*columns, strict=True), times, places, strict=True):
                key, body = json.dumps(row[:entity_of]), json.dumps(dict(zip(features, row[entity_of:], strict=True)))
                yield key, time.isoformat(timespec="microseconds"), placed[place], body


def _plain_values(column: pa.Array) -> list[JsonValue]:
    """A column's values as JSON has them: dates and times in ISO 8601, decimals as text."""
    values: list[JsonValue] = column.to_pylist()
    if pa.types.is_decimal(column.type):
        return [None if value is None else str(value) for value in values]
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    return values


def online_path(home: Path, pipeline: str, view: str) -> Path:
    """The file from which the newest features of a view are read by key."""
    return home / "online" / pipeline / f"{view}.sqlite"
