"""`backup restore|receive|base|status`: databases that are kept by their write-ahead log, and dumps by the same command."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import VaultUrl, moment_of, name_in, open_existing, open_runtime
from orchestrai.cli.output import OK, AsJson, emit, err, make_app, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.backup.subjects import DatabaseNode
    from orchestrai.backup.wal.log_position import LogPosition
    from orchestrai.backup.wal.recovery.recover import Recovery
    from orchestrai.backup.wal.recovery.recovery_plan import Target
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.vault.vault import Vault

backup = make_app("Databases to a moment: restore, receive, base, status.")
Name = Annotated[str, typer.Argument(help="a declared database, for example shop/crm")]


@backup.command("restore")
def restore_command(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="folder to make; it must not exist yet")],
    at: Annotated[str | None, typer.Option("--at", help="the last commit by this time (ISO, UTC)")] = None,
    xid: Annotated[
        int | None, typer.Option("--xid", help="through this transaction, as pg_current_xact_id() gave it")
    ] = None,
    lsn: Annotated[str | None, typer.Option("--lsn", help="through this position, such as 0/3000148")] = None,
    point: Annotated[str | None, typer.Option("--point", help="a point that pg_create_restore_point named")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="the end of the log, which is the default")] = False,
    base: Annotated[str, typer.Option("--base", help="the id of the base backup to start from")] = "",
    timeline: Annotated[int | None, typer.Option("--timeline", help="a timeline that was left behind by a failover")] = None,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="leave the recovery to you: its settings are written")
    ] = False,
    only_plan: Annotated[bool, typer.Option("--plan", help="show what would be read, and stop")] = False,
    tools: Annotated[str, typer.Option("--tools", help="the folder of the server's programs")] = "",
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Restore a database to a moment into a new folder, from vault bytes alone, every hash checked.

    Of a server that is kept by its log the folder is a data directory: verified by pg_verifybackup, started on a private socket,
    recovered to the target, counted and stopped. It is on a new timeline then. Of what is dumped (SQLite, `method: dump`) the newest
    dump before --at is written. Needs no declaration, and no server.

    Example: orchestrai backup restore shop/crm --to ./crm --at 2026-11-30T10:00:00Z
    """
    kept = open_existing(url)
    dataset = name_in(kept, name)
    choices = (at, xid, lsn, point)
    if sum(choice is not None for choice in choices) + latest > 1:
        raise ConfigError("expected at most one of --at, --xid, --lsn, --point and --latest, found more")
    if not dataset.endswith("/base"):
        if any((*(choice is not None for choice in choices[1:]), base, timeline, no_start, only_plan)):
            raise ConfigError(f"expected only --at or --latest for {dataset}, which is dumped, found another option")
        _restore_dump(kept, dataset, to, at, as_json)
        return
    from orchestrai.backup.wal.log_archive import read_bases, read_log
    from orchestrai.backup.wal.recovery.recover import recover
    from orchestrai.backup.wal.recovery.recovery_plan import plan_recovery

    state = read_log(kept, f"{dataset.removesuffix('/base')}/wal")
    plan = plan_recovery(read_bases(kept, dataset), state, _target(choices, base, timeline))
    if not as_json:
        taken = f"base of {plan.base.stopped:%Y-%m-%d %H:%M:%S} UTC, {len(plan.segments):,} segments of log"
        out.print(f"{plan.target}: {taken}, {plan.bytes:,} bytes into {to}", soft_wrap=True)
        if plan.coverage.hole and plan.target.kind == "latest":
            out.print(f"[yellow]what lies behind a hole is not reached: {plan.coverage.hole}[/yellow]", soft_wrap=True)
    if only_plan:
        if as_json:
            emit({"plan": plan.as_json()})
        return
    done = recover(kept, plan, to, tools=tools, start=not no_start)
    if as_json:
        emit(done.as_json())
    else:
        _show(done)


def _show(done: "Recovery") -> None:
    plan = done.plan
    if not done.started:
        out.print(
            f"[green]restored[/green], not recovered: start PostgreSQL {plan.base.server.major} on {done.folder}",
            soft_wrap=True,
        )
        out.print(f"its log lies in {done.folder}.wal; set archive_mode off first if it would archive", soft_wrap=True)
        if plan.target.kind == "time":
            out.print(
                "where nothing was committed after that moment, it ends before its target: take recovery_target_time out then"
            )
        return
    rows, last = sum((done.tables or {}).values()), done.last_commit or "before the base"
    out.print(
        f"[green]restored[/green] and recovered in {done.seconds:.1f} s to {done.replayed}, last commit {last}; "
        f"{rows:,} rows in {len(done.tables or {})} tables; stopped, on timeline {done.timeline}",
        soft_wrap=True,
    )


def _target(choices: tuple[str | None, int | None, str | None, str | None], base: str, timeline: int | None) -> "Target":
    from orchestrai.backup.wal.positions import lsn_text, parse_lsn
    from orchestrai.backup.wal.recovery.recovery_plan import Target

    at, xid, lsn, point = choices
    if at is not None:
        moment = moment_of(at)
        return Target("time", moment.isoformat(), moment, base=base, timeline=timeline)
    if xid is not None:
        return Target("xid", str(xid), number=xid, base=base, timeline=timeline)
    if lsn is not None:
        number = parse_lsn(lsn)
        return Target("lsn", lsn_text(number), number=number, base=base, timeline=timeline)
    if point is not None:
        return Target("name", point, base=base, timeline=timeline)
    return Target(base=base, timeline=timeline)


