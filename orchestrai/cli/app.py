"""The command tree."""

from orchestrai.cli import (
    deadletters,
    erasure,
    export,
    gate,
    guarding,
    keeping,
    models,
    project,
    proof,
    recall,
    records,
    rollback,
    run,
    vault,
)
from orchestrai.cli.output import make_app

app = make_app("Models that learn only from data that was backed up, restored and proven equal.")
app.command("demo")(run.demo)
app.command("backfill")(run.backfill)
app.command("report")(run.report)
app.command("check")(project.check)
app.command("doctor")(project.doctor)
app.command("new")(project.new)
# proof: what is asked of the records
app.add_typer(proof.model, name="model")
app.command("audit")(records.audit)
app.command("trail")(records.trail)
app.command("recall")(recall.recall)
app.command("rebuild")(records.rebuild)
app.command("erase")(erasure.erase)
app.command("export")(export.export)
# vault: snapshots and what becomes of them
app.add_typer(vault.vault, name="vault")
vault.vault.command("prune")(keeping.prune)
vault.vault.command("drill")(keeping.drill)
vault.vault.command("lock")(keeping.lock)
vault.vault.command("replicate")(keeping.replicate)
vault.vault.command("forget")(keeping.forget)
vault.vault.command("hold")(guarding.hold)
vault.vault.command("release")(guarding.release)
vault.vault.command("holds")(guarding.holds_command)
vault.vault.command("rewrap")(guarding.rewrap)
vault.vault.command("repair")(guarding.repair)
vault.vault.command("warm")(keeping.warm)
app.add_typer(deadletters.deadletters, name="deadletters")
proof.model.command("export")(export.export)
proof.model.command("list")(models.list_models)
proof.model.command("rollback")(models.rollback)
proof.model.command("deploy")(models.deploy)
proof.model.command("serve")(models.serve)
app.command("rollback")(rollback.rollback)
app.add_typer(gate.gate, name="gate")
