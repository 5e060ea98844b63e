"""`model cost` and `cost report|prices`: what models, pipelines and days cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, make_app, out, table

if TYPE_CHECKING:
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.provenance.lineage_cost import CostLine
    from orchestrai.provenance.verified_records import Records

cost = make_app("What runs, days and models cost.")


@cost.command("report")
def report_command(
    name: Annotated[str | None, typer.Argument(help="one pipeline; default: all")] = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="so many days up to today")] = 7,
    html: Annotated[Path | None, typer.Option("--html", help="draw them on one self-contained page in this file")] = None,
    as_json: AsJson = False,
) -> None:
    """Sum what the runs of each pipeline used and cost, a line a day (UTC), today among them, and what was used of budgets.

    Exit code 1 where a budget is used up.

    Example: orchestrai cost report churn --days 31 --html costs.html
    """
    from orchestrai.pipeline.costs.budgets import budget_use
    from orchestrai.pipeline.costs.cost_page import cost_page
    from orchestrai.pipeline.costs.cost_report import last_days

    runtime = open_runtime()
    chosen = [runtime.project.pipeline(name)] if name else list(runtime.project.pipelines)
    now = runtime.clock()
    found = {one.name: last_days(runtime.ledger, one.name, now, days) for one in chosen}
    uses = [use for one in chosen for use in budget_use(runtime.ledger, one, now)]
    if html is not None:
        html.write_text(cost_page(found, uses), encoding="utf-8")
    if as_json:
        body: dict[str, Any] = {one: [day.as_json() for day in summed] for one, summed in found.items()}
        emit({"pipelines": body, "budgets": [{**use.__dict__, "share": round(use.share, 4)} for use in uses]})
    elif html is not None:
        out.print(f"wrote {html}", soft_wrap=True)
    else:
        rows = [
            (
                one,
                day.day,
                f"{day.total.runs:,}",
                f"{day.total.failed + day.total.refused:,}",
                f"{day.quiet_runs:,}",
                f"{day.cpu_seconds:,.1f}",
                f"{day.total.bytes_read / 1e6:,.1f}",
                f"{day.total.bytes_written / 1e6:,.1f}",
                f"{day.total.usd:,.6f}" if day.total.priced else "-",
            )
            for one, summed in found.items()
            for day in summed
        ]
        columns = ("pipeline", "day", "runs", "failed or refused", "idle", "CPU s", "MB read", "MB written", "USD")
        table("What runs cost", columns, rows)
        for use in uses:
            out.print(f"{use.pipeline}: {use.told} ({use.declared})", soft_wrap=True)
    raise typer.Exit(1 if any(use.share >= 1 for use in uses) else 0)


@cost.command("prices")
def prices_command(as_json: AsJson = False) -> None:
    """List every price that is known, where it is from, and whether it applies here.

    Example: orchestrai cost prices
    """
    from orchestrai.ledger.costs.price_table import read_prices
    from orchestrai.pipeline.costs.cost_book import prices_file
    from orchestrai.settings import load_settings

    prices = read_prices(prices_file(load_settings()))
    applied = {price.name for price in prices.prices}
    if as_json:
        emit(
            {
                "digest": prices.digest,
                "prices": [{**p.__dict__, "applies": p.name in applied} for p in prices.known.values()],
            }
        )
        return
    rows = [
        (p.name, p.of, f"{p.usd:g} a {p.unit}", p.kind, p.date, "yes" if p.name in applied else "no", p.region, p.source)
        for p in prices.known.values()
    ]
    table("Prices (USD)", ("name", "of", "price", "kind", "date", "applies", "of region", "source"), rows)
    if not applied:
        out.print(
            "none applies here, so money is 0: name those that do under `apply:` in <home>/prices.yaml", soft_wrap=True
        )


def model_cost(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, NAME@<version>, or an asset's key")],
    as_json: AsJson = False,
) -> None:
    """Sum what a model cost: every run in its lineage once, by stage and by dataset, with what other models share.

    Money is what the prices that apply here make of it; without any it is 0 and says so.

    Example: orchestrai model cost churn@champion
    """
    from orchestrai.provenance.lineage_cost import lineage_cost
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.verified_records import Records

    runtime = open_runtime()
    records = Records(runtime.ledger.lake, runtime.ledger.keyring)
    asset, version = find_asset(records, name)
    found = lineage_cost(records, asset, version, _others(runtime, records, asset))
    if as_json:
        emit(found.as_json())
        return
    out.print(f"{found.asset}@{found.version[7:19]}", soft_wrap=True)
    for title, lines in (("By stage", found.by_stage), ("By dataset, view and model", found.by_subject)):
        table(title, COLUMNS, [_row(line) for line in (*lines, found.total)])
    for note in found.notes:
        out.print(f"- {note}", soft_wrap=True)


COLUMNS = ("of", "runs", "CPU s", "wall s", "MB read", "MB written", "objects read", "objects written", "USD")


def _row(line: "CostLine") -> tuple[str, ...]:
    usage, traffic = line.usage, line.usage.traffic
    return (
        line.key,
        f"{line.runs:,}",
        f"{usage.all_cpu_seconds:,.2f}",
        f"{usage.wall_seconds:,.2f}",
        f"{usage.bytes_read / 1e6:,.1f}",
        f"{usage.bytes_written / 1e6:,.1f}",
        f"{traffic.reads:,}",
        f"{traffic.writes:,}",
        f"{line.usd:,.6f}" if line.priced else "-",
    )


def _others(runtime: "Runtime", records: "Records", asset: str) -> dict[str, frozenset[str]]:
    """The receipts behind the champions of other models that read a dataset which this asset's model reads too."""
    from orchestrai.errors import OrchestraiError
    from orchestrai.provenance.lineage_cost import receipts_behind

    models = [model for pipeline in runtime.project.pipelines for model in pipeline.models]
    own = next((model for model in models if asset.startswith(f"{model.prefix}/")), None)
    read = {dataset.prefix for dataset in own.datasets} if own is not None else set()
    found = {}
    for model in models:
        if model is own or read.isdisjoint(dataset.prefix for dataset in model.datasets):
            continue
        try:
            if runtime.ledger.head(model.asset("champion")) is not None:
                found[model.shown] = receipts_behind(records, model.asset("champion"))
        except OrchestraiError:
            # what is wrong with another model is told by its own commands
            continue
    return found
