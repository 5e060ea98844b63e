"""`vault hold|release|holds|acknowledge|rewrap`: what keeps snapshots from being lost by order or by key."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import SnapshotId, VaultUrl, name_in, open_existing, open_ledger, this_user
from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.vault.format.records import SnapshotCommit
    from orchestrai.vault.lifecycle.legal_hold import HoldReport
    from orchestrai.vault.vault import Vault

What = Annotated[str, typer.Argument(help="a snapshot's id, or a dataset: all its snapshots, those to come included")]
Reason = Annotated[str, typer.Option(help="why, kept in the signed record")]


def hold(what: What, reason: Reason, url: VaultUrl = None, as_json: AsJson = False) -> None:
    """Place a legal hold: neither retention nor prune nor forget touches what is held, nor, where the store can hold, anybody.

    Exit code 1 when the store cannot hold or did not.

    Example: orchestrai vault hold churn/orders --reason "case 2026-17"
    """
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.lifecycle.legal_hold import place_hold

    vault = open_existing(url)
    _told(place_hold(vault, *_target(vault, what), control_plane(vault.store), reason=reason), as_json)


def release(what: What, reason: Reason, url: VaultUrl = None, as_json: AsJson = False) -> None:
    """Lift a legal hold; what another hold needs stays held.

    Example: orchestrai vault release churn/orders --reason "case 2026-17 closed"
    """
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.lifecycle.legal_hold import release_hold

    vault = open_existing(url)
    _told(release_hold(vault, *_target(vault, what), control_plane(vault.store), reason=reason), as_json)


def holds_command(url: VaultUrl = None, as_json: AsJson = False) -> None:
    """List the legal holds that are on.

    Example: orchestrai vault holds
    """
    from orchestrai.vault.lifecycle.hold_records import holds

    vault = open_existing(url)
    records = holds(vault.store, vault.keyring, vault.identity()).values()
    if as_json:
        emit([{**one.__dict__} for one in records])
        return
    rows = [(one.dataset, one.snapshot_id[:12] or "(all)", one.placed[:19], one.reason) for one in records]
    table("Legal holds", ("dataset", "snapshot", "placed (UTC)", "reason"), rows)


def acknowledge(
    snapshot_id: SnapshotId,
    reason: Reason,
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say that an unusual snapshot is well: older ones may be forgotten again, and its change counts as usual from then on.

    A signed record in lake and vault. Unusual are snapshots that rewrite or remove much of what was there, or whose new content
    compresses no more, as after an attack that encrypts; `orchestrai vault list` names them.

    Example: orchestrai vault acknowledge 3f2a --reason "all days were corrected for the new tax"
    """
    from orchestrai.ledger.decisions.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement
    from orchestrai.vault.change.unusual_change import alarms

    vault, ledger = open_existing(url), open_ledger()
    commit = vault.get(snapshot_id)
    alarm = next((one for one in alarms(vault, commit.dataset) if one.commit.seq == commit.seq), None)
    if alarm is None:
        raise ConfigError(
            f"expected an unusual snapshot, found {commit.snapshot_id[:12]} as those before it: see `vault list`"
        )
    record = Acknowledgement(
        snapshot_id=commit.snapshot_id,
        vault=vault.identity(),
        dataset=commit.dataset,
        seq=commit.seq,
        commit=commit.digest,
        reason=reason,
        by=this_user(by),
        time=ledger.clock().isoformat(),
        findings=alarm.reasons,
    )
    # the vault first: there it counts
    ACKNOWLEDGEMENTS.put([vault.store] if url else [vault.store, ledger.lake], vault.signer, record)
    if as_json:
        emit(record.as_json())
    else:
        out.print(
            f"snapshot {commit.seq} of {commit.dataset} is well, says {record.by} ({reason})", markup=False, soft_wrap=True
        )


def rewrap(
    to: Annotated[str, typer.Option("--to", help="file, awskms://..., azurekv://... or gcpkms://...")],
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Wrap a sealed vault's data keys by another key, read them back through it, and open the vault by it from then on.

    Contents are not written again. The key of before opens the vault too until it is disabled.

    Example: orchestrai vault rewrap --to awskms://alias/backup
    """
    from orchestrai.vault.keys.key_services import key_port

    vault = open_existing(url)
    port = key_port(to, load_settings().key_folder)
    wrapped = vault.rewrap(port)
    if as_json:
        emit({"port": port.name, "wrapped": wrapped})
    else:
        out.print(f"{wrapped} data key(s) wrapped by {port.name}, read back", soft_wrap=True)


def _target(vault: "Vault", what: str) -> "tuple[str, SnapshotCommit | None]":
    from orchestrai.ledger.decisions.renames import renames_in

    names, key = vault.datasets(), renames_in(vault.store, vault.keyring).key(what)
    if key in names or f"{key}/raw_events" in names:
        return name_in(vault, key), None
    if not what.strip():
        raise ConfigError("expected a dataset or a snapshot's id, found nothing")
    commit = vault.get(what)
    return commit.dataset, commit


def _told(report: "HoldReport", as_json: bool) -> None:
    if as_json:
        emit(report.as_json())
    else:
        done = "held" if report.on else "released"
        state = "[green]read back[/green]" if report.enforced else f"[yellow]{report.reason}[/yellow]"
        out.print(f"{done}: {len(report.snapshot_ids)} snapshot(s), {report.objects:,} objects; {state}", soft_wrap=True)
    raise typer.Exit(0 if report.enforced else 1)
