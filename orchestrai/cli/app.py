"""The command tree."""

from typing import Annotated

import typer

from orchestrai.cli.backup import database_commands
from orchestrai.cli.commands import (
    audit_commands,
    dead_letter_commands,
    erase_commands,
    export_commands,
    gate_commands,
    landing_commands,
    model_commands,
    proof_commands,
    recall_commands,
    rollback_commands,
    run_commands,
)
from orchestrai.cli.features import feature_commands
from orchestrai.cli.keys import approval_commands, key_log_commands, trust_commands
from orchestrai.cli.output import make_app
from orchestrai.cli.project import init_commands, project_commands, reference_commands
from orchestrai.cli.reports import (
    alert_commands,
    cost_commands,
    doctor_commands,
    metrics_commands,
    page_commands,
    report_commands,
    trail_commands,
)
from orchestrai.cli.streams import stream_commands
from orchestrai.cli.vault import (
    heal_commands,
    hold_commands,
    lifecycle_commands,
    pull_commands,
    recover_commands,
    search_commands,
    vault_commands,
    witness_commands,
)

app = make_app("Models that learn only from data that was backed up, restored and proven equal.")


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"orchestrai {version('orchestrai')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Models that learn only from data that was backed up, restored and proven equal."""


app.command("demo")(run_commands.demo)
app.command("backfill")(run_commands.backfill)
app.command("sync")(run_commands.sync)
app.command("report")(report_commands.report)
app.command("stale")(report_commands.stale)
app.command("watch")(alert_commands.watch)
app.add_typer(alert_commands.alerts, name="alerts")
app.command("init")(init_commands.init)
app.command("explain")(reference_commands.explain)
app.command("schema")(reference_commands.schema)
app.command("plugins")(reference_commands.plugins)
app.command("check")(project_commands.check)
app.command("doctor")(doctor_commands.doctor)
app.command("instance")(project_commands.instance)
app.add_typer(metrics_commands.metrics, name="metrics")
app.add_typer(cost_commands.cost, name="cost")
app.command("new")(project_commands.new)
# proof: what is asked of the records
app.add_typer(proof_commands.model, name="model")
app.command("audit")(audit_commands.audit)
app.add_typer(trail_commands.trail, name="trail")
app.command("recall")(recall_commands.recall)
app.command("rebuild")(audit_commands.rebuild)
app.command("erase")(erase_commands.erase)
app.command("export")(export_commands.export)
# vault: snapshots and what becomes of them
app.add_typer(vault_commands.vault, name="vault")
vault_commands.vault.command("find")(search_commands.find)
vault_commands.vault.command("browse")(search_commands.browse)
vault_commands.vault.command("prune")(lifecycle_commands.prune)
vault_commands.vault.command("drill")(lifecycle_commands.drill)
vault_commands.vault.command("lock")(lifecycle_commands.lock)
vault_commands.vault.command("replicate")(lifecycle_commands.replicate)
vault_commands.vault.command("forget")(lifecycle_commands.forget)
vault_commands.vault.command("hold")(hold_commands.hold)
vault_commands.vault.command("release")(hold_commands.release)
vault_commands.vault.command("holds")(hold_commands.holds_command)
vault_commands.vault.command("acknowledge")(hold_commands.acknowledge)
vault_commands.vault.command("rewrap")(hold_commands.rewrap)
vault_commands.vault.command("heal")(heal_commands.heal)
vault_commands.vault.command("repair")(heal_commands.repair)
vault_commands.vault.command("pull")(pull_commands.pull)
vault_commands.vault.command("witness")(witness_commands.witness_command)
vault_commands.vault.command("recover")(recover_commands.recover)
vault_commands.vault.command("warm")(lifecycle_commands.warm)
app.add_typer(database_commands.backup, name="backup")
app.add_typer(dead_letter_commands.deadletters, name="deadletters")
proof_commands.model.command("export")(export_commands.export)
proof_commands.model.command("page")(page_commands.model_page)
proof_commands.model.command("list")(model_commands.list_models)
proof_commands.model.command("rollback")(model_commands.rollback)
proof_commands.model.command("deploy")(model_commands.deploy)
proof_commands.model.command("serve")(model_commands.serve)
proof_commands.model.command("cost")(cost_commands.model_cost)
app.command("rollback")(rollback_commands.rollback)
app.add_typer(gate_commands.gate, name="gate")
app.add_typer(landing_commands.landing, name="landing")
trust_commands.keys.command("add")(key_log_commands.add)
trust_commands.keys.command("rotate")(key_log_commands.rotate)
trust_commands.keys.command("rotate-root")(key_log_commands.rotate_root)
trust_commands.keys.command("revoke")(key_log_commands.revoke)
trust_commands.keys.command("require")(key_log_commands.require)
trust_commands.keys.command("export")(key_log_commands.export)
app.add_typer(trust_commands.keys, name="keys")
app.add_typer(approval_commands.approvals, name="approvals")
app.add_typer(feature_commands.features, name="features")
app.add_typer(stream_commands.stream, name="stream")
