"""`model list|rollback|deploy|serve`: versions, the way back, registries and endpoints, and an endpoint that scores."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    from orchestrai.features.by_key.online_http import Flags
    from orchestrai.ledger.report import StageReport
    from orchestrai.pipeline.nodes.model_node import ModelNode
    from orchestrai.pipeline.nodes.view_node import ViewNode
    from orchestrai.pipeline.runtime import Runtime

HOST = "127.0.0.1"
ModelName = Annotated[str, typer.Argument(help="PIPELINE/NAME, or NAME where only one pipeline has it")]


def list_models(
    name: Annotated[str | None, typer.Argument(help="one model; default: all")] = None, as_json: AsJson = False
) -> None:
    """List every version of the models, newest first: when it was registered, promoted, and what serves.

    Example: orchestrai model list churn
    """
    from orchestrai.models.registry.versions import versions

    runtime = open_runtime()
    every = [model for pipeline in runtime.project.pipelines for model in pipeline.models]
    nodes = [runtime.project.model(name)] if name else every
    models: dict[str, Any] = {
        node.shown: versions(runtime.ledger, candidate=node.asset("candidate"), champion=node.asset("champion"))
        for node in nodes
    }
    if as_json:
        emit({model: [version.as_json() for version in listed] for model, listed in models.items()})
        return
    rows = [
        (
            model,
            v.version[7:19],
            v.withdrawn or "; ".join(part for part in (", ".join(v.aliases), v.rolled_back) if part) or "-",
            v.registered[:19],
            v.promoted[:19] or "never",
            v.times_serving,
        )
        for model, listed in models.items()
        for v in listed
    ]
    table("Models", ("model", "version", "is", "registered (UTC)", "promoted (UTC)", "times serving"), rows)


def rollback(
    name: ModelName,
    to: Annotated[
        str | None, typer.Option("--to", help="a version or its first digits; default: the champion before")
    ] = None,
    reason: Annotated[str, typer.Option(help="why, kept in the signed record")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion serve again; its receipts are checked and its golden rows scored first.

    One more entry of the signed log, so it can itself be rolled back. The version that it moves away from is promoted by no training
    after it: --to brings it back. Data stays as it is: see `orchestrai rollback`.

    Example: orchestrai model rollback churn --reason "bad scores in the north"
    """
    from orchestrai.models.registry.versions import rollback as roll_back

    runtime, node = _opened(name)
    champion = node.asset("champion")
    before = runtime.ledger.find(champion)
    with runtime.ledger.using():
        report = roll_back(runtime.ledger, champion, to, reason=reason)
    moved: dict[str, Any] = {
        "model": node.shown,
        "from": before.version if before else "",
        "to": report.version,
    }
    followed = _deployed(runtime, node) if node.spec.deployed else None
    if followed is not None:
        moved["deployment"] = _places(followed)
    if as_json:
        emit(moved)
    else:
        out.print(f"{moved['model']} serves {str(moved['to'])[7:19]} again, instead of {str(moved['from'])[7:19]}")
        if followed is not None:
            _tell(followed)
    if followed is not None and followed.refused:
        raise typer.Exit(1)


def deploy(name: ModelName, as_json: AsJson = False) -> None:
    """Register the champion with every registry and endpoint that the model declares; what has it already is left as it is.

    The same as materializing the asset PIPELINE/NAME/deployment. Exit code 1 when a target failed; run it again to mend that.

    Example: orchestrai model deploy churn
    """
    runtime, node = _opened(name)
    if not node.spec.deployed:
        raise ConfigError(
            f"expected {node.shown} to declare registry or serve_on, found neither: for example "
            "registry: mlflow+https://mlflow.example.com"
        )
    report = _deployed(runtime, node)
    if as_json:
        emit({"model": node.shown, "version": report.facts["model_version"], **_places(report)})
    else:
        _tell(report)
    if report.refused:
        raise typer.Exit(1)


def _deployed(runtime: "Runtime", node: "ModelNode") -> "StageReport":
    return runtime.run(runtime.project.nodes[node.asset("deployment")], ["all"])


def _places(report: "StageReport") -> dict[str, Any]:
    problems = [verdict.message for outcome in report.refused for verdict in outcome.verdicts if verdict.closes_gate]
    return {"targets": report.facts["targets"], "changed": report.facts["changed"], "problems": problems}


def _tell(report: "StageReport") -> None:
    places = _places(report)
    rows = [
        (
            t["target"],
            t["name"],
            t["version"],
            t["status"],
            t.get("endpoint", "-"),
            "yes" if t["target"] in places["changed"] else "no",
        )
        for t in places["targets"]
    ]
    table("Deployed", ("target", "name", "version", "status", "endpoint", "changed now"), rows)
    for problem in places["problems"]:
        out.print(problem, soft_wrap=True)


def serve(
    name: ModelName,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8008,
    as_json: AsJson = False,
) -> None:
    """Score rows over HTTP with the champion, on this machine only; promotions and rollbacks are followed.

    POST /score, GET /model, GET /health, and POST /features/VIEW with keys where the model's views are online. It has no
    authentication: put it behind what has.

    Example: orchestrai model serve churn --port 8008
    """
    import uvicorn

    from orchestrai.core.time.calendar import WHOLE
    from orchestrai.features.by_key.online_http import features_app
    from orchestrai.features.spec import FeatureViewSpec
    from orchestrai.features.views.moment_partitions import PointInTime
    from orchestrai.models.registry.serving import scoring_app

    runtime, node = _opened(name)
    # found out now, not at the first request
    with runtime.ledger.using():
        runtime.ledger.open(node.asset("champion")).receipt(WHOLE)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            # who reads the address below may ask at once
            listener.listen()
        except OSError as exc:
            raise ConfigError(f"expected port {port} to be free, found it taken: choose another with --port") from exc
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        if as_json:
            emit({"model": node.shown, "url": url})
        else:
            out.print(f"{node.shown} serves at {url} (stop with Ctrl-C)")
        app = scoring_app(runtime.ledger, node.asset("champion"), known=PointInTime(runtime.ledger))
        online = [view for view in node.views if isinstance(view.view.spec, FeatureViewSpec) and view.view.spec.online]
        if online:
            from orchestrai.features.by_key.online import online_path

            home = runtime.settings.home
            # who asks by a name that it had before is answered too
            paths = {
                name: online_path(home, view.pipeline, view.view.name)
                for view in online
                for name in (view.name, *view.former_names)
            }
            app.mount("/features", features_app(paths, _flags(runtime, online)))
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _flags(runtime: "Runtime", online: Sequence["ViewNode"]) -> "Flags":
    """Which of the features that are served are stale, from the ledger."""
    from orchestrai.features.by_key.online_http import Flags
    from orchestrai.pipeline.reports.stale_assets import stale_assets
    from orchestrai.stage.staleness import flags_of

    assets = {name: view.asset for view in online for name in (view.name, *view.former_names)}

    def stale(view: str) -> dict[str, str]:
        left = stale_assets(runtime.context(), runtime.project.nodes, [assets[view]])
        if left.unreadable:
            raise IntegrityError(next(iter(left.unreadable.values())))
        return flags_of(left.partitions)

    return Flags(stale, runtime.clock)


def _opened(name: str) -> "tuple[Runtime, ModelNode]":

    runtime = open_runtime()
    return runtime, runtime.project.model(name)
