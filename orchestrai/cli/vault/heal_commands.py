"""`vault heal|repair`: what is wrong in a vault or its replicas is mended from whichever copy has it right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import Limit, VaultUrl, declared_replicas, open_ledger
from orchestrai.cli.output import OK, AsJson, bars, emit, out, table
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.vault.heal.heal import HealPlan, HealReport

Apply = Annotated[bool, typer.Option("--apply", help="mend what the plan names")]
SHOWN = 40


def heal(
    replica: Annotated[
        list[str] | None,
        typer.Option("--replica", help="URL of a replica; may be repeated; default: those declared and in the settings"),
    ] = None,
    apply: Apply = False,
    bring_back: Annotated[
        bool,
        typer.Option(
            "--bring-back", help="also bring to the vault what only a replica has behind its end: stop writers first"
        ),
    ] = False,
    url: VaultUrl = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Compare a vault and its replicas byte for byte, and show what is wrong in which of them; with --apply, mend it.

    Every record is judged by its signature and every byte by the hash that a signed commit names; the copy that proves right mends
    the other, in both directions. Nothing is deleted: wrong bytes stay as an earlier version, or under work/quarantine/. Two signed
    records that differ are told of and left. What no copy has is named, with the snapshots and partitions that lose by it.

    Exit code 0 when nothing is wrong or all was mended, 1 when something is left.

    Example: orchestrai vault heal, then: orchestrai vault heal --apply
    """
    _heal(url, declared_replicas() if not replica else replica, apply, bring_back, as_json)


def repair(apply: Apply = False, url: VaultUrl = None, as_json: AsJson = False) -> None:
    """As `vault heal` without a replica: what was overwritten or deleted comes back where the store keeps versions.

    Example: orchestrai vault repair, then: orchestrai vault repair --apply
    """
    _heal(url, [], apply, False, as_json)


def _heal(url: str | None, replicas: Sequence[str], apply: bool, bring_back: bool, as_json: bool) -> None:
    from orchestrai.ledger.signing import Keyring
    from orchestrai.storage.base import Store
    from orchestrai.storage.url import open_within_limits
    from orchestrai.vault.heal.heal import Healing
    from orchestrai.vault.protection import anchor_of, keyring_for, open_vault
    from orchestrai.vault.vault import Vault

    ledger, settings = open_ledger(), load_settings()

    def opened(store: Store, keyring: Keyring) -> Vault:
        return open_vault(ledger, settings.key_folder, lambda: False, store, keyring)

    stores = [open_within_limits(place, settings) for place in (url or settings.vault, *replicas)]
    keyring = keyring_for(ledger, stores[0], settings.key_folder)
    healing = Healing(stores, keyring, opened, anchor_of(settings) if url is None else None)
    with bars(quiet=as_json) as progress:
        plan = healing.plan(bring_back=bring_back, progress=progress)
        report = healing.apply(plan, progress) if apply else None
    sound = plan.is_sound and (not plan.wrong if report is None else not report.failed)
    if as_json:
        emit({**plan.as_json(), "applied": report.as_json() if report else None, "ok": sound})
    else:
        _show(plan, report, sound)
    raise typer.Exit(0 if sound else 1)


def _show(plan: "HealPlan", report: "HealReport | None", sound: bool) -> None:
    rows = [(item["copy"], item["key"], item["problem"], item["from"]) for item in (mend.as_json() for mend in plan.wrong)]
    _rows("To mend" if report is None else "Mended", ("copy", "key", "what is wrong", "from"), rows)
    _rows("Left as it is", ("copy", "key", "why"), [(item.copy, item.key, item.problem) for item in plan.unmended])
    if report is not None:
        _rows("Not mended", ("copy", "key", "why"), [(item.copy, item.key, item.problem) for item in report.failed])
    losses = []
    for lost in plan.lost:
        loses = [f"{dataset}@{seq} {', '.join(parts) or '(all)'}" for (dataset, seq, _), parts in lost.loses.items()]
        losses.append((lost.key, lost.problem, "; ".join(loses)))
    _rows("In no copy", ("key", "what is wrong", "what loses by it"), losses)
    for newer in plan.newer:
        span = f"{newer.first}" if newer.first == newer.last else f"{newer.first} to {newer.last}"
        what = f"{newer.log}: {newer.copy.name} has number {span} behind the end of the vault"
        rolled = "the anchor remembers them: the vault was rolled back"
        why = rolled if newer.anchored else "the vault was rolled back, or that copy was written to"
        done = "" if plan.bring_back else "; --bring-back brings them, once writers are stopped"
        out.print(f"[yellow]{what}[/yellow]: {why}{done}", soft_wrap=True)
    copies = (
        f"{len(plan.copies)} copies" if len(plan.copies) > 1 else "one copy (no replica is declared; --replica names one)"
    )
    out.print(f"{copies}, {plan.snapshots:,} snapshots, {plan.objects:,} objects, {plan.bytes:,} bytes read", soft_wrap=True)
    behind = len(plan.mends) - len(plan.wrong)
    if behind:
        done = "copied to it now" if report is not None else "`vault replicate`, or --apply here, copies them"
        out.print(f"{behind:,} objects a replica was not given yet: {done}", soft_wrap=True)
    if report is not None:
        out.print(f"{OK[sound]}: {report.mended:,} put right or copied")
    else:
        out.print("[green]ok[/green]: nothing to mend" if sound else "nothing was changed; --apply mends what can be")


def _rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if not rows:
        return
    table(title, columns, rows[:SHOWN])
    if len(rows) > SHOWN:
        out.print(f"and {len(rows) - SHOWN:,} more: see --json")
