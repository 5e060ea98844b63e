"""A loopback HTTP proxy that breaks the requests it is told to break."""

import contextlib
import http.client
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import urlsplit

# unavailable: 503 without effect; lost: done, but the connection ends without an answer; cut: the answer ends half way;
# refused: done, but the answer is 503; slowed: 429 without effect
Fault = Literal["unavailable", "slowed", "lost", "refused", "cut"]
Rule = Callable[[str, str], Fault | None]
Answer = tuple[int, list[tuple[str, str]], bytes]
# an answer of the proxy's own to method, path, headers (by lower-case names) and body; None lets the request pass
Check = Callable[[str, str, Mapping[str, str], bytes], Answer | None]


@dataclass
class FaultProxy:
    """Requests pass to `upstream`; `rule(method, path)` names the fault of each; `seen` is what came, in order."""

    upstream: str
    endpoint: str = ""
    rule: Rule = lambda method, path: None
    seen: list[tuple[str, str, Fault | None]] = field(default_factory=list)
    check: Check = lambda method, path, headers, body: None

    def fail_once(self, fault: Fault, method: str) -> None:
        """Break the next request of a method."""
        self.fail(fault, method, times=1)

    def fail(self, fault: Fault, method: str, times: int) -> None:
        """Break the next `times` requests of a method."""
        left = [times]

        def rule(asked: str, path: str) -> Fault | None:
            if asked != method or not left[0]:
                return None
            left[0] -= 1
            return fault

        self.rule = rule


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _handle(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        own = proxy.check(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        if own is not None:
            self._answer(*own)
            return
        fault = proxy.rule(self.command, self.path)
        proxy.seen.append((self.command, self.path, fault))
        if fault in ("unavailable", "slowed"):
            self._answer(503 if fault == "unavailable" else 429, [], b"")
            return
        status, headers, answer = self._forwarded(body)
        if fault == "lost":
            self.close_connection = True
        elif fault == "refused":
            self._answer(503, [], b"")
        else:
            self._answer(status, headers, answer, cut=fault == "cut")

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        target = urlsplit(self.server.proxy.upstream)
        connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        # a HEAD answer has the length of a body that is not sent
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `seen` is the log."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, killed or tired of waiting, is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in threads of this process."""
    proxy = FaultProxy(upstream)
    with _Server(proxy) as server:
        proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
