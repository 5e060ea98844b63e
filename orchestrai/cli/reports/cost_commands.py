"""`model cost` and `cost report|prices`: what models, pipelines and days cost."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, out, table

if TYPE_CHECKING:
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.provenance.lineage_cost import CostLine
    from orchestrai.provenance.verified_records import Records


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
    found = {}
    for model in models if own is not None else ():
        if model is own or not _read(own) & _read(model):
            continue
        try:
            if runtime.ledger.head(model.asset("champion")) is not None:
                found[model.shown] = receipts_behind(records, model.asset("champion"))
        except OrchestraiError:
            # what is wrong with another model is told by its own commands
            continue
    return found


def _read(model: "object") -> set[str]:
    from orchestrai.pipeline.nodes.model_node import ModelNode

    assert isinstance(model, ModelNode)
    nodes = [*model.label_inputs.values(), *(dataset for view in model.views for dataset in view.inputs.values())]
    return {dataset.prefix for dataset in nodes}
