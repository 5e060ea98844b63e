"""`doctor --connections`: each connection tried, who it is, what it opens and what is missing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from orchestrai.cli.output import emit, table
from orchestrai.errors import OrchestraiError
from orchestrai.settings import Settings

if TYPE_CHECKING:
    from orchestrai.pipeline.load import Project
    from orchestrai.pipeline.reports.connection_findings import ConnectionFinding


def try_connections(settings: Settings, as_json: bool) -> bool:
    """Try every connection and print what was found; returns whether all went well. Raises DeclarationError for a wrong project file."""
    from orchestrai.pipeline.reports.connection_findings import connection_findings, store_urls
    from orchestrai.project.in_force import connections

    findings = list(connection_findings(connections(), store_urls(settings, _project(settings))))
    healthy = all(one.ok for one in findings)
    if as_json:
        emit({"healthy": healthy, "connections": [one.as_json() for one in findings]})
    else:
        _show(findings)
    return healthy


def _project(settings: Settings) -> "Project | None":
    from orchestrai.pipeline.load import load_pipelines, pipeline_folders

    try:
        return load_pipelines(pipeline_folders(settings.pipelines))
    except OrchestraiError:
        # told of by `doctor` itself
        return None


def _show(findings: "Sequence[ConnectionFinding]") -> None:
    marks = {True: "[green]ok[/green]", False: "[yellow]no[/yellow]"}
    rows = [
        (one.name if not number else "", marks[tried.ok], escape(tried.what), escape(tried.detail))
        for one in findings
        for number, tried in enumerate(one.tried)
    ]
    known = [
        (one.name, one.cloud, escape(one.where), one.identity, escape(one.who), one.account) for one in findings if one.cloud
    ]
    table("Connections", ("name", "cloud", "where", "identity", "who", "account"), known)
    table("Tried", ("name", "", "what", "detail"), rows)
    if not findings:
        table("None", ("what",), [("no connection is declared and no store lies in a cloud",)])
