"""`check`, `doctor`, `instance` and `new`: declarations and the machine, before anything runs."""

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError, StorageError
from orchestrai.settings import Settings, known_settings, load_settings

if TYPE_CHECKING:
    from orchestrai.ingest.spec import SourceSpec
    from orchestrai.pipeline.check.project_check import PipelineCheck
    from orchestrai.pipeline.check.schema_plan import SchemaPlan
    from orchestrai.pipeline.load import Project
    from orchestrai.pipeline.name_changes import RenamePlan
    from orchestrai.pipeline.nodes import DatasetNode
    from orchestrai.pipeline.runtime import Runtime


def check(
    folder: Annotated[Path | None, typer.Argument(help="a pipeline folder; default: all deployed ones")] = None,
    published: Annotated[bool, typer.Option(help="compare contracts with those that published data was judged by")] = True,
    as_json: AsJson = False,
) -> None:
    """Read and lint pipelines, contracts and SQL; every mistake is one line: file, line, field, what was expected, what was found.

    Needs no data, no network and no Dagster. Where a ledger is at hand, says what a changed contract means for published data: what
    reads on, and which partitions and views break; and what a `renamed_from` will rename. Exit code 1 when some pipelines have mistakes or
    a change breaks something, 2 when all have mistakes.

    Example: orchestrai check pipelines/churn
    """
    from orchestrai.pipeline.check.project_check import check_project
    from orchestrai.pipeline.load import Project, pipeline_folders

    setting = str(folder) if folder else load_settings().pipelines
    reports = check_project(pipeline_folders(setting))
    project = Project(tuple(report.pipeline for report in reports if report.pipeline is not None))
    wrong = [report for report in reports if report.mistakes]
    (plans, renames), untold = _plans(project) if published else (([], []), "")
    breaking = any(plan.breaks for plan in plans) or any(plan.problem for plan in renames)
    code = 2 if wrong and len(wrong) == len(reports) else 1 if wrong or breaking else 0
    if as_json:
        facts = [_facts(report) for report in reports]
        body = {"ok": not code, "pipelines": facts, "assets": sorted(project.nodes)}
        compared = {"changes": [plan.as_json() for plan in plans], "renames": [plan.as_json() for plan in renames]}
        emit({**body, **compared, "not_compared": untold})
        raise typer.Exit(code)
    rows = [_row(report) for report in reports]
    table("Pipelines", ("pipeline", "datasets", "feature views", "models", ""), rows)
    sources = {name: facts for report in reports for name, facts in _facts(report)["sources"].items()}
    described = [(escape(name), escape(s["url"]), escape(" ".join(s["passed_over"]) or "-")) for name, s in sources.items()]
    table("Sources", ("dataset", "reads", "names passed over"), described)
    for report in wrong:
        for mistake in report.mistakes:
            out.print(mistake.message, markup=False, highlight=False, soft_wrap=True)
    lines = [*(plan.message for plan in renames), *(plan.message for plan in plans)]
    for message in [*lines, untold] if untold else lines:
        out.print(message, markup=False, highlight=False, soft_wrap=True)
    if not code:
        out.print(f"[green]ok[/green]: {len(project.nodes)} assets")
    raise typer.Exit(code)


def _plans(project: "Project") -> "tuple[tuple[list[SchemaPlan], list[RenamePlan]], str]":
    """What changed contracts and names mean for what is published, or why nobody can say."""
    from orchestrai.ledger.ledger import open_ledger
    from orchestrai.ledger.trust.trust_list import trusted_keyring
    from orchestrai.pipeline.check.schema_plan import schema_plans
    from orchestrai.pipeline.name_changes import rename_plans

    settings = load_settings()
    if not trusted_keyring(settings.key_folder).keys:
        return ([], []), ""  # nothing was ever published here, and no key is made by looking
    try:
        ledger = open_ledger(settings)
        return (schema_plans(ledger, project), rename_plans(ledger, project.pipelines)), ""
    except (StorageError, IntegrityError) as exc:
        return ([], []), f"contracts and names not compared with published data: {exc.message}"