def _restore_dump(kept: "Vault", dataset: str, to: Path, at: str | None, as_json: bool) -> None:
    """The newest dump before a moment: what was written since is not in it."""
    from orchestrai.restore.folder import restore_folder

    commit = kept.latest(dataset, moment_of(at) if at else None)
    size = restore_folder(kept, commit, to)
    if as_json:
        emit({"snapshot": commit.as_json(), "folder": str(to), "bytes": size})
        return
    out.print(
        f"[green]restored[/green] the dump of {commit.committed:%Y-%m-%d %H:%M:%S} UTC, {size:,} bytes, each proven; "
        "what was written after it is not in it",
        soft_wrap=True,
    )


@backup.command("receive")
def receive_command(
    name: Name,
    loop: Annotated[
        bool, typer.Option("--loop/--no-loop", help="follow until told to stop, or commit what is there and end")
    ] = True,
    take_bases: Annotated[
        bool, typer.Option("--bases/--no-bases", help="take a base backup where none leads to now")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Follow a server's write-ahead log into the vault. Ends cleanly on SIGTERM and SIGINT, goes on where the vault ends.

    The server keeps what the vault does not have yet, in a replication slot. An outage of the server is waited out. For a service of
    systemd, or a container; without one the sensor of the asset does the same each tick.

    Example: orchestrai backup receive shop/crm
    """
    from orchestrai.backup.wal.log_position import base_needed, log_source
    from orchestrai.backup.wal.receiver.receive import Receiver
    from orchestrai.backup.wal.receiver.receiver_service import ReceiverService

    runtime, subject = _declared(name)
    if not loop:
        done = Receiver(runtime.vault, log_source(subject, runtime.vault, runtime.settings)).catch_up()
        needed = base_needed(subject, runtime.vault)
        if needed and take_bases:
            runtime.run(runtime.project.nodes[subject.backup_asset], ["all"])
    else:
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        started = _Bases(name, take_bases)
        service = ReceiverService(runtime.vault, subject, runtime.settings, _tell, started.take)
        done = service.run(stop)
        started.end()
    if as_json:
        emit({"commits": done.commits, "bytes": done.bytes, "timeline": done.timeline, "notes": done.notes})
        return
    for note in done.notes:
        out.print(note, markup=False, soft_wrap=True)
    out.print(f"[green]received[/green] {done.bytes:,} bytes in {done.commits:,} commits")


class _Bases:
    """Base backups in a process of their own, so that the log goes on being received; one at a time."""

    def __init__(self, name: str, wanted: bool) -> None:
        self.name, self.wanted = name, wanted
        self.process: subprocess.Popen[bytes] | None = None

    def take(self, why: str) -> None:
        """Begin one, unless one is under way."""
        if not self.wanted:
            _tell(f"{why}: take a base backup with `orchestrai backup base {self.name}`")
        elif self.process is None or self.process.poll() is not None:
            _tell(f"{why}: taking a base backup")
            command = [sys.executable, "-c", "from orchestrai.cli import main; main()", "backup", "base", self.name]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end(self) -> None:
        """Stop one that is under way."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _tell(text: str) -> None:
    err.print(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} {text}", markup=False, soft_wrap=True)


@backup.command("base")
def base_command(name: Name, as_json: AsJson = False) -> None:
    """Take a base backup now, and publish it as the scheduled one.

    Example: orchestrai backup base shop/crm
    """
    runtime, subject = _declared(name)
    report = runtime.run(runtime.project.nodes[subject.backup_asset], ["all"])
    verdicts = [verdict for outcome in report.outcomes for verdict in outcome.verdicts]
    passed = all(verdict.passed for verdict in verdicts)
    if as_json:
        emit({"asset": report.asset, **report.facts, "passed": passed})
    else:
        table(f"Base of {name}", ("check", "", "finding"), [(v.check, OK[v.passed], v.message) for v in verdicts])
    raise typer.Exit(0 if passed else 1)


@backup.command("status")
def status_command(
    name: Annotated[str | None, typer.Argument(help="a declared database; default: all that are kept by their log")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what can be restored, whether the log has a hole, and how much would be lost now. Exit code 1 when a check fails.

    Example: orchestrai backup status shop/crm --json
    """
    runtime = open_runtime()
    subjects = [_declared(name)[1]] if name else _followed(runtime)
    positions = [_position(runtime, subject) for subject in subjects]
    passed = all(verdict.passed for position in positions for verdict in position.verdicts)
    if as_json:
        emit([position.as_json() for position in positions])
    else:
        rows = [(p.name, v.check, OK[v.passed], v.message) for p in positions for v in p.verdicts]
        table("Databases kept by their log", ("database", "check", "", "finding"), rows)
        for position in positions:
            for reach in position.reach:
                out.print(f"{position.name}: {reach}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if passed else 1)


def _position(runtime: "Runtime", subject: "DatabaseNode") -> "LogPosition":
    from orchestrai.backup.wal.log_position import log_position

    return log_position(subject, runtime.vault, runtime.clock())


def _followed(runtime: "Runtime") -> "list[DatabaseNode]":
    from orchestrai.backup.wal.log_position import followed

    return followed(runtime.project.nodes.values())


def _declared(name: str) -> "tuple[Runtime, DatabaseNode]":
    """The runtime and a declared database that is kept by its log; raises ConfigError."""
    runtime = open_runtime()
    subjects = {subject.prefix: subject for subject in _followed(runtime)}
    if name not in subjects:
        known = ", ".join(sorted(subjects)) or "(none)"
        raise ConfigError(f"expected one of the databases with method wal, {known}, found {name!r}")
    return runtime, subjects[name]
