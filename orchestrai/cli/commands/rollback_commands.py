"""`rollback`: a whole pipeline back to an earlier verified state."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import moment_of, open_runtime
from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.ledger.report import StageReport


def rollback(
    pipeline: Annotated[str, typer.Argument(help="a pipeline's name, for example churn")],
    to: Annotated[str | None, typer.Option("--to", help="the state at this time (ISO, UTC)")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="how many verified states back; default 1")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="do what the plan says")] = False,
    reason: Annotated[str, typer.Option(help="why, kept in the signed records")] = "",
    as_json: AsJson = False,
) -> None:
    """Return a pipeline's datasets, features and champions to an earlier verified state; without --apply, show the plan.

    A state ends when new raw events are published. All that comes back is checked first, and all of it moves at once or nothing
    does; registries and endpoints then follow a champion that moved. The landing is not touched: the next ingest goes forward again,
    unless what was bad is recalled or removed. Exit code 1 when a registry or endpoint could not follow.

    Example: orchestrai rollback churn --steps 1, then: orchestrai rollback churn --steps 1 --apply --reason "bad export"
    """
    from orchestrai.pipeline.rollback import apply_rollback, plan_rollback
    from orchestrai.provenance.recall.retraining import redeploy

    if to is not None and steps is not None:
        raise ConfigError("expected --to or --steps, found both: name the state one way")
    runtime = open_runtime()
    declared = runtime.project.pipeline(pipeline)
    plan = plan_rollback(runtime.ledger, declared, to=moment_of(to) if to else None, steps=steps or 1)
    deployed: list[StageReport] = []
    if apply:
        with runtime.ledger.using():
            apply_rollback(runtime.ledger, plan, reason=reason)
        champions = [move.asset for move in plan.changes if move.asset.endswith("/champion")]
        deployed = redeploy(runtime, champions)
    moves = [
        {
            "asset": move.asset,
            "from": move.current.version,
            "to": move.target.version,
            "restaged": list(move.restaged),
            "dropped": list(move.dropped),
        }
        for move in plan.changes
    ]
    places = {report.asset: report.facts["targets"] for report in deployed}
    if as_json:
        emit({"pipeline": pipeline, "moment": plan.moment.isoformat(), "moves": moves, "applied": apply, "deployed": places})
        raise typer.Exit(1 if any(report.refused for report in deployed) else 0)
    rows = [
        (m.asset, m.current.version[7:19], m.target.version[7:19], len(m.restaged), len(m.dropped), m.target.time[:19])
        for m in plan.changes
    ]
    columns = ("asset", "from", "to", "partitions back", "partitions out", "was published (UTC)")
    table(f"{pipeline} back to {plan.moment.isoformat()}", columns, rows)
    if not plan.changes:
        out.print("everything is in that state already")
    elif apply:
        out.print(f"[green]rolled back[/green] {len(plan.changes)} assets")
        for report in deployed:
            for verdict in (verdict for outcome in report.outcomes for verdict in outcome.verdicts):
                out.print(f"{report.asset}: {verdict.message}", soft_wrap=True)
    else:
        out.print(
            f"nothing was changed; add --apply, with --to {plan.moment.isoformat()} for exactly this state", soft_wrap=True
        )
    raise typer.Exit(1 if any(report.refused for report in deployed) else 0)
