"""`check`, `doctor` and `new`: declarations and the machine, before anything runs."""

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.settings import Settings, load_settings


def check(
    folder: Annotated[Path | None, typer.Argument(help="a pipeline folder; default: all deployed ones")] = None,
    as_json: AsJson = False,
) -> None:
    """Read and lint pipelines, contracts and SQL; a mistake is one line: file, line, field, what was expected.

    Example: orchestrai check pipelines/churn
    """
    from orchestrai.pipeline.load import load_project, pipeline_folders

    setting = str(folder) if folder else load_settings().pipelines
    project = load_project(pipeline_folders(setting))
    facts = [
        {
            "pipeline": pipeline.name,
            "datasets": [node.spec.name for node in pipeline.datasets],
            "features": [view.view.name for view in pipeline.views],
            "models": [model.spec.name for model in pipeline.models],
        }
        for pipeline in project.pipelines
    ]
    if as_json:
        emit({"ok": True, "pipelines": facts, "assets": sorted(project.nodes)})
        return
    rows = [(f["pipeline"], *(", ".join(f[k]) or "-" for k in ("datasets", "features", "models"))) for f in facts]
    table("Pipelines", ("pipeline", "datasets", "feature views", "models"), rows)
    out.print(f"[green]ok[/green]: {len(project.nodes)} assets")


def doctor(as_json: AsJson = False) -> None:
    """Look at settings, stores, keys and optional tools, and say what to do about each fault.

    Example: orchestrai doctor --json
    """
    settings = load_settings()
    findings: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), f"{sys.version_info.major}.{sys.version_info.minor}"),
        _store("lake", settings.lake),
        _store("vault", settings.vault),
        _keys(settings.key_folder),
        *_landings(settings),
        (
            "anchor outside the vault",
            bool(settings.anchor),
            settings.anchor or "none: a rollback of the whole vault is unprovable",
        ),
        ("java, for Spark", shutil.which("java") is not None, shutil.which("java") or "none: features run on DuckDB"),
    ]
    for extra, module in (
        ("kafka", "confluent_kafka"),
        ("postgres", "psycopg"),
        ("delta", "deltalake"),
        ("iceberg", "pyiceberg"),
    ):
        there = importlib.util.find_spec(module) is not None
        findings.append((f"extra {extra}", there, "installed" if there else f"pip install 'orchestrai[{extra}]'"))
    needed = {"python", "lake", "vault", "signing key"}
    healthy = all(ok for name, ok, _ in findings if name in needed)
    if as_json:
        emit({"healthy": healthy, "findings": [{"name": n, "ok": ok, "detail": d} for n, ok, d in findings]})
    else:
        marks = {True: "[green]ok[/green]", False: "[yellow]no[/yellow]"}
        table("Doctor", ("what", "", "detail"), [(name, marks[ok], escape(detail)) for name, ok, detail in findings])
    raise typer.Exit(0 if healthy else 1)


def _store(name: str, url: str) -> tuple[str, bool, str]:
    from orchestrai.storage.url import open_store

    try:
        store = open_store(url)
        next(iter(store.list("heads/")), None)
    except OrchestraiError as error:
        return name, False, error.message
    return name, True, store.url


def _landings(settings: Settings) -> list[tuple[str, bool, str]]:
    """Where objects of each dataset are looked for, and whether one is there; what is read by position says so when it runs."""
    from orchestrai.ingest.sources.landing import open_landing, require_landing
    from orchestrai.pipeline.load import load_project, pipeline_folders

    try:
        project = load_project(pipeline_folders(settings.pipelines))
    except OrchestraiError as error:
        return [("pipelines", False, error.message)]
    found = []
    for node in (node for pipeline in project.pipelines for node in pipeline.datasets):
        source = node.spec.source
        if source.positioned or source.kind == "http":
            continue
        name = f"landing of {node.prefix}"
        try:
            store = require_landing(open_landing(source.url, settings.home), source)
            first = next(iter(store.list("")), None)
        except OrchestraiError as error:
            found.append((name, False, error.message))
        else:
            found.append((name, first is not None, store.url if first else f"{store.url}: no object yet"))
    return found


def _keys(folder: Path) -> tuple[str, bool, str]:
    key = folder / "signing.pem"
    if not key.exists():
        return "signing key", True, "made on first use"
    private = key.stat().st_mode & 0o077 == 0
    return "signing key", private, "readable by its owner only" if private else f"chmod 600 {key}"


def new(
    name: Annotated[str, typer.Argument(help="lower case, digits and underscores")],
    into: Annotated[Path, typer.Option("--into", help="folder to put it in")] = Path("pipelines"),
    as_json: AsJson = False,
) -> None:
    """Start a pipeline of your own from a template: YAML, a contract and a feature view.

    Example: orchestrai new sales && orchestrai check pipelines/sales
    """
    from orchestrai.pipeline.template import write_template

    target = into / name
    if target.exists():
        raise ConfigError(f"expected {target} not to exist, found it: choose another name")
    files = write_template(name, target)
    if as_json:
        emit({"folder": str(target), "files": [str(path) for path in files]})
        return
    for path in files:
        out.print(f"wrote {path}")
    out.print(
        f"Next: edit them, then [bold]orchestrai check {target}[/bold]; {target}/README.md says how to run it",
        soft_wrap=True,
    )
