"""What the page of an asset says beside its events: commands that exist, and what a feature is made of."""

import re
import shlex

import click
import dagster as dg
import typer

from orchestrai.cli.app import app
from orchestrai.defs.asset_commands import asset_commands, version_page
from orchestrai.defs.assets import build_assets
from orchestrai.pipeline.load import Project


def test_each_command_that_a_page_names_is_one_that_the_command_line_takes(shipped: Project) -> None:
    root, typed = typer.main.get_command(app), set()
    for node in shipped.nodes.values():
        commands = asset_commands(node)
        for told in (commands, version_page(node, f"sha256:{'a' * 64}")):
            typed |= set(re.findall(r"`orchestrai ([^`]+)`", str(told.value))) if told is not None else set()
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
