"""`orchestrai ...`: what must also work when Dagster is down.

Exit codes: 0 done, 1 done and something is wrong, 2 the input or usage is wrong, 3 an outside system failed.
"""

import os
import sys

from orchestrai.core.actor import Actor, acting
from orchestrai.core.process import one_command
from orchestrai.errors import OrchestraiError
from orchestrai.settings import read_env_file


def main() -> None:
    """Run the command line; an error is one line on stderr and an exit code."""
    with one_command():
        from orchestrai.cli.app import app

        try:
            read_env_file()
            with acting(_actor):
                app()
        except OrchestraiError as error:
            sys.stderr.write(f"orchestrai: {error.message}\n")
            sys.exit(error.exit_code)


def _actor() -> Actor:
    """Who runs this command; asked when it signs something."""
    from orchestrai.settings import load_settings
    from orchestrai.storage.known_person import known_person

    name, known_by = known_person(load_settings())
    return Actor(name or f"uid {os.getuid()}", known_by, "command line")
