"""Spark on a cluster: verified inputs and a job go to an exchange that both sides reach, results and their receipt come back."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from orchestrai.errors import DigestMismatch, FeatureViewError, MissingObject, ObjectExists, ObjectNotFound
from orchestrai.features.duckdb_engine import translate
from orchestrai.features.engine import Query
from orchestrai.features.spark_engine import batches_of, job_of
from orchestrai.storage import Store

Launch = Callable[[str], None]
SCRIPT = Path(__file__).with_name("spark_job.py")


class RemoteSparkEngine:
    """Runs views as jobs of `spark_job.py`: `launch` starts one, given its URL, and returns when it has ended.

    `exchange` is the store under which `url` names the same place to the cluster. Inputs are put there under their SHA-256, once;
    the cluster hashes them again before use, and its results are hashed when they come back.
    """

    def __init__(self, exchange: Store, url: str, launch: Launch, where: str) -> None:
        self._exchange = exchange
        self._url = url.rstrip("/")
        self._launch = launch
        self._where = where
        self._version = ""

    @property
    def name(self) -> str:
        """`spark on` the place where jobs run, with the version that the last one told."""
        return f"spark {self._version} on {self._where}".replace("  ", " ")

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`; raises DigestMismatch where a file changed on its way."""
        number = uuid4().hex
        digests: dict[str, str] = {}

        def locate(path: Path) -> str:
            with path.open("rb") as stream:
                digest = file_digest(stream, "sha256").hexdigest()
            key = f"in/{digest}.parquet"
            digests[f"{digest}.parquet"] = digest
            try:
                self._exchange.write_file(key, path, create=True)
            except ObjectExists:
                pass
            return f"{self._url}/{key}"

        job = job_of(query, locate, f"{self._url}/jobs/{number}/out")
        body = json.dumps({**job, "id": number, "sha256": digests}, sort_keys=True)
        self._exchange.write(f"jobs/{number}/job.json", body.encode())
        self._launch(f"{self._url}/jobs/{number}/job.json")
        result = self._result(query, number)
        with tempfile.TemporaryDirectory(prefix="orchestrai-remote-") as folder:
            yield batches_of(self._outputs(result, number, Path(folder)), query.view.schema)
        for info in list(self._exchange.list(f"jobs/{number}/")):
            self._exchange.delete(info.key)

    def _result(self, query: Query, number: str) -> dict[str, dict[str, str]]:
        parts = [info.key for info in self._exchange.list(f"jobs/{number}/result/") if "/part-" in info.key]
        if not parts:
            raise FeatureViewError(
                f"{query.view.name}: expected the result of the job on {self._where}, found none: read that system's log"
            )
        result = json.loads(self._exchange.read(parts[0]))
        self._version = str(result["spark"])
        error = str(result.get("error", ""))
        if error.startswith("integrity: "):
            raise DigestMismatch(error.removeprefix("integrity: "))
        if error:
            raise translate(RuntimeError(error), query.view)
        found: dict[str, dict[str, str]] = result
        return found

    def _outputs(self, result: dict[str, dict[str, str]], number: str, folder: Path) -> list[Path]:
        files = []
        for name, digest in sorted(result["outputs"].items()):
            if not name.startswith("part-"):
                continue
            key = f"jobs/{number}/out/{name}"
            path = folder / name
            try:
                path.write_bytes(self._exchange.read(key))
            except ObjectNotFound as exc:
                raise MissingObject(f"expected {key} in the exchange, found nothing: run it again") from exc
            with path.open("rb") as stream:
                if file_digest(stream, "sha256").hexdigest() != digest:
                    raise DigestMismatch(f"expected {key} as the cluster wrote it, found other bytes: run it again", key=key)
            files.append(path)
        return files
