"""`vault list|show|verify|restore`: snapshots, their proof and their way back."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from orchestrai.cli.lookup import (
    Limit,
    SnapshotId,
    VaultUrl,
    chosen,
    name_in,
    open_existing,
    open_or_none,
    sample_of,
    span_of,
)
from orchestrai.cli.output import OK, AsJson, bars, emit, make_app, out, table
from orchestrai.cli.vault.witness_commands import witness_lines
from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.restore.folder_plan import FolderPlan
    from orchestrai.restore.warm_up import Warmth
    from orchestrai.storage.cloud.control import ControlPlane
    from orchestrai.vault.format.records import SnapshotCommit
    from orchestrai.vault.vault import Vault
    from orchestrai.vault.verify.verify import Level

vault = make_app(
    "Snapshots: list, show, verify, find, browse, restore, prune, drill, lock, replicate, heal, forget, hold, release, holds, "
    "acknowledge, rewrap, repair, pull, recover, warm, witness."
)
SHOWN = 40


@vault.command("list")
def list_command(
    dataset: Annotated[str | None, typer.Argument(help="for example churn/orders; default: all")] = None,
    newest: Annotated[
        int | None, typer.Option(min=1, help="only so many newest snapshots of each dataset; older ones are not read")
    ] = None,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the snapshots that count, oldest first within a dataset, and those whose change is unusual.

    Example: orchestrai vault list churn/orders --newest 20
    """
    from orchestrai.vault.change.unusual_change import alarms

    kept = open_or_none(url, may_be_new=True)
    name = name_in(kept, dataset) if kept is not None and dataset else None
    if kept is None:
        commits, raised = [], []
    elif newest is None:
        commits, raised = kept.snapshots(name), alarms(kept, name)
    else:
        ends = [end for one in ([name] if name else kept.catalog.chains()) if (end := kept.newest(one, newest))]
        commits = [commit for end in ends for commit in end]
        # what is older than what an alarm is judged by is not read either
        raised = [alarm for end in ends for alarm in alarms(kept, end[-1].dataset, last=end[-1].seq)]
    unusual = {one.commit.digest: one for one in raised}
    if as_json:
        told = {digest: one.as_json() for digest, one in unusual.items()}
        emit([commit.as_json() | {"unusual_change": told.get(commit.digest)} for commit in commits])
        return
    rows = [
        (c.dataset, c.snapshot_id[:12], c.seq, f"{c.committed:%Y-%m-%d %H:%M:%S}", c.partitions, c.rows, c.size, c.new_bytes)
        for c in commits
    ]
    table("Snapshots", ("dataset", "id", "seq", "committed (UTC)", "partitions", "rows", "bytes", "new bytes"), rows)
    for alarm in unusual.values():
        out.print(f"unusual: {alarm.message}", style="dim" if alarm.acknowledged else "red", markup=False, soft_wrap=True)


