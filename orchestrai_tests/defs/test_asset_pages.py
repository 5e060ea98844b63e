"""What the page of an asset says beside its events: commands that exist, and what a feature is made of."""

import re
import shlex
from pathlib import Path

import click
import dagster as dg
import pytest
import typer

from orchestrai.cli.app import app
from orchestrai.defs.asset_commands import asset_commands, commands_of, version_page
from orchestrai.defs.assets import build_assets
from orchestrai.observability.alerts.condition_kinds import KINDS
from orchestrai.pipeline.load import Project, load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.provenance.small import CONTRACT, DAYS, PIPELINE, csv_of


def test_each_command_that_a_page_names_is_one_that_the_command_line_takes(shipped: Project) -> None:
    root, typed = typer.main.get_command(app), set()
    for node in shipped.nodes.values():
        commands = asset_commands(node)
        page = version_page(node, f"sha256:{'a' * 64}")
        for told in (commands, str(page.value) if page is not None else ""):
            typed |= set(re.findall(r"`orchestrai ([^`]+)`", told))
    assert len(typed) >= 10
    # what was published says which version it is; a model's page is a command away
    assert "model page churn/churn@aaaaaaaaaaaa --out churn-churn-aaaaaaaaaaaa.html" in typed
    for line in sorted(typed):
        command, words = root, shlex.split(line)
        context = click.Context(command)
        while isinstance(command, click.Group):
            name, command, words = command.resolve_command(context, words)
            assert command is not None, line
            context = click.Context(command, parent=context, info_name=name)
        command.make_context("it", list(words), parent=context.parent, resilient_parsing=False)


def test_columns_of_features_say_what_they_are_made_of(shipped: Project) -> None:
    nodes = [node for node in shipped.nodes.values() if node.asset == "churn/customer_rfm/features"]
    (asset,) = build_assets(nodes)
    assert isinstance(asset, dg.AssetsDefinition)
    schema = next(iter(asset.metadata_by_key.values()))["dagster/column_schema"]
    said = {column.name: column.description for column in schema.columns}
    assert said["orders_all"] == "from orders.invoice_no" and all(said.values())


# what looks for trouble ends with 1 where it finds some: these readings are weeks old
JUDGING = ("landing status", "cost report", "vault drill")


def test_every_command_shown_on_an_asset_works_as_it_is_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, landing = tmp_path / "declared" / "small", tmp_path / "home" / "landing" / "readings"
    folder.mkdir(parents=True)
    landing.mkdir(parents=True)
    model = "promote_when: {metric: auc, at_least: 0.5}"
    backup = '{every: "0 5 * * *"}'
    text = PIPELINE.replace("ENCRYPT", "").replace('AS more FROM readings"}', f'AS more FROM readings", backup: {backup}}}')
    (folder / "pipeline.yaml").write_text(text.replace(model, f"{model}\n    backup: {backup}"))
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    for day in DAYS:
        (landing / f"{day}.csv").write_text(csv_of(day))
    for name, place in (("HOME", "home"), ("PIPELINES", "declared")):
        monkeypatch.setenv(f"ORCHESTRAI_{name}", str(tmp_path / place))
    monkeypatch.chdir(tmp_path)
    runtime = Runtime(load_settings())
    nodes = [node for node in runtime.project.nodes.values() if node.pipeline == "small"]
    for node in nodes:
        if node.executable:
            runtime.run(node, DAYS if node.grain == "day" else ["all"])
    assert len({node.stage.name for node in nodes}) >= 17

    shown = {typed: node.stage.name for node in nodes for _, typed in commands_of(node)}
    for typed, stage in shown.items():
        code, said = command(*shlex.split(typed)[1:])
        allowed = (0, 1) if any(typed.startswith(f"orchestrai {one}") for one in JUDGING) else (0,)
        assert code in allowed and said.strip(), (stage, typed, code, said)
        for file in re.findall(r"(?:--out|--html|--to) (\S+)", typed):
            assert (tmp_path / file).stat().st_size > 1000, typed


def test_every_asset_says_what_to_do_when_it_is_red_and_where_its_commands_are_typed(
    shipped: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCHESTRAI_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    anchors = {kind.anchor for kind in KINDS.values()}
    for node in shipped.nodes.values():
        runbooks = [typed.split()[-1] for _, typed in commands_of(node) if typed.startswith("orchestrai alerts runbook ")]
        assert runbooks and set(runbooks) <= anchors, node.asset
        assert f"`cd {tmp_path}`" in asset_commands(node)
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(tmp_path / "shop" / "orchestrai.yaml"))
    assert f"`cd {tmp_path / 'shop'}`" in asset_commands(node)


def test_a_dataset_whose_rows_are_read_by_position_has_no_landing_to_look_into() -> None:
    project = load_project(pipeline_folders(), {"READINGS_URL": "log://readings"})
    typed = {asset: [one for _, one in commands_of(node)] for asset, node in project.nodes.items()}
    assert "orchestrai landing status churn/orders" in typed["churn/orders/raw_events"]
    assert not [one for one in typed["telemetry/readings/raw_events"] if "landing status" in one]
