"""`stream run`: one process that carries a stream through every stage, a micro-batch after another."""

import signal
import threading
from datetime import timedelta
from types import FrameType
from typing import Annotated

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, err, make_app, out

stream = make_app("Streams carried on without a run for each minute.")


@stream.callback()
def _stream() -> None:
    """Streams carried on without a run for each minute."""


@stream.command("run")
def run(
    dataset: Annotated[str, typer.Argument(help="a dataset that is read from a stream, for example telemetry/readings")],
    every: Annotated[float, typer.Option("--every", min=0.0, help="seconds between the beginnings of two batches")] = 60.0,
    batches: Annotated[
        int | None, typer.Option("--batches", min=1, help="stop after so many; default: when told to")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry a stream on, batch by batch: raw events, snapshot, restored, features and what is loaded of them.

    Stops between two batches at SIGTERM and Ctrl-C. After a crash the next one goes on from the published position. While it runs the
    dataset's stream sensor asks for one run each `source.stream.report_every` and not for one each minute. Exit code 1 when the last batch
    was refused.

    Example: orchestrai stream run telemetry/readings --every 60
    """
    from orchestrai.pipeline.micro_batches.stream_worker import Pace, StreamWorker

    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    runtime = open_runtime()

    def say(line: str) -> None:
        err.print(line, markup=False, highlight=False, soft_wrap=True)

    worker = StreamWorker(runtime, runtime.project.dataset(dataset), stop.wait, say)
    done = worker.run(Pace(timedelta(seconds=every), batches))
    if as_json:
        emit(done)
    else:
        out.print(f"{done.batches} batches, {done.records:,} records", highlight=False)
    raise typer.Exit(1 if done.refused else 0)