def _facts(report: "PipelineCheck") -> dict[str, Any]:
    pipeline = report.pipeline
    return {
        "pipeline": report.name,
        "folder": str(report.folder),
        "loads": pipeline is not None,
        "datasets": [node.spec.name for node in pipeline.datasets] if pipeline else [],
        "sources": {node.shown: _source_facts(node.spec.source) for node in pipeline.datasets} if pipeline else {},
        "features": [view.name for view in pipeline.views] if pipeline else [],
        "models": [model.spec.name for model in pipeline.models] if pipeline else [],
        "mistakes": [mistake.as_json() for mistake in report.mistakes],
    }


def _source_facts(source: "SourceSpec") -> dict[str, Any]:
    return {"url": source.address, "passed_over": list(source.passed_over) if source.kind == "objects" else []}


def _row(report: "PipelineCheck") -> tuple[str, ...]:
    facts = _facts(report)
    verdict = (
        "[green]ok[/green]"
        if not report.mistakes
        else "[yellow]loads[/yellow]"
        if report.pipeline
        else "[red]left out[/red]"
    )
    names = (", ".join(facts[kind]) or "-" for kind in ("datasets", "features", "models"))
    return (escape(report.name), *names, verdict)


def instance(as_json: AsJson = False) -> None:
    """Make the Dagster instance of the home where there is none, and print its folder: what DAGSTER_HOME has to name.

    Example: DAGSTER_HOME=$(orchestrai instance) dagster dev -w workspace.yaml
    """
    from orchestrai.pipeline.instance.settings_file import write_settings

    home = load_settings().home
    base = write_settings(home)
    if base == home / "dagster" and not (base / "schedules" / "schedules.db").exists():
        from orchestrai.defs.instance import open_instance

        # its tables are made here, by one process: Dagster's own start side by side
        open_instance(home).dispose()
    if as_json:
        emit({"dagster_home": str(base)})
    else:
        sys.stdout.write(f"{base}\n")


def doctor(as_json: AsJson = False) -> None:
    """Look at settings, stores, keys and optional tools, and say what to do about each fault.

    Exit code 1 when something that the work needs is missing, or a pipeline has a mistake. Example: orchestrai doctor --json
    """
    from orchestrai.pipeline.instance.instance_findings import judge_instance

    settings, unknown = known_settings()
    findings: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), f"{sys.version_info.major}.{sys.version_info.minor}"),
        _names(unknown),
        _store("lake", settings.lake),
        _store("vault", settings.vault),
        _keys(settings.key_folder),
        _trust(settings.key_folder),
        *_pipelines(settings),
        *((finding.name, finding.ok, finding.detail) for finding in judge_instance(settings.home)),
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
    needed = ("python", "settings", "lake", "vault", "signing key", "trusted keys", "pipeline", "instance")
    healthy = all(ok for name, ok, _ in findings if name.startswith(needed))
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


def _names(unknown: Sequence[str]) -> tuple[str, bool, str]:
    """Whether every ORCHESTRAI_ variable is a setting; all other commands refuse to run on one that is not."""
    if not unknown:
        return "settings", True, "every ORCHESTRAI_ variable of the environment and .env is a setting"
    return "settings", False, f"no setting of orchestrai: {', '.join(unknown)}: rename or unset it"


def _pipelines(settings: Settings) -> list[tuple[str, bool, str]]:
    """Which pipelines load and what is wrong with them, and where the objects of each dataset that is landed are."""
    from orchestrai.pipeline.check.project_check import check_project
    from orchestrai.pipeline.load import Project, pipeline_folders
    from orchestrai.pipeline.runtime import Runtime

    try:
        reports = check_project(pipeline_folders(settings.pipelines))
    except OrchestraiError as error:
        return [("pipelines", False, error.message)]
    findings = []
    for report in reports:
        more = f" (and {len(report.mistakes) - 1} more: see orchestrai check)" if len(report.mistakes) > 1 else ""
        detail = report.mistakes[0].message + more if report.mistakes else "no mistake in its declarations"
        left_out = "" if report.pipeline else "left out: "
        findings.append((f"pipeline {report.name}", not report.mistakes, left_out + detail))
    nodes = [node for report in reports if report.pipeline for node in report.pipeline.datasets]
    runtime = Runtime(settings, Project(tuple(report.pipeline for report in reports if report.pipeline is not None)))
    findings += [_landing(node, runtime) for node in nodes if _is_landed(node.spec.source)]
    # a key is made with the first ledger that is opened, and this command makes nothing
    made = (settings.key_folder / "signing.pem").exists()
    findings += [_held(node, runtime) for node in nodes if made and node.positioned]
    return findings + ([_stale(runtime)] if made else [])


