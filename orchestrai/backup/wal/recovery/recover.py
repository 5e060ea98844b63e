"""A server restored to a moment from vault bytes alone, proven by its own programs, and left stopped in a new folder."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrai.backup.databases.dump_tools import counted
from orchestrai.backup.wal.log_archive import DATA
from orchestrai.backup.wal.positions import Piece, piece_of
from orchestrai.backup.wal.programs import Account, Programs, account, find_programs
from orchestrai.backup.wal.recovery.recovery_plan import RecoveryPlan, Target, joined
from orchestrai.backup.wal.recovery.scratch_server import Recovered, TargetNotReached, recovered, restore_command
from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConfigError, RestoreError, StorageError
from orchestrai.restore.folder import restore_folder, told_of
from orchestrai.storage.postgres import connection
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.vault import Vault

# looks at the recovered server before it is stopped
Look = Callable[[Recovered], None]
_LEFT = ("postmaster.opts", "recovery.signal", "backup_label.old")


@dataclass(frozen=True)
class Recovery:
    """What a recovery did and how long each part took; `last_commit` is the newest transaction's own time."""

    plan: RecoveryPlan
    folder: Path
    seconds: float
    fetched_seconds: float
    verified_seconds: float
    recovered_seconds: float
    started: bool = True
    replayed: str = ""
    last_commit: str = ""
    timeline: int = 0
    tables: Mapping[str, int] | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        figures = ("seconds", "fetched_seconds", "verified_seconds", "recovered_seconds")
        return {
            "plan": self.plan.as_json(),
            "folder": str(self.folder),
            **{name: round(getattr(self, name), 3) for name in figures},
            "started": self.started,
            "replayed": self.replayed,
            "last_commit": self.last_commit,
            "timeline": self.timeline,
            "tables": dict(self.tables) if self.tables is not None else None,
        }


def recover(
    vault: Vault,
    plan: RecoveryPlan,
    target: Path,
    *,
    tools: str = "",
    start: bool = True,
    look: Look | None = None,
    durable: bool = True,
) -> Recovery:
    """Restore a server into `target`, which must not exist yet; what failed or was killed leaves nothing there.

    With `start` it is started, recovered to its target, promoted, counted, looked at and stopped. Without, the base, its log beside it and
    the settings of the recovery are left for a person to start. Raises RestoreError, IntegrityError, ConfigError, StorageError.
    """
    programs = find_programs(plan.base.server.major, tools)
    who = account() if start else Account()
    target = target.expanduser().absolute()
    beside = target.with_name(f"{target.name}.wal")
    _require_room(plan, target, beside if not start else None)
    who.require_reach(target)
    begun = time.perf_counter()
    with _workplace(target) as work:
        data, log = _fetch(vault, plan, work)
        fetched = time.perf_counter()
        who.own(work)
        _verify(data, programs, who)
        verified = time.perf_counter()
        done = Recovery(plan, target, 0, fetched - begun, verified - fetched, 0, start)
        if start:
            done = _run(plan, data, log, programs, who, look, durable, done)
            _leave(data)
        else:
            (data / "recovery.signal").touch(mode=0o600)
            _write_settings(data, _settings(plan, plan.target, beside))
            os.rename(log, beside)
        os.rename(data, target)
    end = time.perf_counter()
    return replace(done, seconds=end - begun, recovered_seconds=end - verified)


def _fetch(vault: Vault, plan: RecoveryPlan, work: Path) -> tuple[Path, Path]:
    """Base, segments and histories from the vault, every hash checked."""
    restore_folder(vault, plan.base.commit, work / "base", partitions=[DATA], sync=False)
    data, log = work / "base" / DATA, work / "log"
    with told_of(work):
        for folder in plan.base.folders:
            (data / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        data.chmod(0o700)
        log.mkdir(mode=0o700)
        size = plan.base.server.segment_bytes
        for name, files in plan.segments.items():
            _write_segment(vault, log / name, files, size)
        for name, file in plan.histories.items():
            (log / name).write_bytes(b"".join(vault.stream(file)))
    return data, log


def _write_segment(vault: Vault, path: Path, files: list[StoredFile], size: int) -> None:
    """Join pieces to a segment; what is not written yet is zeros, as on the server."""
    by_piece: dict[Piece, StoredFile] = {}
    for file in files:
        piece = piece_of(file.path, file.size, size)
        assert piece is not None
        by_piece[piece] = file
    with path.open("wb") as sink:
        for piece, known in joined(by_piece, size):
            skip = known
            for chunk in vault.stream(by_piece[piece]):
                sink.write(chunk[skip:])
                skip = max(0, skip - len(chunk))
        sink.truncate(size)


def _verify(data: Path, programs: Programs, who: Account) -> None:
    """Have the server's own program compare the base with its manifest, and read its log."""
    answer = subprocess.run(
        [programs.path("pg_verifybackup"), "--exit-on-error", "--quiet", str(data)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
        **who.options,
    )
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip()[-400:]
        raise RestoreError(f"expected a base backup as its manifest says, found: {said}: restore from another base")


def _settings(plan: RecoveryPlan, target: Target, log: Path) -> dict[str, str]:
    return {
        "restore_command": restore_command(log),
        "recovery_target_timeline": str(plan.timeline),
        "recovery_target_action": "promote",
        **target.settings(),
    }


def _run(
    plan: RecoveryPlan, data: Path, log: Path, programs: Programs, who: Account, look: Look | None, durable: bool, done: Recovery
) -> Recovery:  # fmt: skip
    (data / "recovery.signal").touch(mode=0o600)
    who.own(data)
    speed = {} if durable else {"fsync": "off", "full_page_writes": "off"}
    database = str(plan.base.witness.get("database") or "postgres")

    def run(target: Target) -> Recovery:
        settings = {**_settings(plan, target, log), **speed}
        with recovered(data, programs, who, settings, plan.base.role, database) as server:
            replayed, commit, timeline = server.ask(
                "SELECT pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp(), (SELECT timeline_id FROM pg_control_checkpoint())"
            )
            with connection(server.reference) as opened:
                tables = counted(opened)
            if look is not None:
                look(server)
        last = commit.isoformat() if commit else ""
        return replace(done, replayed=str(replayed or ""), last_commit=last, timeline=int(timeline), tables=tables)

    try:
        return run(plan.target)
    except TargetNotReached:
        # nothing was committed between the moment and the end of the log, and the log is known to reach beyond the moment
        if plan.target.kind != "time":
            raise
        return run(Target())


def _leave(data: Path) -> None:
    """Take away what was of the trial run alone."""
    for name in _LEFT:
        (data / name).unlink(missing_ok=True)


def _write_settings(data: Path, settings: Mapping[str, str]) -> None:
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
    with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as sink:
        sink.writelines(["# the recovery; the server removes recovery.signal once it is done\n", *lines])


def _require_room(plan: RecoveryPlan, target: Path, beside: Path | None) -> None:
    for place in filter(None, (target, beside)):
        if place.exists() or place.is_symlink():
            raise RestoreError(f"expected no {place} yet, found one: restore elsewhere, live data is never written over")
    parent = next(folder for folder in target.parents if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < plan.bytes:
        raise StorageError(f"expected {plan.bytes:,} bytes free in {parent}, found {free:,}: restore to a larger disk")


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, locked as long as it is in use; what a killed restore left in it goes first."""
    work = target.with_name(f".{target.name}.recovering")
    with told_of(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"expected no other restore into {target}, found one running: wait for it") from None
        _empty(work.iterdir())
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(descriptor)


def _empty(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
