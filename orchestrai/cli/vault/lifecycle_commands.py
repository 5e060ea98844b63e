"""`vault prune|drill|lock|replicate|forget|warm`: what becomes of snapshots once they are taken."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrai.cli.lookup import (
    Limit,
    SnapshotId,
    VaultUrl,
    declared_project,
    declared_replicas,
    name_in,
    open_existing,
    open_ledger,
    open_runtime,
)
from orchestrai.cli.output import OK, AsJson, bars, emit, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.core.verdict import Verdict
    from orchestrai.pipeline.load import Project
    from orchestrai.vault.lifecycle.prune import PrunePlan, PruneReport
    from orchestrai.vault.lifecycle.retention import RetentionPlan
    from orchestrai.vault.spec import BackupSpec
    from orchestrai.vault.vault import Vault


def prune(
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="forget and delete what the plan says, or only show it (default)")
    ] = False,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show which snapshots the declared retention lets go and which bytes nothing needs; with --apply, do it.

    A forgotten snapshot's bytes are marked by one prune and deleted by another, 30 hours later at the earliest. Applied, it runs the
    assets `<pipeline>/<name>/retention` and `orchestrai/vault/prune`, also where a declaration says `apply: false`; another vault's
    snapshots are let go by the same rules, and nothing is published of it.

    Example: orchestrai vault prune --dry-run, then: orchestrai vault prune --apply
    """
    from orchestrai.vault.lifecycle.prune import plan_prune

    vault, project = open_existing(url), declared_project()
    retention = _retention(vault, project)
    plan = plan_prune(vault)
    if not as_json:
        _show_plans(retention, plan)
    report: dict[str, Any] | None = None
    if apply:
        # what is forgotten now stays live for a session, so the plan shown for the bytes still holds
        report = _applied(project) if url is None else _applied_elsewhere(vault, retention, plan, project)
    if as_json:
        goes = {dataset_plan.dataset: [commit.snapshot_id for commit in dataset_plan.forget] for dataset_plan in retention}
        due = plan.next_due.isoformat() if plan.next_due else None
        sizes = {"delete": plan.bytes, "mark": sum(plan.mark.values()), "waiting": sum(plan.waiting.values())}
        emit({"forget": goes, "bytes": sizes, "next_due": due, "applied": report})
    elif report is None:
        out.print("nothing was changed; add --apply to do it")
    else:
        held = f", {len(report['deferred']):,} held by a lock" if report["deferred"] else ""
        deleted = f"{len(report['deleted']):,} objects ({report['bytes']:,} bytes) deleted"
        out.print(f"{len(report['forgotten'])} snapshots forgotten, {deleted}, {report['marked']:,} marked{held}")