def _held(node: "DatasetNode", runtime: "Runtime") -> tuple[str, bool, str]:
    """Whether partitions of a stream or a table wait for a person; what came as objects is told with its landing."""
    from orchestrai.ledger.quarantine import closed_gates

    name, restored = f"restored {node.shown}", node.asset("restored")
    try:
        closed = closed_gates(runtime.ledger, restored, runtime.ledger.find(restored))
    except OrchestraiError as error:
        return name, False, error.message
    held = [key for key, refusal in closed.items() if refusal.held]
    told = f"{len(held):,} held since {closed[held[0]].time[:10]}: see `orchestrai gate list`" if held else "nothing is held"
    return name, not held, told


def _stale(runtime: "Runtime") -> tuple[str, bool, str]:
    """Whether everything published is what it would be now."""
    from orchestrai.pipeline.reports.stale_assets import stale_assets

    try:
        left = stale_assets(runtime.context(), runtime.project.nodes)
    except OrchestraiError as error:
        return "stale", False, error.message
    told = [f"{asset}: {len(some):,} partitions" for asset, some in left.by_asset.items()]
    told += [f"{asset}: cannot be judged" for asset in left.unreadable]
    return (
        "stale",
        not told,
        f"{'; '.join(told)}: see `orchestrai stale`" if told else "nothing: what is published is current",
    )


def _is_landed(source: "SourceSpec") -> bool:
    """False for what is read by position or asked of an API: that says so when it runs."""
    return not source.positioned and source.kind != "http"


def _landing(node: "DatasetNode", runtime: "Runtime") -> tuple[str, bool, str]:
    """Whether there are objects, each of which has its place, and none waits for a person."""
    from orchestrai.ingest.discovery.reconciliation import reconcile
    from orchestrai.pipeline.reports.landing_status import judge_of
    from orchestrai.pipeline.reports.recovery_point import recovery_point

    name = f"landing of {node.shown}"
    try:
        # a key is made with the first ledger that is opened, and this command makes nothing
        fresh = not (runtime.settings.key_folder / "signing.pem").exists()
        judge = judge_of(runtime, node, blank=fresh)
        whole = reconcile(judge)
    except OrchestraiError as error:
        return name, False, error.message
    url = judge.zone.landing.url
    if not whole.listed:
        return name, False, f"{url}: no object yet"
    places = ", ".join(f"{count:,} {place.replace('_', ' ')}" for place, count in whole.counts.items() if count)
    held = f"; {whole.held_up:,} wait for you: see `orchestrai landing status`" if whole.held_up else ""
    if fresh:
        return name, not whole.held_up, f"{url}: {places}{held}"
    point = recovery_point(runtime, node, whole)
    return name, not whole.held_up and point.passed, f"{url}: {places}{held}; rpo: {point.message}"


def _keys(folder: Path) -> tuple[str, bool, str]:
    key = folder / "signing.pem"
    if not key.exists():
        return "signing key", True, "made on first use"
    private = key.stat().st_mode & 0o077 == 0
    return "signing key", private, "readable by its owner only" if private else f"chmod 600 {key}"


def _trust(folder: Path) -> tuple[str, bool, str]:
    """Whose signatures count, and which keys lie in the folder without being on the signed list."""
    from orchestrai.ledger.trust.trust_list import read_trust

    try:
        trust = read_trust(folder)
    except OrchestraiError as error:
        return "trusted keys", False, error.message
    names = ", ".join(sorted(trust.keyring.keys)) or "made on first use"
    strange = ", ".join(sorted(trust.keyring.refused))
    if strange:
        return "trusted keys", False, f"{names}; not on the signed list and refused: {strange}: see `orchestrai keys list`"
    return "trusted keys", True, names


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
