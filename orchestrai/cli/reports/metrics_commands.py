"""`metrics` and `metrics serve`: figures for Prometheus, once or for whoever asks."""

import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import err, make_app
from orchestrai.errors import ConfigError, OrchestraiError

if TYPE_CHECKING:
    from orchestrai.observability.metrics.exporter import Exporter

LOOPBACK = "127.0.0.1"
metrics = make_app("Figures of the project in Prometheus' text format, read from ledger and instance; nothing is pushed.")


@metrics.callback(invoke_without_command=True, no_args_is_help=False)
def metrics_once(context: typer.Context) -> None:
    """Print the figures once. Example: orchestrai metrics > /var/lib/node_exporter/orchestrai.prom"""
    if context.invoked_subcommand is None:
        exporter = _exporter()
        exporter.survey()
        sys.stdout.write(exporter.scrape())


@metrics.command("serve")
def serve(
    port: Annotated[int, typer.Option(help="where to listen")] = 9464,
    host: Annotated[str, typer.Option(help="an address other than loopback lets everybody there read it")] = LOOPBACK,
    refresh: Annotated[int, typer.Option(help="seconds between looks at landings, RPO, gates and staleness")] = 300,
) -> None:
    """Answer /metrics until stopped, with what ledger and instance say at each scrape.

    Example: orchestrai metrics serve --port 9464
    """
    if refresh < 1:
        raise ConfigError(f"expected at least 1 second between looks, found {refresh}")
    from orchestrai.observability.metrics.metrics_server import MetricsServer

    exporter = _exporter()
    try:
        server = MetricsServer((host, port), exporter)
    except OSError as exc:
        raise ConfigError(f"expected to listen on {host}:{port}, found {exc.strerror}: choose another --port") from exc
    threading.Thread(target=_look, args=(exporter, refresh), daemon=True).start()
    err.print(f"figures on http://{host}:{server.server_port}/metrics")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        err.print("stopped")
    finally:
        server.server_close()


def _exporter() -> "Exporter":
    from orchestrai.defs.instance import site_instance
    from orchestrai.defs.platform.instance_figures import InstanceFigures
    from orchestrai.observability.metrics.exporter import Exporter

    runtime = open_runtime()
    return Exporter(runtime, (InstanceFigures(site_instance(runtime.settings)),))


def _look(exporter: "Exporter", seconds: int) -> None:
    while True:
        try:
            exporter.survey()
        except OrchestraiError as error:
            # the age of the last look tells it too
            err.print(f"no new look: {error.message}")
        time.sleep(seconds)
