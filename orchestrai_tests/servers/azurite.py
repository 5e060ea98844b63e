"""Azurite: Azure Blob and Queue storage, from its npm package kept in the user's cache folder."""

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrai_tests.servers.process import ServerAbsent, free_port, require_program, running, wait_for_port

VERSION = "3.35.0"
# the account that Azurite documents for everybody: no secret
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class AzuriteServer:
    """Blob and queue endpoints on loopback with one account."""

    endpoint: str
    queue_endpoint: str
    account: str = ACCOUNT
    key: str = KEY

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.endpoint};QueueEndpoint={self.queue_endpoint};"
        )

    def blob_service(self) -> Any:
        """A BlobServiceClient of this server."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string)

    def container(self) -> str:
        """Create a container with a fresh name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.blob_service().create_container(name)
        return name


@contextlib.contextmanager
def azurite_server(environment: Mapping[str, str] | None = None) -> Iterator[AzuriteServer]:
    """Run Azurite in memory, with more variables; raises ServerAbsent where Node or the package cannot be had."""
    node, script = require_program("node", "nodejs"), _installed()
    blob, queue, table = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [node, str(script), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
        command += ["--blobHost", "127.0.0.1", "--blobPort", str(blob)]
        command += ["--queueHost", "127.0.0.1", "--queuePort", str(queue)]
        command += ["--tableHost", "127.0.0.1", "--tablePort", str(table)]
        with running(command, blob, log=Path(folder) / "log", environment={**os.environ, **(environment or {})}) as process:
            wait_for_port(queue, 30, process)
            yield AzuriteServer(f"http://127.0.0.1:{blob}/{ACCOUNT}", f"http://127.0.0.1:{queue}/{ACCOUNT}")


def _installed() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrai-tests" / f"azurite-{VERSION}"
    script = cache / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
    if not script.is_file():
        npm = require_program("npm", "npm")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--omit=dev", "--prefix", str(cache), f"azurite@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=cache, capture_output=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            raise ServerAbsent("azurite could not be installed within 300 s") from None
        if done.returncode != 0 or not script.is_file():
            raise ServerAbsent(f"azurite could not be installed: npm ended with code {done.returncode}")
    return script
