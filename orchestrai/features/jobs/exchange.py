"""Spark on a cluster: verified inputs and a job go to an exchange that both sides reach, results and their receipt come back."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrai.errors import DigestMismatch, MissingObject, ObjectExists, ObjectNotFound, OrchestraiError, StorageError
from orchestrai.features.engines.duckdb_engine import translate
from orchestrai.features.engines.engine import Query, Reads
from orchestrai.features.engines.spark_engine import batches_of, job_of
from orchestrai.features.views.view import FeatureView
from orchestrai.storage.base import Store

Launch = Callable[[str], None]
SCRIPT = Path(__file__).parent.parent / "engines" / "spark_job.py"
ENDED = "ended"


def sent_script(exchange: Store, url: str) -> str:
    """The job's script, put into the exchange under its own digest; returns its URL for the cluster."""
    key = f"scripts/{sha256(SCRIPT.read_bytes()).hexdigest()[:24]}/{SCRIPT.name}"
    try:
        exchange.write_file(key, SCRIPT, create=True)
    except ObjectExists:
        pass
    return f"{url.rstrip('/')}/{key}"


class RemoteSparkEngine:
    """Runs views as jobs of `spark_job.py`: `launch` starts one, given its URL, and returns when it has ended.

    `exchange` is the store under which `url` names the same place to the cluster. Inputs are put there under their SHA-256, once;
    the cluster hashes them again before use, and its results are hashed when they come back. A job is named by a digest of all it
    reads, so a step that is tried again finds the job that still runs, or what it left; one that failed or was cancelled is
    followed by another attempt with a name of its own.
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

    def resident(self, view: FeatureView, reads: Reads) -> AbstractContextManager[None]:
        """As `Engine.resident`: the cluster keeps what it likes."""
        return nullcontext()

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`; raises DigestMismatch where a file changed on its way, StorageError where the cluster failed."""
        digests: dict[str, str] = {}
        job = job_of(query, lambda path: self._sent(path, digests), "")
        stem = self._stem(job, digests)
        token = f"{stem}-{self._attempt(stem)}"
        with tempfile.TemporaryDirectory(prefix="orchestrai-remote-") as folder:
            with self._settled(token):
                result = self._receipt(token) or self._made(job, digests, token)
                self._judge(result, digests, token, query.view)
                files = self._outputs(result, token, Path(folder))
            yield batches_of(files, query.view.schema)
        for info in list(self._exchange.list(f"jobs/{stem}-")):
            self._exchange.delete(info.key)

    def _sent(self, path: Path, digests: dict[str, str]) -> str:
        with path.open("rb") as stream:
            digest = file_digest(stream, "sha256").hexdigest()
        key = f"in/{digest}.parquet"
        digests[f"{digest}.parquet"] = digest
        try:
            self._exchange.write_file(key, path, create=True)
        except ObjectExists:
            pass
        return f"{self._url}/{key}"

    def _stem(self, job: Mapping[str, Any], digests: Mapping[str, str]) -> str:
        """The name of all attempts at one job; short enough for every service, a letter in front."""
        parts = [self._where, job, digests, sha256(SCRIPT.read_bytes()).hexdigest()]
        return f"orchestrai-{sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]}"

    def _attempt(self, stem: str) -> int:
        ended = [info.key.split("/")[1] for info in self._exchange.list(f"jobs/{stem}-") if info.key.endswith(f"/{ENDED}")]
        return max((int(token.rpartition("-")[2]) for token in ended), default=0) + 1

    @contextmanager
    def _settled(self, token: str) -> Iterator[None]:
        """Note an attempt that is over and of no use, so that the next has another name; after an outage it may still run."""
        over = True
        try:
            yield
            over = False
        except OrchestraiError as exc:
            over = not exc.retryable
            raise
        finally:
            if over:
                self._exchange.write(f"jobs/{token}/{ENDED}", b"")

    def _made(self, job: Mapping[str, Any], digests: Mapping[str, str], token: str) -> dict[str, Any]:
        folder = f"{self._url}/jobs/{token}"
        body = json.dumps({**job, "out": f"{folder}/out", "id": token, "sha256": digests}, sort_keys=True)
        self._exchange.write(f"jobs/{token}/job.json", body.encode())
        failed: StorageError | None = None
        try:
            self._launch(f"{folder}/job.json")
        except StorageError as exc:
            if exc.retryable:
                raise
            failed = exc  # a job that failed may have left its reason
        receipt = self._receipt(token)
        if receipt is None:
            raise failed or StorageError(
                f"expected the result of the job {token} on {self._where}, found none: read that system's log"
            )
        return receipt

    def _receipt(self, token: str) -> dict[str, Any] | None:
        """What a job says of itself at its end; None where it has not."""
        folder = f"jobs/{token}/result/"
        for info in self._exchange.list(folder):
            if info.key.startswith(f"{folder}part-"):
                receipt: dict[str, Any] = json.loads(self._exchange.read(info.key))
                return receipt
        return None

    def _judge(self, result: Mapping[str, Any], digests: Mapping[str, str], token: str, view: FeatureView) -> None:
        self._version = str(result["spark"])
        error = str(result.get("error", ""))
        if error.startswith("integrity: "):
            raise DigestMismatch(error.removeprefix("integrity: "))
        if error:
            raise translate(RuntimeError(error), view)
        if result["job"] != token or dict(result["inputs"]) != dict(digests):
            raise DigestMismatch(f"expected a receipt of the job {token} over what it was sent, found another: run it again")

    def _outputs(self, result: Mapping[str, Any], token: str, folder: Path) -> list[Path]:
        files = []
        for name, digest in sorted(result["outputs"].items()):
            if not name.startswith("part-"):
                continue
            key = f"jobs/{token}/out/{name}"
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
