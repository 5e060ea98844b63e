"""`doctor`: settings, stores, keys, optional tools, landings and what is published, judged before and between runs."""

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from orchestrai.cli.output import AsJson, emit, table
from orchestrai.cli.reports.account_report import GivenValues, Prove, Yes, prove_account
from orchestrai.errors import OrchestraiError, StorageError
from orchestrai.settings import Settings, known_settings, load_settings

if TYPE_CHECKING:
    from orchestrai.ingest.spec import SourceSpec
    from orchestrai.pipeline.nodes.dataset_node import DatasetNode
    from orchestrai.pipeline.runtime import Runtime


def doctor(
    connections: Annotated[
        bool, typer.Option("--connections", help="try each connection instead: who it is, what it opens, what is missing")
    ] = False,
    prove: Prove = "",
    given: GivenValues = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Look at settings, stores, keys and optional tools, and say what to do about each fault.

    Exit code 1 when something that the work needs is missing, or a pipeline has a mistake. With --connections each
    connection of the project file is tried instead.

    Examples: orchestrai doctor --json    orchestrai doctor --connections

    With --prove it tries a cloud account instead, by small things that it makes, checks and removes; without --yes it says which.
    Example: orchestrai doctor --prove aws --given store=s3://bucket/prove --given key=awskms://alias/vault --yes
    """
    if connections:
        from orchestrai.cli.reports.connection_commands import try_connections

        raise typer.Exit(0 if try_connections(load_settings(), as_json) else 1)
    if prove:
        prove_account(prove, given or [], yes, as_json)
        return
    from orchestrai.pipeline.instance.instance_findings import judge_instance
    from orchestrai.pipeline.instance.instance_options import instance_options

    settings, unknown = known_settings()
    findings: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), f"{sys.version_info.major}.{sys.version_info.minor}"),
        _names(unknown),
        _store("lake", settings.lake),
        _store("vault", settings.vault),
        _keys(settings.key_folder),
        _trust(settings.key_folder),
        _key_log(settings),
        *_pipelines(settings),
        *(
            (finding.name, finding.ok, finding.detail)
            for finding in judge_instance(settings.home, instance_options(settings))
        ),
        (
            "anchor outside the vault",
            bool(settings.anchor),
            settings.anchor or "none: what the witness has is all that tells of a rollback",
        ),
        ("witness outside the vault", bool(settings.witness_url), _witness(settings)),
        ("java, for Spark", shutil.which("java") is not None, shutil.which("java") or "none: features run on DuckDB"),
    ]
    for extra, module in (
        ("kafka", "confluent_kafka"),
        ("postgres", "psycopg"),
        ("iceberg", "pyiceberg"),
    ):
        there = importlib.util.find_spec(module) is not None
        findings.append((f"extra {extra}", there, "installed" if there else f"pip install 'orchestrai[{extra}]'"))
    needed = (
        "python", "settings", "lake", "vault", "signing key", "trusted keys", "pipeline", "instance", "unusual change", "database",
        "missing landing", "landing without data",
    )  # fmt: skip
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


def _witness(settings: Settings) -> str:
    if not settings.witness_url:
        return "none: a rollback of the whole vault is unprovable without an anchor, and so are its times"
    # a default under the home guards no vault that lies there too
    beside = not settings.witness and not settings.vault_url
    where = (
        f"{settings.witness_url}, beside the vault: name another place by ORCHESTRAI_WITNESS"
        if beside
        else settings.witness_url
    )
    return f"{where}; time-stamps by {settings.timestamp_url}" if settings.timestamp_url else where


def _pipelines(settings: Settings) -> list[tuple[str, bool, str]]:
    """Which pipelines load and what is wrong with them, and where the objects of each dataset that is landed are."""
    from orchestrai.pipeline.check.project_check import check_project
    from orchestrai.pipeline.load import Project, pipeline_folders
    from orchestrai.pipeline.reports.database_findings import database_findings
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
    findings += [(one.name, one.ok, one.detail) for one in database_findings(runtime)]
    findings += [_landing(node, runtime) for node in nodes if _is_landed(node.spec.source)]
    # a key is made with the first ledger that is opened, and this command makes nothing
    made = (settings.key_folder / "signing.pem").exists()
    findings += [_held(node, runtime) for node in nodes if made and node.positioned]
    return findings + ([_stale(runtime), _unusual(runtime), *_watched(runtime)] if made else [])


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


def _watched(runtime: "Runtime") -> list[tuple[str, bool, str]]:
    """Whether every source speaks, and whether an alert is open or a message owed that nobody took."""
    from orchestrai.observability.alerts.alert_desk import AlertDesk
    from orchestrai.observability.alerts.alert_settings import tellers_of
    from orchestrai.observability.watch.dataset_watch import silence

    try:
        now = runtime.clock()
        nodes = [node for pipeline in runtime.project.pipelines for node in pipeline.own_datasets]
        silent = [
            f"{one.subject}: expected {one.expected}, found {one.found}" for n in nodes for one in silence(runtime, n, now)
        ]
        tellers = tellers_of(runtime.settings)
        outbox = AlertDesk(runtime.ledger, tellers).outbox()
    except OrchestraiError as error:
        return [("alerts", False, error.message)]
    told = (
        f"{', '.join(tellers.receivers)} are told"
        if tellers.receivers
        else "nobody is declared to be told (docs/runbooks.md)"
    )
    waits = f"{len(outbox.alerts)} open, {len(outbox.messages)} messages wait: see `orchestrai alerts list`; "
    open_ones = bool(outbox.alerts or outbox.messages)
    return [
        ("freshness", not silent, "; ".join(silent) or "no source is silent that promised to speak"),
        ("alerts", not open_ones, (waits if open_ones else "none is open; ") + told),
    ]


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


def _unusual(runtime: "Runtime") -> tuple[str, bool, str]:
    """Whether a snapshot is unlike those before it, and nobody said that it is well."""
    from orchestrai.pipeline.reports.unusual_snapshots import unusual_snapshots

    try:
        raised = unusual_snapshots(runtime)
    except OrchestraiError as error:
        return "unusual change", False, error.message
    if not raised:
        return "unusual change", True, "no snapshot changes more than those before it, or it was acknowledged"
    return "unusual change", False, "; ".join(alarm.message for alarm in raised)


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
    except StorageError as error:
        # a folder of the home comes with the first object; one that was named has to be there
        named = "://" in node.spec.source.url or Path(node.spec.source.url).is_absolute()
        return f"missing {name}" if named else name, False, error.message
    except OrchestraiError as error:
        return name, False, error.message
    url = judge.zone.landing.url
    if not whole.listed:
        return name, False, f"{url}: no object yet"
    no_data = whole.counts["passed_over"] + whole.counts["dead_letters"] + len(whole.unplaced)
    if whole.listed == no_data:
        return f"landing without data of {node.shown}", False, f"{url}: {whole.listed:,} objects, none of which is data"
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


def _key_log(settings: Settings) -> tuple[str, bool, str]:
    """The vault's key log: how many keys are valid, whether an end is unfinished, and where the root key lies."""
    from orchestrai.cli.keys.trust_commands import governed_log
    from orchestrai.ledger.trust.home_keys import root_file
    from orchestrai.ledger.trust.trust_list import trusted_keyring
    from orchestrai.storage.url import open_store

    folder = settings.key_folder
    try:
        log = governed_log(open_store(settings.vault), trusted_keyring(folder), folder)
    except OrchestraiError as error:
        return "key log", False, error.message
    if log is None:
        return "key log", True, "begun by the vault's first snapshot"
    if unfinished := sorted(name for name, key in log.keys.items() if key.ending):
        return (
            "key log",
            False,
            f"the end of {', '.join(unfinished)} is not finished: run `orchestrai keys rotate` or `revoke` again",
        )
    valid = sum(not key.ended for key in log.keys.values())
    here = root_file(folder, log.root) is not None
    where = "; the root key lies in the key folder: `orchestrai keys export FILE --root` moves it out" if here else ""
    return "key log", True, f"{log.seq} records, {valid} valid keys{where}"
