"""The endpoint that Prometheus scrapes."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrai.observability.metrics.exporter import Exporter
from orchestrai.observability.metrics.exposition import CONTENT_TYPE


class MetricsServer(ThreadingHTTPServer):
    """Answers GET /metrics and /-/healthy, and nothing else."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], exporter: Exporter) -> None:
        self.exporter = exporter
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, self.server.exporter.scrape(), CONTENT_TYPE)
        elif path == "/-/healthy":
            self._answer(200, "well\n", "text/plain; charset=utf-8")
        else:
            self._answer(404, "ask for /metrics\n", "text/plain; charset=utf-8")

    def _answer(self, status: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is no news."""
