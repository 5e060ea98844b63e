"""`orchestrai ...`: what must also work when Dagster is down.

Exit codes: 0 done, 1 done and something is wrong, 2 the input or usage is wrong, 3 an outside system failed.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from orchestrai.core.actor import Actor, acting
from orchestrai.core.process import one_command
from orchestrai.errors import OrchestraiError
from orchestrai.settings import read_env_file

# as shells count it
INTERRUPTED = 130
STOPPED = "orchestrai: interrupted. What was published stays, and nothing half done is ever read; the same command goes on from there\n"

GARBAGE = 50_000


def main() -> None:
    """Run the command line; an error is one line on stderr and an exit code."""
    # a command makes many objects that stay, and little garbage: looking for it is a tenth of its start
    gc.set_threshold(GARBAGE, 20, 50)
    with one_command():
        from orchestrai.cli.app import app

        try:
            read_env_file()
            with acting(_actor):
                sys.exit(_in_json(app) if "--json" in sys.argv else app())
        except SystemExit as end:
            if end.code == INTERRUPTED:
                sys.stderr.write(STOPPED)
            raise
        except OrchestraiError as error:
            _tell(type(error).__name__, error.message, error.exit_code)


def _in_json(app: Callable[..., Any]) -> int:
    """Run the command line for a program: a wrong argument is told to it, too."""
    # typer brings its own copy of click
    from typer._click.exceptions import ClickException

    try:
        return int(app(standalone_mode=False) or 0)
    except ClickException as wrong:
        _tell(type(wrong).__name__, wrong.format_message(), wrong.exit_code)


def _tell(kind: str, message: str, code: int) -> NoReturn:
    """One line for a person, and an object where a program asked for one."""
    sys.stderr.write(f"orchestrai: {message}\n")
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}, indent=2) + "\n")
    sys.exit(code)


def _actor() -> Actor:
    """Who runs this command; asked when it signs something."""
    from orchestrai.settings import load_settings
    from orchestrai.storage.cloud.known_person import known_person

    name, known_by = known_person(load_settings())
    return Actor(name or f"uid {os.getuid()}", known_by, "command line")
