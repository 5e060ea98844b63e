"""`orchestrai ...`: what must also work when Dagster is down.

Exit codes: 0 done, 1 done and something is wrong, 2 the input or usage is wrong, 3 an outside system failed.
"""

import gc
import os
import sys
from types import ModuleType

from orchestrai.core.actor import Actor, acting, os_user
from orchestrai.core.process import one_command
from orchestrai.errors import OrchestraiError
from orchestrai.settings import read_env_file

GARBAGE = 50_000


def light_help() -> None:
    """Let typer draw its help without what it would load for help in Markdown and for traces of errors, neither of which is ours."""
    for name, part in (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback")):
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
            setattr(sys.modules[name], part, type(part, (), {}))
    try:
        import typer.rich_utils  # noqa: F401
    finally:
        for name in ("rich.markdown", "rich.traceback"):
            if not hasattr(sys.modules[name], "__file__"):
                del sys.modules[name]


def main() -> None:
    """Run the command line; an error is one line on stderr and an exit code."""
    # a command makes many objects that stay, and little garbage: looking for it is a tenth of its start
    gc.set_threshold(GARBAGE, 20, 50)
    with one_command():
        if len(sys.argv) < 3 or "--help" in sys.argv:
            light_help()
        from orchestrai.cli.app import app

        try:
            read_env_file()
            user = os_user()
            with acting(Actor(user or f"uid {os.getuid()}", "os user" if user else "nobody", "command line")):
                app()
        except OrchestraiError as error:
            sys.stderr.write(f"orchestrai: {error.message}\n")
            sys.exit(error.exit_code)
