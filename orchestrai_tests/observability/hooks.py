"""A real webhook on loopback that keeps what it is told, and a ledger in memory."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import Signer
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai.storage.memory import MemoryStore

NOW = datetime(2026, 11, 1, 8, tzinfo=UTC)


class Hook:
    """What was told, and how to answer: 200 unless `status` says otherwise."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.tries = 0
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.tries += 1
                if hook.status == 200:
                    hook.told.append(json.loads(body))
                    hook.headers.append(dict(self.headers))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/canary"

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Kind and change of each message, in order."""
        return [(body["orchestrai"]["kind"], body["orchestrai"]["change"]) for body in self.told]


@contextmanager
def webhook() -> Iterator[Hook]:
    """A webhook that runs."""
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        hook.server.server_close()
        thread.join()


def ledger() -> Ledger:
    """A ledger in memory, with a vault beside it."""
    signer = Signer(Ed25519PrivateKey.generate())
    return Ledger(MemoryStore(), signer, vault=MemoryStore(), clock=lambda: NOW)


def silent(subject: str = "churn/orders", **fields: Any) -> Condition:
    """A condition to play with."""
    return Condition("silence", subject, "an event today", "none", "ask the producer", **fields)


def seen(*conditions: Condition, now: datetime = NOW, unseen: tuple[str, ...] = (), source: Any = "ledger") -> Sight:
    """A look at the ledger."""
    return Sight(now, frozenset({source}), frozenset(conditions), frozenset(unseen))
