"""A supplier's items API on a loopback port: JSON pages at `/items`, each with the URL of the next."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from orchestrai.demo.catalogue import make_items
from orchestrai.demo.demo_landing import DAYS, END
from orchestrai.demo.shop import midnight

LARGEST_PAGE = 500


@contextmanager
def items_api(landing: Path | None = None, *, port: int = 0, page_size: int = 50, failures: int = 0) -> Iterator[str]:
    """Serve the items that `write_landing` put under `landing` (the default catalogue without one); yields the first page's URL.

    A page is `{"items": [...], "page": 1, "pages": 5, "next": "http://..." or null}`; `?page=` counts from 1, `&size=` asks for
    other pages than `page_size`. The first `failures` answers are 503. `port` 0 takes a free one.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(_records(landing), page_size, failures))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/items"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _records(landing: Path | None) -> list[dict[str, Any]]:
    if landing is None:
        return [dict(record) for record in make_items().as_records(midnight(END - timedelta(days=DAYS)))]
    lines = (landing / "items" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _handler(records: Sequence[dict[str, Any]], default_size: int, failures: int) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()
    left = [failures]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                fails = left[0] > 0
                left[0] -= fails
            if fails:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "busy, try again"})
                return
            parts = urlsplit(self.path)
            if parts.path.rstrip("/") != "/items":
                self._answer(HTTPStatus.NOT_FOUND, {"error": "expected /items"})
                return
            try:
                asked = parse_qs(parts.query)
                page = int(asked.get("page", ["1"])[0])
                size = int(asked.get("size", [str(default_size)])[0])
            except ValueError:
                page = size = 0
            if page < 1 or not 1 <= size <= LARGEST_PAGE:
                self._answer(HTTPStatus.BAD_REQUEST, {"error": f"expected page from 1 and size from 1 to {LARGEST_PAGE}"})
                return
            self._answer(HTTPStatus.OK, self._page(page, size))

        def _page(self, page: int, size: int) -> dict[str, Any]:
            pages = -(-len(records) // size)
            following = f"http://{self.headers['Host']}/items?page={page + 1}&size={size}" if page < pages else None
            return {"items": records[(page - 1) * size : page * size], "page": page, "pages": pages, "next": following}

        def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent: the demo's progress is on the screen."""

    return Handler
