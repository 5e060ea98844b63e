"""Dumps in the vault: kept as a dataset, read back from a restored folder, and proven in a scratch database.

The newest dump is the whole dataset; what retention keeps are its snapshots. `dump.json` beside the files says what they must hold,
so that a restore needs neither the lake nor Dagster.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrai.backup.databases.dump import (
    POSTGRES,
    SQLITE,
    Dump,
    DumpFile,
    dump_sqlite,
    restore_postgres,
    restore_sqlite,
)
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, IntegrityError, RestoreError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.report import StageReport
from orchestrai.stage.context import RunContext
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import SourceFile, StoredAt, file_token, held
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.run import KeepTask, keep
from orchestrai.vault.vault import Vault

PRODUCER = Producer("dump", __name__)

NOTE = "dump.json"
HEADER = b"SQLite format 3\0"


@dataclass(frozen=True)
class DumpNote:
    """What dump.json says: the engine, and the rows of each table of each file."""

    engine: str
    files: Mapping[str, Mapping[str, int]]


def read_note(data: bytes) -> DumpNote:
    """Read dump.json; raises IntegrityError."""
    try:
        body = json.loads(data)
        return DumpNote(str(body["engine"]), {path: dict(tables) for path, tables in body["files"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise IntegrityError(f"expected what a dump holds in {NOTE}, found something else ({exc})") from exc


@dataclass(frozen=True)
class Earlier:
    """The dump before: its files as the vault lists them, and what they hold."""

    files: Mapping[str, StoredFile]
    tables: Mapping[str, Mapping[str, int]]


def earlier_dump(vault: Vault, dataset: str) -> Earlier:
    """The newest dump that the vault holds of a dataset; empty when there is none."""
    commits = vault.snapshots(dataset)
    if not commits:
        return Earlier({}, {})
    files = {file.path: file for file in vault.files(commits[-1], WHOLE)}
    note = read_note(b"".join(vault.stream(files[NOTE]))) if NOTE in files else DumpNote(SQLITE, {})
    return Earlier(files, note.files)


def sqlite_files(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Every SQLite database below some folders, by its path in the dump (the folder's name, then where it lies in it)."""
    databases = {}
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*.db")):
            if path.is_file() and not path.is_symlink() and _is_sqlite(path):
                databases["/".join(part for part in (name, path.relative_to(folder).as_posix()) if part)] = path
    return databases


def dump_sqlite_files(databases: Mapping[str, Path], into: Path, earlier: Earlier) -> Dump:
    """Dump several SQLite databases as one; each is consistent by itself, and one that did not change is not read.

    A database that goes while it is dumped (a run that is deleted) is left out. Raises ConfigError where there is none at all.
    """
    files = []
    for number, (name, path) in enumerate(sorted(databases.items())):
        try:
            token = _token(path)
        except FileNotFoundError:
            continue
        known = earlier.files.get(name)
        if known is not None and known.token == token and name in earlier.tables:
            files.append(DumpFile(name, None, known.size, earlier.tables[name], token))
            continue
        (one,) = dump_sqlite(path, into / str(number)).files
        files.append(DumpFile(name, one.source, one.size, one.tables, token))
    if not files:
        raise ConfigError("expected at least one SQLite database to dump, found none: is this the right folder?")
    return Dump(SQLITE, sqlite3.sqlite_version, tuple(files), {"databases": len(files)})


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(HEADER)) == HEADER


def _token(path: Path) -> str:
    """Changes whenever the database or what waits in its write-ahead log does."""
    log = path.with_name(path.name + "-wal")
    waiting = log.stat() if log.exists() else None
    tail = f"+{file_token(waiting)}" if waiting is not None and waiting.st_size else ""
    return file_token(path.stat()) + tail


def keep_dump(
    context: RunContext, vault: Vault, *, asset: str, dump: Dump, producer: Producer = PRODUCER, minimum_rows: int = 0
) -> StageReport:
    """Commit a dump to the vault under the asset's own name, and publish it; what the vault has is not written again.

    A dump without tables, or with fewer than `minimum_rows` rows, closes the gate: an empty backup is no backup.
    """
    enough = bool(dump.tables) and dump.rows >= minimum_rows
    message = f"{dump.rows} rows in {len(dump.tables)} tables"
    if not enough:
        message = f"expected tables with at least {minimum_rows} rows in all, found {message}: check what was dumped"
    verdict = Verdict("dump", enough, message, details={"tables": len(dump.tables), "rows": dump.rows})
    note = canonical_json(dump.as_json())
    sources = [_source(file) for file in dump.files]
    facts = {"engine": dump.engine, "server_version": dump.server_version, "tables": len(dump.tables), **dict(dump.facts)}
    contents = {WHOLE: [*sources, held(NOTE, note)]}
    task = KeepTask(asset, asset, producer, contents, {WHOLE: [verdict]}, facts=facts)
    return keep(context, vault, task)


def _source(file: DumpFile) -> SourceFile:
    # an unchanged file is found by its token; nothing is at this place to be read
    path = file.source or Path("/unchanged") / file.path
    return SourceFile(file.path, file.size, StoredAt(LocalStore(path.parent), path.name), "", file.rows, "data", file.token)


def prove_sqlite(folder: Path, scratch: Path) -> dict[str, int]:
    """Open every database of a restored dump in scratch files and count again; raises RestoreError, IntegrityError."""
    note = _note_in(folder, SQLITE)
    counts: dict[str, int] = {}
    for number, (path, tables) in enumerate(sorted(note.files.items())):
        counted = restore_sqlite(folder / path, scratch / f"{number}.sqlite", tables=tables)
        (scratch / f"{number}.sqlite").unlink()
        counts |= {f"{path}:{name}": rows for name, rows in counted.items()}
    return counts


def prove_postgres(folder: Path, url: str, *, tools: Path | None = None) -> Mapping[str, int]:
    """Restore a dump into the empty database behind `url`, a secret reference, and count again; raises RestoreError."""
    note = _note_in(folder, POSTGRES)
    (path, tables) = next(iter(note.files.items()))
    return restore_postgres(folder / path, url, tables=tables, tools=tools)


def engine_of(folder: Path) -> str:
    """The engine of a restored dump; raises ConfigError for a folder that is none."""
    return _note_in(folder, "").engine


def _note_in(folder: Path, engine: str) -> DumpNote:
    path = folder / NOTE
    if not path.is_file():
        raise ConfigError(f"expected a restored dump in {folder}, found no {NOTE}: restore a database's dataset")
    note = read_note(path.read_bytes())
    if engine and note.engine != engine:
        raise RestoreError(f"expected a dump of {engine}, found one of {note.engine}: restore it with its own tools")
    return note
