"""moto's server: S3, SQS, SNS, KMS, Secrets Manager, SageMaker and more on one loopback port."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrai_tests.servers.process import free_port, running
from orchestrai_tests.servers.s3 import S3Server


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with running(command, port, log=Path(folder) / "log"):
            yield S3Server(f"http://127.0.0.1:{port}", "testkey", "testsecret")
