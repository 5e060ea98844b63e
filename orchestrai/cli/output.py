"""Printing: tables for people, one JSON document for programs."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrai.settings import PREFIX

TRANSFER_LIMIT = f"{PREFIX}TRANSFER_LIMIT"
# one bar for all partitions of a stage, not one each
PARTITION = re.compile(r"[@ ]\d{4}-\d\d-\d\d.*$")

OK = {True: "[green]ok[/green]", False: "[red]failed[/red]"}
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead of text")]

# a pipe or a log has no width of its own
out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)


def make_app(help_text: str) -> typer.Typer:
    """A command group in the house style."""
    return typer.Typer(
        help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )


def emit(value: Any) -> None:
    """Print a value as JSON."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    sys.stdout.write(json.dumps(plain, indent=2, default=str) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers to the right."""
    from rich.table import Table

    shown = Table(title=title, title_justify="left", title_style="bold", header_style="dim", expand=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell) for cell in row))
    out.print(shown)


@contextmanager
def bars(quiet: bool) -> Iterator[Any]:
    """Progress bars on stderr, one per kind of work; yields a callback `(what, done, total)`."""
    if quiet:
        yield lambda what, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    limit = os.environ.get(TRANSFER_LIMIT, "")
    with Progress(*columns, console=err, transient=False) as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            kind = PARTITION.sub("", what) + (f" (at most {limit})" if limit else "")
            if kind not in tasks:
                tasks[kind] = progress.add_task(kind, total=total)
            progress.update(tasks[kind], completed=done, total=total)

        yield tell
