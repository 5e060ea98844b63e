"""Base backups: a whole server copied by its own pg_basebackup, with the log that makes the copy consistent inside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrai.backup.databases.dump_tools import run_tool
from orchestrai.backup.wal.log_archive import FORMAT, NOTE_FILE, ServerNote
from orchestrai.backup.wal.positions import parse_lsn
from orchestrai.backup.wal.programs import find_programs
from orchestrai.backup.wal.receiver.replication import replication
from orchestrai.backup.wal.recovery.witness import witness_or_none
from orchestrai.backup.wal.server import ServerFacts, server_facts
from orchestrai.core.canonical import JsonValue
from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.storage.postgres import connection, tool_connection
from orchestrai.vault.commit.source import SourceFile, held

MANIFEST = "backup_manifest"


@dataclass(frozen=True)
class TakenBase:
    """A base backup in a folder; `note` is what is kept beside it."""

    folder: Path
    note: Mapping[str, JsonValue]
    hashes: Mapping[str, str]
    facts: ServerFacts

    def sources(self) -> list[SourceFile]:
        """Its files, for the vault; those that its manifest hashes are not read where the vault has them."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [self._source(path.relative_to(self.folder).as_posix(), path) for path in files]

    def beside(self) -> SourceFile:
        """The note."""
        return held(NOTE_FILE, canonical_json(dict(self.note)))

    def _source(self, name: str, path: Path) -> SourceFile:
        return SourceFile(name, path.stat().st_size, path, self.hashes.get(name, ""))


def take_base(reference: str, slot: str, into: Path, *, tools: str = "", timeout: float = 12 * 3600.0) -> TakenBase:
    """Copy a server into a folder that must not exist yet; raises ConfigError with all that is wrong before anything runs, StorageError."""
    facts = server_facts(reference, slot)
    facts.require_ready()
    programs = find_programs(facts.major, tools, "pg_basebackup")
    with replication(reference) as server:
        segment_bytes = server.segment_bytes()
    options = ["--format=plain", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256", "--no-password"]
    with tool_connection(reference) as (conninfo, secret):
        command = [programs.path("pg_basebackup"), f"--dbname={conninfo}", f"--pgdata={into}", *options, "--no-sync"]
        run_tool(command, secret, reference, timeout)
    stopped, next_xid = _after(reference)
    manifest = _manifest(into)
    ranges = manifest["WAL-Ranges"]
    server_note = ServerNote(facts.system, facts.major, segment_bytes)
    note: dict[str, JsonValue] = {
        **server_note.as_json(),
        "format": FORMAT,
        "timeline": int(ranges[-1]["Timeline"]),
        "start": str(ranges[0]["Start-LSN"]),
        "end": str(ranges[-1]["End-LSN"]),
        "stopped": stopped.isoformat(),
        "next_xid": next_xid,
        "role": facts.superuser,
        "tool_version": programs.version,
        # a vault keeps files; a server misses its empty folders
        "folders": list[JsonValue](sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_dir())),
        "witness": witness_or_none(reference).as_json(),
    }
    parse_lsn(str(note["end"]))
    hashes = {
        str(file["Path"]): str(file["Checksum"]) for file in manifest["Files"] if file.get("Checksum-Algorithm") == "SHA256"
    }
    return TakenBase(into, note, hashes, facts)


def _after(reference: str) -> tuple[datetime, int]:
    """The server's clock once the backup has ended, and the transaction that comes next."""
    with connection(reference, autocommit=True) as opened:
        stopped, next_xid = opened.execute(
            "SELECT clock_timestamp(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone()
    return stopped, int(next_xid)


def _manifest(folder: Path) -> dict[str, list[dict[str, str]]]:
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_bytes())
        assert body["WAL-Ranges"] and body["Files"]
    except (OSError, ValueError, KeyError, AssertionError, TypeError) as exc:
        raise IntegrityError(f"expected {MANIFEST} of pg_basebackup, found none that can be read ({exc})") from exc
    return dict(body)
