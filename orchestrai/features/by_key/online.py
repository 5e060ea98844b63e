"""Online reads: the newest features of an entity by key, from one SQLite file built from a feature table.

Readers on other threads and processes see the state before or after an update, never between. The features lie column-wise in slices
(key_slices.py), each row with the number of the file that it is from; a file that is gone takes its number with it.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import FeatureViewError, IntegrityError
from orchestrai.features.by_key import key_slices
from orchestrai.features.by_key.changed_keys import Changes, changes
from orchestrai.features.by_key.entity_keys import key_of, plain_values
from orchestrai.features.by_key.newest_rows import TIME, UNIT, Rows, in_files, newest
from orchestrai.features.views.moment_partitions import made_by
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger

_LAYOUT = 4
PARTITIONS_AT_ONCE = 64
# of layout 3: one row an entity, as JSON
_FORMER = ("latest", "held")
_TABLES = ("slice", "block", "unit", "source", "meta", "stale")
_SCHEMA = f"""
{key_slices.SCHEMA}
CREATE TABLE IF NOT EXISTS unit (
  number INTEGER PRIMARY KEY AUTOINCREMENT, partition TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, UNIQUE (partition, path));
CREATE TABLE IF NOT EXISTS source (partition TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stale (partition TEXT PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;
"""
_WHY = "SELECT why FROM stale JOIN unit USING (partition) WHERE unit.number = ?"


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
        """The newest features of an entity, or None for one never seen; raises IntegrityError for bytes that are not as written."""
        if not self._db.in_transaction:
            with self.reading():
                return self.get(*entity)
        found = key_slices.find(self._db, key_of(entity))
        if found is None:
            return None
        head, values = found
        why, judged = self._db.execute(_WHY, (head.column(UNIT)[0].as_py(),)).fetchone(), self.judged
        plain = {
            name: plain_values(column.chunk(0))[0] for name, column in zip(values.column_names, values.columns, strict=True)
        }
        stale = None if judged is None else "" if why is None else str(why[0])
        return OnlineRow(entity, head.column(TIME)[0].as_py(), self.version, plain, stale, judged)

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
            db.executescript("".join(f"DROP TABLE IF EXISTS {name};" for name in (*_FORMER, *_TABLES)))
        db.executescript(f"{_SCHEMA} PRAGMA user_version = {_LAYOUT};")
        with _transaction(db):
            if db.execute("SELECT value FROM meta WHERE name = 'definition'").fetchone() != (view.hash,):
                _empty(db)
            try:
                partitions = _exchange_all(db, view, dataset)
            except _Unreadable:
                # it is made of the feature table alone
                _empty(db)
                partitions = _exchange_all(db, view, dataset)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (dataset.version,))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('definition', ?)", (view.hash,))
            if stale is not None:
                _flag(db, stale, ledger.clock())
            entities = _entities(db)
    return OnlineUpdate(dataset.version, partitions, entities)


class _Unreadable(Exception):
    """A block of the store is not as it was written."""


def _exchange_all(db: sqlite3.Connection, view: FeatureView, dataset: Dataset) -> int:
    """Take in what changed since the last time; returns how many partitions of the table did."""
    known = dict(db.execute("SELECT partition, state FROM source"))
    # the same bytes may come from another definition: its receipt says so
    roots = {key: f"{entry.root} {entry.receipt}" for key, entry in dataset.partitions.items()}
    changed = sorted(key for key in {*known, *roots} if known.get(key) != roots.get(key))
    added: dict[str, dict[str, int]] = {}
    gone: set[int] = set()
    for key in changed:
        added[key], dropped = _exchange(db, view, dataset, key)
        gone |= dropped
    if gone or any(added.values()):
        new = _read(view, dataset, added)
        try:
            found = changes([key_slices.heads_of(db, one) for one in key_slices.slices(db)], new, gone)
        except IntegrityError as exc:
            raise _Unreadable from exc
        earlier = _fallen_back(db, view, dataset, found, added)
        rows, difference = found.rows(view, earlier)
        try:
            if len(rows):
                key_slices.add(db, rows)
        except IntegrityError as exc:
            raise _Unreadable from exc
        db.execute("INSERT OR REPLACE INTO meta VALUES ('entities', ?)", (str(_entities(db) + difference),))
    return len([key for key in changed if key in roots])


def _entities(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM meta WHERE name = 'entities'").fetchone()
    return 0 if row is None else int(row[0])


def _empty(db: sqlite3.Connection) -> None:
    for name in ("block", "slice", "unit", "source"):
        db.execute(f"DELETE FROM {name}")
    db.execute("DELETE FROM meta WHERE name = 'entities'")


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


def _exchange(
    db: sqlite3.Connection, view: FeatureView, dataset: Dataset, partition: str
) -> tuple[dict[str, int], set[int]]:
    """Note which files a partition has now; returns the numbers of those that are new, by path, and of those that are gone.

    A partition of another definition of the view counts as one without files.
    """
    entry = dataset.partitions.get(partition)
    ours = entry is not None and made_by(dataset, partition) == view.hash
    now = {part.path: part.sha256 for part in dataset.files(partition).files if part.role == "data"} if ours else {}
    then = {
        path: (number, digest)
        for number, path, digest in db.execute("SELECT number, path, sha256 FROM unit WHERE partition = ?", (partition,))
    }
    gone = {number for path, (number, digest) in then.items() if now.get(path) != digest}
    db.executemany("DELETE FROM unit WHERE number = ?", [(number,) for number in sorted(gone)])
    added = {}
    for path, digest in sorted(now.items()):
        if then.get(path, (0, ""))[1] != digest:
            cursor = db.execute("INSERT INTO unit (partition, path, sha256) VALUES (?, ?, ?)", (partition, path, digest))
            added[path] = int(cursor.lastrowid or 0)
    if entry is None:
        db.execute("DELETE FROM source WHERE partition = ?", (partition,))
    else:
        db.execute("INSERT OR REPLACE INTO source VALUES (?, ?)", (partition, f"{entry.root} {entry.receipt}"))
    return added, gone


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _read(view: FeatureView, dataset: Dataset, wanted: Mapping[str, Mapping[str, int]]) -> Rows:
    """The newest row of each entity in the wanted files of each partition, a number of partitions at a time."""
    keys = sorted(key for key, names in wanted.items() if names)
    rows = in_files(view, [])
    for chunk in (keys[at : at + PARTITIONS_AT_ONCE] for at in range(0, len(keys), PARTITIONS_AT_ONCE)):
        digests = {file.sha256 for key in chunk for file in dataset.files(key).files if file.path in wanted[key]}
        with dataset.fetched(chunk, only=digests) as files:
            numbered = [
                (file.path, wanted[key][file.entry.path])
                for key in chunk
                for file in files[key]
                if file.entry.path in wanted[key]
            ]
            part = in_files(view, numbered)
        rows = newest([rows, part]) if len(rows) else part
    return rows


def _fallen_back(
    db: sqlite3.Connection, view: FeatureView, dataset: Dataset, found: Changes, added: Mapping[str, Mapping[str, int]]
) -> Rows:
    """Rows of entities whose newest one is gone, from files that stay: the newest partition first, as far back as any is missing."""
    rows, left = in_files(view, []), found.missing
    for key in sorted(dataset.partitions, reverse=True) if len(left) else ():
        held = {path: number for path, number in db.execute("SELECT path, number FROM unit WHERE partition = ?", (key,))}
        stays = {path: number for path, number in held.items() if path not in added.get(key, {})}
        part = found.only(_read(view, dataset, {key: stays}), left)
        rows = newest([part, rows]) if len(rows) else part
        # what a new file of this partition has is no older than all that partitions before it have
        left = found.still_missing(left, part, set(added.get(key, {}).values()))
        if not len(left):
            break
    return rows


def online_path(home: Path, pipeline: str, view: str) -> Path:
    """The file from which the newest features of a view are read by key."""
    return home / "online" / pipeline / f"{view}.sqlite"