def drill(
    dataset: Annotated[str, typer.Argument(help="for example churn/orders, churn/churn or orchestrai/instance")],
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Restore the newest and a random snapshot to scratch, prove every byte, open what was restored, measure RTO and RPO.

    A declared drill is published like the weekly one. Exit code 1 when something was not proven or took too long.

    Example: orchestrai vault drill churn/orders
    """
    vault = open_existing(url)
    nodes = {} if url else declared_project().nodes
    name = name_in(vault, dataset)
    declared = nodes.get(f"{name.rpartition('/')[0]}/drill")
    verdicts: tuple[Verdict, ...]
    facts: dict[str, Any]
    if declared is not None:
        report = open_runtime().run(declared, ["all"])
        verdicts = tuple(verdict for outcome in report.outcomes for verdict in outcome.verdicts)
        facts = {"asset": report.asset, **report.facts}
    else:
        from orchestrai.restore.drill import drill

        drill_report = drill(vault, dataset=name)
        verdicts, facts = drill_report.verdicts, drill_report.as_json()
    passed = all(verdict.passed for verdict in verdicts)
    if as_json:
        emit({**facts, "passed": passed, "verdicts": [verdict.as_json() for verdict in verdicts]})
    else:
        table(f"Drill of {name}", ("check", "", "finding"), [(v.check, OK[v.passed], v.message) for v in verdicts])
    raise typer.Exit(0 if passed else 1)


def lock(
    snapshot_id: SnapshotId,
    duration: Annotated[str, typer.Option("--for", help="from its commit on, for example 30d")],
    full: Annotated[bool, typer.Option("--full", help="read every lock back, those proven before too")] = False,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Lock everything a snapshot needs, and read each lock back. Exit code 1 when the store cannot lock or did not.

    Example: orchestrai vault lock 3f2a --for 30d
    """
    from orchestrai.core.time.duration_cron import parse_duration
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.lifecycle.lock import lock_snapshot

    vault = open_existing(url)
    report = lock_snapshot(vault, vault.get(snapshot_id), control_plane(vault.store), parse_duration(duration), full=full)
    if as_json:
        emit(report.as_json())
    elif report.locked:
        out.print(
            f"[green]locked[/green] ({report.mode}) until {report.until}: {report.objects:,} objects, {report.extended:,} extended"
        )
    else:
        out.print(f"[red]not locked[/red]: {report.reason}", soft_wrap=True)
    raise typer.Exit(0 if report.locked else 1)


def replicate(
    to: Annotated[
        str | None, typer.Option("--to", help="URL of the replica; default: those declared and in the settings")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="compare both stores and read every byte of the replica, not only what is new")
    ] = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Copy what a replica lacks, read what is new back, and verify the replica as a vault of its own.

    What came since the last run is looked at; with --full both stores are compared, and what the replica lost since comes back. What is
    there with wrong bytes is named and not written over: `vault heal` mends it.

    Example: orchestrai vault replicate --to s3://other-region/vault
    """
    from orchestrai.vault.protection import copy_to

    urls = [to] if to else declared_replicas()
    if not urls:
        raise ConfigError("expected a replica to copy to, found none: give --to URL or set ORCHESTRAI_REPLICA_URL")
    vault = open_existing(None)
    with bars(quiet=as_json) as progress:
        done = [copy_to(vault, url, progress=progress, full=full) for url in urls]
    if as_json:
        emit(done)
        return
    names = ("replica", "replica_copied", "replica_bytes", "replica_verified")
    table(
        "Replicas", ("replica", "objects copied", "bytes", "snapshots"), [[facts[name] for name in names] for facts in done]
    )


def forget(
    snapshot_id: Annotated[str, typer.Argument(help="a snapshot's id, or DATASET@NUMBER for a damaged one")],
    reason: Annotated[str, typer.Option(help="why, kept in the signed record")],
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a snapshot invisible for good; its bytes go by prune once nothing needs them.

    Example: orchestrai vault forget 3f2a --reason "taken from a half-written export"
    """
    from orchestrai.ledger.decisions.renames import renames_in
    from orchestrai.vault.protection import anchor_of

    if not reason.strip():
        raise ConfigError("expected a reason to forget a snapshot, found none: give --reason")
    vault = open_existing(url)
    dataset, at, number = snapshot_id.rpartition("@")
    if at and number.isdigit():
        dataset, seq = renames_in(vault.store, vault.keyring).key(dataset), int(number)
        vault.forget_record(dataset, seq, reason=reason)
    else:
        commit = vault.forget(snapshot_id, reason=reason)
        dataset, seq = commit.dataset, commit.seq
    anchor = anchor_of(load_settings())
    if anchor is not None and url is None:
        anchor.update(vault)
    if as_json:
        emit({"dataset": dataset, "seq": seq, "reason": reason})
    else:
        out.print(f"snapshot {seq} of {dataset} is forgotten", soft_wrap=True)


def warm(
    snapshot_id: SnapshotId,
    days: Annotated[int, typer.Option(min=1, help="for how long the contents are to be readable")] = 7,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask a cold store to make a snapshot readable again; repeat until it is ready, then restore. Exit code 1 until then.

    Example: orchestrai vault warm 3f2a --days 3 --vault s3://archive/vault
    """
    from orchestrai.restore.folder_plan import plan_folder
    from orchestrai.restore.warm_up import warm_up
    from orchestrai.storage.cloud.control import control_plane

    vault = open_existing(url)
    commit, control = vault.get(snapshot_id), control_plane(vault.store)
    found = plan_folder(vault, commit, control=control).warmth
    if control is not None and not found.ready:
        found = warm_up(found, control, days)
    if as_json:
        emit({"snapshot_id": commit.snapshot_id, **found.as_json()})
    else:
        readable = f"{found.objects - len(found.cold):,} of {found.objects:,} objects are readable"
        hours = int(found.wait.total_seconds() // 3600)
        out.print(f"{readable}: {'[green]ready[/green]' if found.ready else f'[yellow]ask again within {hours} h[/yellow]'}")
    raise typer.Exit(0 if found.ready else 1)


def _backups(project: "Project") -> "dict[str, BackupSpec]":
    from orchestrai.pipeline.graph import declared_backups

    return declared_backups(tuple(project.nodes.values()))


def _retention(vault: "Vault", project: "Project") -> "list[RetentionPlan]":
    from orchestrai.backup.retention_stages import uses_of
    from orchestrai.pipeline.nodes.dataset_node import DatasetNode
    from orchestrai.vault.lifecycle.retention import plan_dataset
    from orchestrai.vault.spec import KeepSpec

    keep = {name: spec.keep for name, spec in _backups(project).items()}
    ledger = open_ledger()
    events = {
        node.subject.kept_as: node.subject.prefix for node in project.nodes.values() if isinstance(node.subject, DatasetNode)
    }
    # what nobody declares is kept
    return [
        plan_dataset(vault, name, keep.get(name, KeepSpec()), uses_of(ledger, events[name]) if name in events else ())[0]
        for name in vault.datasets()
    ]


def _applied(project: "Project") -> dict[str, Any]:
    """Run every retention that has snapshots to decide on, then the prune; each publishes its receipt."""
    from orchestrai.backup.retention_stages import PRUNE, RETENTION, run_prune, run_retention
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.vault.lifecycle.prune import PruneReport

    runtime = Runtime(load_settings(), project)
    there, context = set(runtime.vault.datasets()), runtime.context()
    forgotten: list[Any] = []
    done = PruneReport((), 0, 0, {})
    with runtime.ledger.reading():
        for node in project.nodes.values():
            if node.stage is RETENTION and node.subject.kept_as in there:
                snapshot_ids = run_retention(context, node, apply=True).facts["forgotten"]
                forgotten += snapshot_ids if isinstance(snapshot_ids, list) else []
            elif node.stage is PRUNE:
                done = run_prune(context, node)[1]
    return _report(forgotten, done)


def _applied_elsewhere(
    vault: "Vault", retention: "list[RetentionPlan]", plan: "PrunePlan", project: "Project"
) -> dict[str, Any]:
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.lifecycle.prune import apply_prune
    from orchestrai.vault.lifecycle.retention import apply_retention
    from orchestrai.vault.spec import BackupSpec

    backups = _backups(project)
    forgotten = [
        snapshot_id
        for dataset_plan in retention
        for snapshot_id in apply_retention(
            vault, dataset_plan, policy=backups.get(dataset_plan.dataset, BackupSpec()).keep.describe()
        )
    ]
    return _report(forgotten, apply_prune(vault, plan, control=control_plane(vault.store)))


def _report(forgotten: "list[Any]", done: "PruneReport") -> dict[str, Any]:
    report: dict[str, Any] = {"forgotten": forgotten, "deleted": list(done.deleted), "bytes": done.bytes}
    return report | {"marked": done.marked, "deferred": dict(done.deferred)}


def _show_plans(retention: "list[RetentionPlan]", plan: "PrunePlan") -> None:
    rows = [
        (
            dataset_plan.dataset,
            decision.snapshot.snapshot_id[:12],
            f"{decision.snapshot.committed:%Y-%m-%d %H:%M}",
            "; ".join(decision.reasons) or "[yellow]forget[/yellow]",
        )
        for dataset_plan in retention
        for decision in dataset_plan.decisions
    ]
    table("Retention", ("dataset", "snapshot", "committed (UTC)", "kept because"), rows)
    groups = (("delete now", plan.delete), ("mark, to be deleted later", plan.mark), ("marked, waiting", plan.waiting))
    table("Bytes that no snapshot needs", ("what", "objects", "bytes"), [(n, len(g), sum(g.values())) for n, g in groups])
    if plan.next_due:
        out.print(f"next deletion from {plan.next_due:%Y-%m-%d %H:%M} UTC on")
