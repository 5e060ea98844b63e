"""Sail: Spark's Connect protocol without a JVM, in a process of its own.

Sail 0.7.2 refuses to start a session where the package pyspark beside it is 4.3. It asks that package for its version and, for SQL,
for nothing else, so its process is given a stand-in that says 4.1.1. The client is the installed PySpark, unchanged.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from orchestrai_tests.servers.process import ServerAbsent, free_port, running

SERVER = """
import sys
sys.path.insert(0, sys.argv[2])
from pysail.spark import SparkConnectServer
SparkConnectServer("127.0.0.1", int(sys.argv[1])).start(background=False)
"""


@contextlib.contextmanager
def sail_server(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Its URL for a Connect client; more variables say how it reaches a store."""
    for package, extra in (("pysail", "the package pysail"), ("grpc", "pyspark[connect]")):
        if find_spec(package) is None:
            raise ServerAbsent(f"{package} is not installed: install {extra}")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / "pyspark"
        stand_in.mkdir()
        (stand_in / "__init__.py").write_text('__version__ = "4.1.1"\n')
        command, log = [sys.executable, "-c", SERVER, str(port), folder], Path(folder) / "server.log"
        with running(command, port, log=log, environment={**os.environ, **(environment or {})}):
            yield f"sc://127.0.0.1:{port}"