@vault.command("show")
def show_command(
    snapshot_id: SnapshotId,
    partition: Annotated[str | None, typer.Option(help="list the files of this partition")] = None,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show one snapshot and what it holds.

    Example: orchestrai vault show 3f2a --partition 2011-03-14
    """
    kept = open_existing(url)
    commit = kept.get(snapshot_id)
    entries = kept.partitions(commit)
    files = kept.files(commit, partition) if partition else []
    if as_json:
        held = [{"partition": e.partition, "root": e.root, "rows": e.rows, "files": e.files} for e in entries.values()]
        listed = [{"path": f.path, "role": f.role, "bytes": f.size, "rows": f.rows, "sha256": f.sha256} for f in files]
        emit({**commit.as_json(), "held": held, **({"listed": listed} if partition else {})})
        return
    for name in ("snapshot_id", "dataset", "seq", "committed", "version", "digest", "encrypted", "rows", "size"):
        out.print(f"[dim]{name:<12}[/dim] {getattr(commit, name)}", soft_wrap=True)
    if partition:
        table(
            partition,
            ("file", "role", "bytes", "rows", "sha256"),
            [(f.path, f.role, f.size, f.rows, f.sha256) for f in files],
        )
        return
    rows = [(e.partition, e.files, e.rows, e.root[7:19]) for e in entries.values()]
    table("Partitions", ("partition", "files", "rows", "root"), rows)


@vault.command("verify")
def verify_command(
    level: Annotated[str, typer.Option(help="listing, checksum or read")] = "listing",
    sample: Annotated[str | None, typer.Option(help="N/M: with level read, only part N of M of all files")] = None,
    dataset: Annotated[str | None, typer.Option(help="only this dataset")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="only what came since the last sound --new; with level listing")
    ] = False,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check signatures, chains, lists and presence; with level read, every byte. Exit code 1 when anything is wrong.

    With --new, what was found sound before is taken from a record that is signed with your own key and kept at home, and the report
    says since when. Everything is looked at without it.

    That it was read, when and with what result, is left as a signed record in the vault, where it may be written to.

    Example, a thirtieth of all bytes: orchestrai vault verify --level read --sample 7/30
    """
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.protection import anchor_of, witness_of
    from orchestrai.vault.verify.proven import Proven
    from orchestrai.vault.verify.verification_record import record_verification
    from orchestrai.vault.verify.verify import Level, verify

    if level not in get_args(Level):
        raise ConfigError(f"expected one of the levels {', '.join(get_args(Level))}, found {level!r}")
    if new and level != "listing":
        raise ConfigError(f"expected level listing with --new, found {level!r}: what was listed before was not read")
    kept = open_existing(url)
    settings = load_settings()
    witness = witness_of(settings) if url is None else None
    remembered = settings.home / "verified" / f"{sha256_hex(kept.store.url.encode())[:16]}.json"
    with bars(quiet=as_json) as progress:
        report = verify(
            kept,
            level=cast("Level", level),
            sample=sample_of(sample),
            dataset=name_in(kept, dataset) if dataset else None,
            control=control_plane(kept.store),
            anchor=anchor_of(settings),
            witness=witness.of(kept) if witness else None,
            progress=progress,
            proven=Proven.read(kept.keyring, remembered) if new else None,
        )
    if new and report.proven is not None:
        report.proven.keep(kept.signer, remembered)
    name = name_in(kept, dataset) if dataset else None
    unrecorded = record_verification(kept, report, sample_of(sample), name) if level != "listing" else ""
    if as_json:
        emit(report.as_json())
    else:
        if unrecorded:
            out.print(f"[yellow]not recorded[/yellow]: {unrecorded}", soft_wrap=True)
        for finding in report.findings[:SHOWN]:
            out.print(f"[red]{finding.key}[/red]: {finding.problem}", soft_wrap=True)
        out.print(f"{report.snapshots:,} snapshots, {report.objects:,} objects, {report.files_read:,} files read back")
        if report.since is not None:
            out.print(f"what came before was looked at since {report.since:%Y-%m-%d %H:%M:%S} UTC, and not now")
        out.print(f"rollback of the whole vault: {report.rollback}")
        for line in witness_lines(report.witnessed):
            out.print(line, soft_wrap=True)
        out.print(f"{OK[report.ok]}: {len(report.findings)} finding(s)")
    raise typer.Exit(0 if report.ok else 1)


@vault.command("restore")
def restore_command(
    what: Annotated[str, typer.Argument(help="a dataset, for example churn/orders, or a snapshot's id")],
    into: Annotated[Path | None, typer.Option("--into", help="folder to make; it must not exist yet")] = None,
    database: Annotated[
        str | None,
        typer.Option(help="of a PostgreSQL dump: env://NAME of the URL of an empty database to restore into"),
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="newest snapshot committed by this time (ISO, UTC)")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="newest snapshot that bears this tag")] = None,
    snapshot_id: Annotated[str | None, typer.Option("--id", help="this snapshot of the dataset")] = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", "--only", help="A..B, both included, or one partition")
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--file", help="only this file, by its path or name, or a glob; may be repeated")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="folder that may be there, in place of --into")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="with --to: replace files that are in the way")] = False,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="show what would be read and how long it takes, and stop")
    ] = False,
    wait: Annotated[
        str | None, typer.Option("--wait", help="how long to wait for what is in a cold tier, for example 12h")
    ] = None,
    recalled: Annotated[bool, typer.Option("--recalled", help="restore also what was recalled")] = False,
    url: VaultUrl = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Write a snapshot's files to a new folder, every hash checked on the way. Nothing is ever written over.

    With --to, and for single files by --file, the folder may be there and hold others: a file that is in the way is an error, and replaced
    with --overwrite only. `orchestrai vault find` says which snapshots have a file.

    What was recalled is named, and restored with --recalled only.

    The plan says how many bytes are read, how long that should take, and what is in a cold tier: `vault warm` asks for that, and without
    --wait the restore says when to come again.

    What a name stands for: a dataset's events, a view's feature table, a model's versions, a database's dump, orchestrai/instance
    (Dagster's database) and orchestrai/definitions.

    Examples: orchestrai vault restore churn/orders --into ./orders --as-of 2011-04-01 --partitions 2011-03-01..2011-03-31
    orchestrai vault restore 3f2a --only 2011-03-14 --file 2011-03-14.csv --to ./back
    """
    from orchestrai.restore.folder import restore_folder
    from orchestrai.restore.folder_plan import plan_folder
    from orchestrai.restore.single_files import restore_files
    from orchestrai.restore.warm_up import require_warm
    from orchestrai.storage.cloud.control import control_plane

    _require_one_target(into, to, database, bool(files or overwrite))
    kept = open_existing(url)
    commit = chosen(kept, what, as_of, tag, snapshot_id)
    folder = into or to
    if folder is None:
        _restore_database(kept, commit, str(database), as_json)
        return
    keys = span_of(sorted(kept.partitions(commit)), partitions)
    control = control_plane(kept.store)
    plan = plan_folder(kept, commit, keys, control, tuple(files or ()))
    if not as_json:
        out.print(
            f"snapshot {commit.snapshot_id[:12]} of {commit.dataset}, committed {commit.committed:%Y-%m-%d %H:%M:%S} UTC: "
            f"{len(plan.partitions):,} of {commit.partitions:,} partitions into {folder}",
            soft_wrap=True,
        )
        cold = f", {len(plan.warmth.cold):,} of {plan.warmth.objects:,} objects cold" if plan.warmth.cold else ""
        out.print(
            f"{plan.bytes:,} bytes in {len(plan.files):,} files, about {plan.predicted_seconds:.1f} s{cold}", soft_wrap=True
        )
        for partition, why in plan.recalled.items():
            out.print(f"[yellow]{partition}: {why}[/yellow]", soft_wrap=True)
    if only_plan:
        if as_json:
            emit({"snapshot": commit.as_json(), "plan": plan.as_json()})
        return
    if not recalled:
        plan.require_standing()
    require_warm(_waited(plan, control, wait))
    restored: list[str] = []
    if into is not None:
        size = restore_folder(kept, commit, into, partitions=keys)
    else:
        size = plan.bytes
        restored = [str(path.relative_to(folder)) for path in restore_files(kept, plan, folder, overwrite=overwrite)]
    if as_json:
        written = {"partitions": [*plan.partitions], "bytes": size, **({"restored": restored} if to else {})}
        emit({"snapshot": commit.as_json(), "folder": str(folder), **written, "plan": plan.as_json()})
    else:
        out.print(f"[green]restored[/green] {size:,} bytes, each proven")


def _require_one_target(into: Path | None, to: Path | None, database: str | None, single: bool) -> None:
    if sum(place is not None for place in (into, to, database)) != 1:
        raise ConfigError("expected either --into FOLDER, --to FOLDER or --database env://NAME, found none or more of them")
    if to is None and single:
        raise ConfigError("expected --to FOLDER with --file and --overwrite, found none: name the folder")


def _waited(plan: "FolderPlan", control: "ControlPlane | None", wait: str | None) -> "Warmth":
    """What is cold, after waiting for it where that was asked for."""
    import time

    from orchestrai.core.time.duration_cron import parse_duration
    from orchestrai.restore.warm_up import survey, wait_until_warm

    if plan.warmth.ready or wait is None:
        return plan.warmth
    return wait_until_warm(lambda: survey(plan.files, control), time.sleep, limit=parse_duration(wait))


def _restore_database(kept: "Vault", commit: "SnapshotCommit", reference: str, as_json: bool) -> None:
    """Restore a dump into an empty database, and count its rows again."""
    from orchestrai.backup.databases.dump_snapshot import prove_postgres
    from orchestrai.restore.folder import restore_folder

    with TemporaryDirectory(prefix="orchestrai-restore-") as scratch:
        folder = Path(scratch) / "dump"
        restore_folder(kept, commit, folder, sync=False)
        tables = prove_postgres(folder, reference)
    if as_json:
        emit({"snapshot": commit.as_json(), "tables": dict(tables)})
    else:
        out.print(f"[green]restored[/green] {sum(tables.values()):,} rows in {len(tables)} tables, counted again")
