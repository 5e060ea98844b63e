"""A Google Cloud Storage XML API in front of moto's S3, enough for the data plane; of the JSON API it answers listings and reads alone.

Generations are counted here; x-goog-if-generation-match is kept for 0 (put if absent) and for the newest generation.
"""

import contextlib
import itertools
import json
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from orchestrai_tests.servers.process import free_port, running

_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
_REFUSED = b'<?xml version="1.0"?><Error><Code>PreconditionFailed</Code><Message>generation</Message></Error>'


@dataclass(frozen=True)
class GcsServer:
    """An XML API endpoint on loopback that asks for no credentials."""

    endpoint: str

    def bucket(self) -> str:
        """Create a bucket with a fresh name."""
        import urllib.request

        # obstore sends "-" in a bucket's name as %2D, which moto takes literally
        name = f"test{uuid.uuid4().hex[:12]}"
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT"), timeout=30).close()
        return name

    @property
    def service_account_key(self) -> str:
        """A service account that needs no token."""
        account = {"gcs_base_url": self.endpoint, "disable_oauth": True}
        return json.dumps({**account, "client_email": "", "private_key": "", "private_key_id": ""})


class XmlShim:
    """WSGI middleware that turns the headers of the XML API into S3's and back."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._numbers = itertools.count(1_700_000_000_000_000)
        self._generations: dict[str, str] = {}
        self._lock, self._writes = threading.Lock(), threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, query, method = environ["PATH_INFO"], environ.get("QUERY_STRING", ""), environ["REQUEST_METHOD"]
        if path.startswith("/storage/v1/b/") and method == "GET":
            return self._json(path, query, environ, start_response)
        environ["HTTP_AUTHORIZATION"] = _AUTHORIZATION
        wanted = environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None)
        for name in [name for name in environ if name.startswith("HTTP_X_GOOG_") and name != "HTTP_X_GOOG_USER_PROJECT"]:
            environ[name.replace("HTTP_X_GOOG_", "HTTP_X_AMZ_")] = environ[name]
        if wanted == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        elif wanted is not None and wanted != self._generations.get(path):
            start_response("412 Precondition Failed", [("Content-Type", "application/xml")])
            return [_REFUSED]
        writes = (method == "PUT" and "partNumber=" not in query) or (method == "POST" and "uploadId=" in query)

        def answer(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if method == "DELETE" and status.startswith("2"):
                self._generations.pop(path, None)
            if writes and status.startswith("2"):
                with self._lock:
                    self._generations[path] = str(next(self._numbers))
            renamed = [(name.lower().replace("x-amz-", "x-goog-"), value) for name, value in headers]
            if path in self._generations and "list-type=" not in query:
                renamed.append(("x-goog-generation", self._generations[path]))
            return start_response(status, renamed, exc_info)

        if not writes:
            return self._app(environ, answer)  # type: ignore[no-any-return]
        # one after the other: moto looks whether a key is taken before it puts, and two may both find it free
        with self._writes:
            return list(self._app(environ, answer))

    def _json(self, path: str, query: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The JSON API: a listing, what an object is, or with alt=media its bytes."""
        bucket, _, key = path.removeprefix("/storage/v1/b/").partition("/o/")
        if not key:
            return self._listed(bucket.removesuffix("/o"), query, start_response)
        place = f"/{bucket}/{key}"
        asked = {**environ, "PATH_INFO": place, "RAW_URI": quote(place), "REQUEST_URI": quote(place), "QUERY_STRING": ""}
        asked["HTTP_AUTHORIZATION"] = _AUTHORIZATION
        if dict(parse_qsl(query)).get("alt") == "media":
            return self._app(asked, start_response)  # type: ignore[no-any-return]
        return self._described(bucket, key, {**asked, "REQUEST_METHOD": "HEAD"}, start_response)

    def _described(self, bucket: str, key: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """What a HEAD request says of an object, in the JSON API's words."""
        told: dict[str, str] = {}
        status = "404 Not Found"

        def answer(given: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = given
            told.update({name.lower(): value for name, value in headers})

        list(self._app(environ, answer))
        start_response(status, [("Content-Type", "application/json")])
        if not status.startswith("2"):
            return [b"{}"]
        return [
            json.dumps(_object(bucket, key, self._generations.get(f"/{bucket}/{key}", "1"), told["content-length"])).encode()
        ]

    def _listed(self, bucket: str, query: str, start_response: Any) -> Iterable[bytes]:
        """The objects of a bucket, whose one version is the newest, in the JSON API's words."""
        prefix = f"/{bucket}/" + dict(parse_qsl(query)).get("prefix", "")
        with self._lock:
            found = {path: generation for path, generation in self._generations.items() if path.startswith(prefix)}
        items = [_object(bucket, path.removeprefix(f"/{bucket}/"), generation) for path, generation in sorted(found.items())]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"kind": "storage#objects", "items": items}).encode()]


def _object(bucket: str, name: str, generation: str, size: str = "0") -> dict[str, str]:
    where = {"kind": "storage#object", "bucket": bucket, "name": name, "generation": generation}
    return {**where, "size": size, "etag": generation, "updated": "2026-01-01T00:00:00.000Z"}


@contextlib.contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """Run the shim in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        with running([sys.executable, __file__, str(port)], port, log=Path(folder) / "log"):
            yield GcsServer(f"http://127.0.0.1:{port}")


def _serve(port: int) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, XmlShim(DomainDispatcherApplication(create_backend_app)), threaded=True)


if __name__ == "__main__":
    # the file's own folder comes first on the path of a script and its moto.py would hide the library
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    _serve(int(sys.argv[1]))
