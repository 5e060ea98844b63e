"""A small fake of Google Cloud Storage's JSON API: metadata, generations, retention, holds and rewrite.

No emulator that keeps these rules runs here, so this states the contract that the control plane is written against; which requests and
answers there are is the discovery document's word.
"""

import base64
import contextlib
import hashlib
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from orchestrai_tests.clouds.aws_model import OutsideModel
from orchestrai_tests.clouds.google_document import google_document


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass
class FakeGcs:
    """Buckets of generations; objects are put by the test."""

    endpoint: str = ""
    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    generation: int = 1_700_000_000_000_000
    faults: list[str] = field(default_factory=list)

    def put(self, bucket: str, name: str, data: bytes) -> dict[str, Any]:
        """Add a generation."""
        self.generation += 1
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        made = {
            "bucket": bucket,
            "name": name,
            "generation": str(self.generation),
            "metageneration": "1",
            "size": str(len(data)),
            "etag": f"e{self.generation}",
            "updated": now,
            "storageClass": "STANDARD",
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
        }
        held = self.objects.setdefault((bucket, name), [])
        if held:
            held[-1].setdefault("timeDeleted", now)
        held.append(made)
        return made

    def find(self, bucket: str, name: str, generation: str | None) -> dict[str, Any]:
        for found in reversed(self.objects.get((bucket, name), [])):
            if generation in (None, found["generation"]):
                return found
        raise Refused(404)

    def patch(self, found: dict[str, Any], changes: dict[str, Any], override: bool) -> dict[str, Any]:
        old, new = found.get("retention"), changes.get("retention")
        if new and self.buckets[found["bucket"]].get("objectRetention", {}).get("mode") != "Enabled":
            raise Refused(400)
        if old and new and new != old:
            shorter = new["retainUntilTime"] < old["retainUntilTime"] or new["mode"] != "Locked"
            if (old["mode"] == "Locked" and shorter) or (old["mode"] == "Unlocked" and not override):
                raise Refused(403)
        found.update(changes)
        return found

    def delete(self, bucket: str, name: str, generation: str | None) -> None:
        found = self.find(bucket, name, generation)
        if (
            found.get("temporaryHold")
            or found.get("retention", {}).get("retainUntilTime", "") > datetime.now(UTC).isoformat()
        ):
            raise Refused(403)
        self.objects[bucket, name].remove(found)

    def handle(self, method: str, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a request of the discovery document; anything outside it is a fault."""
        document = google_document("storage.v1")
        # google-cloud-storage sends it along, though the document does not have it
        body.get("retention", {}).pop("retentionExpirationTime", None)
        try:
            call = document.request(method, url, body or None)
            answer = self._handle(method, url, body)
            return answer if answer is None else dict(document.answer(call, answer))
        except OutsideModel as exc:
            self.faults.append(str(exc))
            raise Refused(400) from exc

    def _handle(self, method: str, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        steps = [unquote(step) for step in parts.path.removeprefix("/storage/v1/b/").split("/")]
        if len(steps) == 1:
            return {"name": steps[0], **self.buckets[steps[0]]}
        if len(steps) == 2:
            prefix = query.get("prefix", "")
            found = [made for (bucket, name), all_ in self.objects.items() if bucket == steps[0] for made in all_]
            # one a page, so that pages are turned
            found, at = [made for made in found if made["name"].startswith(prefix)], int(query.get("pageToken", "0"))
            more = {"nextPageToken": str(at + 1)} if at + 1 < len(found) else {}
            return {"items": found[at : at + 1], **more}
        source = self.find(steps[0], steps[2], query.get("generation") or query.get("sourceGeneration"))
        if method == "PATCH":
            return self.patch(source, body, query.get("overrideUnlockedRetention", "").lower() == "true")
        if method == "DELETE":
            self.delete(steps[0], steps[2], query.get("generation"))
            return None
        if "rewriteTo" in steps:
            if query.get("ifSourceGenerationMatch") not in (None, source["generation"]):
                raise Refused(412)
            made = self.put(steps[5], steps[7], b"")
            made.update({name: source[name] for name in ("size", "md5Hash")}, **body)
            return {"done": True, "totalBytesRewritten": "1", "objectSize": "1", "resource": made}
        return source


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer, status = self.server.fake.handle(self.command, self.path, json.loads(body or b"{}")), 200
        except Refused as exc:
            answer, status = {"error": {"code": exc.status, "message": "refused"}}, exc.status
        text = b"" if answer is None else json.dumps(answer).encode()
        self.send_response_only(204 if answer is None else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PATCH = do_POST = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, fake: FakeGcs) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake


@contextlib.contextmanager
def fake_gcs() -> Iterator[FakeGcs]:
    """Run the fake in threads of this process."""
    fake = FakeGcs()
    with _Server(fake) as server:
        fake.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
    assert fake.faults == []
