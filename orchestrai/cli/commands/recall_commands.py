"""`orchestrai recall`: what something bad reached, and the way back to what it did not reach."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_ledger, open_runtime, this_user
from orchestrai.cli.output import AsJson, bars, emit, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.ledger.report import StageReport
    from orchestrai.provenance.recall.recall import RecallPlan


def recall(
    target: Annotated[
        str, typer.Argument(help="URI, path or SHA-256 of a landed object, snapshot id, asset@partition, or version")
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="refuse all of it, drop its partitions, roll champions back, request retraining")
    ] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="with --apply: train again now, in this process")] = False,
    reason: Annotated[str, typer.Option(help="why, kept in the signed record")] = "",
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Name every snapshot, dataset, feature table, model and prediction that something bad reached.

    With --apply readers refuse it from then on, champions go back to the last version it did not reach, registries and endpoints
    follow them, and clean retraining is requested: a sensor starts it while the Dagster daemon runs, --retrain does it here. May be
    repeated.

    Example: orchestrai recall s3://landing/orders/2011-03-14.csv --apply --reason "truncated export"
    """
    from orchestrai.provenance.index import ReceiptIndex
    from orchestrai.provenance.recall.recall import apply_recall, plan_recall

    if retrain and not apply:
        raise ConfigError("expected --apply with --retrain, found none: what counts no more is decided first")
    # the model that is to serve again is asked for its evidence
    ledger = open_runtime().ledger if apply else open_ledger()
    index = ReceiptIndex.build(ledger.lake, ledger.keyring)
    before = plan_recall(ledger, index, ledger.renames().key(_uri(target)), reason, this_user(by))
    plan = apply_recall(ledger, before) if apply else before
    reports = _follow(before, quiet=as_json) if apply else []
    reports += _retrain(plan, quiet=as_json) if retrain else []
    if as_json:
        emit({**plan.as_json(), "retrained": {report.asset: report.version for report in reports}})
        return
    _show_reach(plan)
    for move in before.champions:
        message = f"last untouched: {move.to[7:19] or 'none'}"
        if apply:
            message = f"{move.to[7:19]} serves again" if move.to else "withdrawn: no version is untouched"
        out.print(f"{move.asset}: {move.reached[7:19]} was reached, {message}", soft_wrap=True)
    if plan.retrain:
        out.print("to be made again: " + ", ".join(plan.retrain), soft_wrap=True)
    _show_request(plan, reports)
    out.print("[green]in force[/green]" if plan.in_force else "nothing was changed; add --apply to recall it")


def _uri(target: str) -> str:
    """What a person names: the path of a file that landed is its URI."""
    path = Path(target)
    return f"file://{path.resolve()}" if path.is_file() else target


def _show_reach(plan: "RecallPlan") -> None:
    stages: dict[str, list[str]] = {}
    for derivation in plan.reach.derivations:
        stages.setdefault(derivation.asset if derivation.receipt else "landed", []).append(
            derivation.partition or derivation.asset
        )
    rows = [(asset, len(keys), keys[0], keys[-1]) for asset, keys in sorted(stages.items())]
    table(f"Reached by {plan.record.target}", ("asset", "partitions", "first", "last"), rows)


def _show_request(plan: "RecallPlan", reports: "list[StageReport]") -> None:
    if plan.request is None:
        return
    for report in reports:
        refused = f", refused: {', '.join(outcome.partition for outcome in report.refused)}" if report.refused else ""
        out.print(f"made again: {report.asset}@{(report.version or '')[7:19]}{refused}", soft_wrap=True)
    if not any(report.asset.endswith("/candidate") for report in reports):
        pipelines = sorted({name.split("/")[0] for name in plan.request.models})
        sensors = ", ".join(f"{name}_retrain_after_recall" for name in pipelines)
        out.print(
            f"clean retraining is requested of {', '.join(plan.request.models)}: the sensor {sensors} starts it while the Dagster "
            "daemon runs; without one, repeat this with --retrain",
            soft_wrap=True,
        )


def _follow(plan: "RecallPlan", *, quiet: bool) -> "list[StageReport]":
    """Registries and endpoints hold the champion that serves again."""
    from orchestrai.provenance.recall.retraining import redeploy

    moved = [move.asset for move in plan.champions if move.to]
    if not moved:
        return []
    with bars(quiet=quiet) as progress:
        return redeploy(open_runtime(), moved, progress)


def _retrain(plan: "RecallPlan", *, quiet: bool) -> "list[StageReport]":
    from orchestrai.provenance.recall.retraining import retrain

    if plan.request is None:
        return []
    with bars(quiet=quiet) as progress:
        return retrain(open_runtime(), plan.request, progress)
