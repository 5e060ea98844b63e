"""`check`, `instance` and `new`: declarations and the instance, before anything runs."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError, IntegrityError, StorageError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrai.ingest.spec import SourceSpec
    from orchestrai.pipeline.check.certain_fixes import Fix
    from orchestrai.pipeline.check.landing_sample import SampleFinding
    from orchestrai.pipeline.check.project_check import PipelineCheck
    from orchestrai.pipeline.check.schema_plan import SchemaPlan
    from orchestrai.pipeline.load import Project
    from orchestrai.pipeline.name_changes import RenamePlan


class Landing(StrEnum):
    """Which landings `check` looks at."""

    here = "here"
    all = "all"
    none = "none"


def check(
    folder: Annotated[Path | None, typer.Argument(help="a pipeline folder; default: all deployed ones")] = None,
    published: Annotated[bool, typer.Option(help="compare contracts with those that published data was judged by")] = True,
    landing: Annotated[
        Landing, typer.Option(help="whose first rows are read: landings of this machine (here), all, or none")
    ] = Landing.here,
    fix: Annotated[bool, typer.Option("--fix", help="write into the files what the sample leaves no doubt of")] = False,
    as_json: AsJson = False,
) -> None:
    """Read and lint pipelines, contracts and SQL, and look at the first rows of what landed; every mistake is one line.

    A line has file, line, field, what was expected, what was found. Up to three objects of each landing go through reader, contract,
    views and labels as they will when it runs; nothing is published. No Dagster, and no network unless asked for. Where a ledger is at
    hand, says what a changed contract means for published data: what reads on, and which partitions and views break; and what a
    `renamed_from` will rename. Exit code 1 when some pipelines have mistakes, a change breaks something or something that landed will be
    refused, 2 when all have mistakes.

    Example: orchestrai check pipelines/churn
    """
    found = _check(folder, landing, published)
    written = found.fixes if fix else []
    if written:
        _write_fixes(written, quiet=as_json)
        # the files say something else now
        found = _check(folder, landing, published)
    if as_json:
        emit(found.as_json() | {"fixed": [one.message for one in written]})
    else:
        found.show()
    raise typer.Exit(found.code)


@dataclass(frozen=True)
class _Checked:
    """What one look at pipelines and landings found."""

    reports: "Sequence[PipelineCheck]"
    project: "Project"
    plans: "Sequence[SchemaPlan]"
    renames: "Sequence[RenamePlan]"
    untold: str
    looked: "Sequence[SampleFinding]"
    fixes: "Sequence[Fix]"

    @property
    def wrong(self) -> "list[PipelineCheck]":
        return [report for report in self.reports if report.mistakes]

    @property
    def code(self) -> int:
        """The exit code."""
        if self.wrong and len(self.wrong) == len(self.reports):
            return 2
        breaking = any(plan.breaks for plan in self.plans) or any(plan.problem for plan in self.renames)
        return 1 if self.wrong or breaking or any(finding.weight == "refused" for finding in self.looked) else 0

    def as_json(self) -> dict[str, Any]:
        facts = [_facts(report) for report in self.reports]
        body = {"ok": not self.code, "pipelines": facts, "assets": sorted(self.project.nodes)}
        compared = {"changes": [plan.as_json() for plan in self.plans], "renames": [plan.as_json() for plan in self.renames]}
        looked = {"landing": [one.as_json() for one in self.looked], "fixes": [one.message for one in self.fixes]}
        return {**body, **compared, "not_compared": self.untold, **looked}

    def show(self) -> None:
        rows = [_row(report) for report in self.reports]
        table("Pipelines", ("pipeline", "datasets", "feature views", "models", ""), rows)
        sources = {name: facts for report in self.reports for name, facts in _facts(report)["sources"].items()}
        described = [
            (escape(name), escape(s["url"]), escape(" ".join(s["passed_over"]) or "-")) for name, s in sources.items()
        ]
        table("Sources", ("dataset", "reads", "names passed over"), described)
        lines = [mistake.message for report in self.wrong for mistake in report.mistakes]
        for finding in self.looked:
            lines.append(f"{'will be refused' if finding.weight == 'refused' else 'note'}: {finding.message}")
        lines += [f"--fix writes {one.message}" for one in self.fixes]
        lines += [*(plan.message for plan in self.renames), *(plan.message for plan in self.plans)]
        for message in [*lines, self.untold] if self.untold else lines:
            out.print(message, markup=False, highlight=False, soft_wrap=True)
        if not self.code:
            out.print(f"[green]ok[/green]: {len(self.project.nodes)} assets")


def _check(folder: Path | None, landing: Landing, published: bool) -> _Checked:
    from orchestrai.pipeline.check.project_check import check_project
    from orchestrai.pipeline.load import Project, pipeline_folders

    setting = str(folder) if folder else load_settings().pipelines
    reports = check_project(pipeline_folders(setting))
    project = Project(tuple(report.pipeline for report in reports if report.pipeline is not None))
    (plans, renames), untold = _plans(project) if published else (([], []), "")
    looked, fixes = _looked(project, landing)
    return _Checked(reports, project, plans, renames, untold, looked, fixes)


def _looked(project: "Project", landing: Landing) -> "tuple[list[SampleFinding], list[Fix]]":
    """What the first rows of the landings show, and what would mend it."""
    from orchestrai.pipeline.check.landing_sample import look_at_landings

    if landing is Landing.none:
        return [], []
    return look_at_landings(project.pipelines, load_settings().home, remote=landing is Landing.all)


def _write_fixes(fixes: "Sequence[Fix]", *, quiet: bool) -> None:
    from orchestrai.pipeline.check.certain_fixes import apply_fixes

    apply_fixes(fixes)
    for one in fixes if not quiet else ():
        out.print(f"wrote {one.message}", markup=False, highlight=False, soft_wrap=True)


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
    from orchestrai.pipeline.instance.instance_options import instance_options
    from orchestrai.pipeline.instance.settings_file import write_settings

    settings = load_settings()
    home, options = settings.home, instance_options(settings)
    base = write_settings(home, options)
    if base == home / "dagster" and (options.database or not (base / "schedules" / "schedules.db").exists()):
        from orchestrai.defs.instance import open_instance

        # its tables are made here, by one process: Dagster's own start side by side
        open_instance(home, options).dispose()
    if as_json:
        emit({"dagster_home": str(base)})
    else:
        sys.stdout.write(f"{base}\n")


def new(
    name: Annotated[str, typer.Argument(help="lower case, digits and underscores")],
    into: Annotated[Path, typer.Option("--into", help="folder to put it in")] = Path("pipelines"),
    place: Annotated[str | None, typer.Option("--from", help="a folder, file, URL or table with data to look at")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a pipeline of your own from a template, or from a look at data: YAML, a contract and a feature view.

    Example: orchestrai new sales && orchestrai check pipelines/sales
    """
    from orchestrai.pipeline.template import require_name, write_template

    target = into / name
    if target.exists():
        raise ConfigError(f"expected {target} not to exist, found it: choose another name")
    if place is not None:
        from orchestrai.cli.project.init_commands import Telling, start

        require_name(name)
        return start(name, place, None, target, Telling(False, as_json))
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
