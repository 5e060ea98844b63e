"""What runs in an image of your own at SageMaker: numpy and lightgbm from the image, sent along with the model.

python serve.py    answers GET /ping and POST /invocations on port 8080, or the one that SAGEMAKER_BIND_TO_PORT names

A request is rows of CSV without a header, features in the model's order, categories as their codes, flags as 0 and 1; an empty field is
missing. The answer has a line for each row: a score, or one for each class.
"""

import http.server
import os
import pathlib
from http import HTTPStatus
from typing import Any

HERE = pathlib.Path(__file__).parent
PORT = 8080
held: dict[str, Any] = {}


def model() -> Any:
    """The trees beside this file, read once."""
    if not held:
        import lightgbm

        held["booster"] = lightgbm.Booster(model_str=(HERE / "model.txt").read_text())
    return held["booster"]


def score(text: str) -> str:
    """A line for each line of CSV; raises ValueError for what is no row of the model."""
    import numpy as np

    rows = [[float(field) if field.strip() else float("nan") for field in line.split(",")] for line in text.splitlines()]
    if not rows:
        return ""
    count = model().num_feature()
    wrong = next((place for place, row in enumerate(rows) if len(row) != count), None)
    if wrong is not None:
        raise ValueError(f"expected {count} features in row {wrong}, found {len(rows[wrong])}")
    # as wide as the rows that it learned from
    found = model().predict(np.array(rows, dtype=np.float32), num_threads=1)
    told = [",".join(map(repr, one)) if isinstance(one, list) else repr(one) for one in found.tolist()]
    return "".join(f"{line}\n" for line in told)


class Requests(http.server.BaseHTTPRequestHandler):
    """The two paths that SageMaker asks of a container."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Whether it serves: the model is read before the port is open."""
        self._answer(HTTPStatus.OK if self.path == "/ping" else HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Scores of rows."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/invocations":
            return self._answer(HTTPStatus.NOT_FOUND)
        if self.headers.get_content_type() != "text/csv":
            return self._answer(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected text/csv, found {self.headers.get_content_type()}"
            )
        try:
            return self._answer(HTTPStatus.OK, score(body.decode()))
        except ValueError as exc:
            return self._answer(HTTPStatus.BAD_REQUEST, str(exc))

    def _answer(self, status: HTTPStatus, text: str = "") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/csv" if status is HTTPStatus.OK else "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def server(address: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server with the model in memory; raises where the model cannot be read."""
    model()
    return http.server.ThreadingHTTPServer((address, port), Requests)


if __name__ == "__main__":
    server("", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", PORT))).serve_forever()
