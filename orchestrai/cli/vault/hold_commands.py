"""`vault hold|release|holds|rewrap`: what keeps snapshots from being lost by order or by key."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import VaultUrl, name_in, open_existing
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
