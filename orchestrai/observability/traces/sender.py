"""Sends spans to a collector: within seconds, and never at the cost of what they tell of.

A collector that does not answer is left alone for a minute; what ends meanwhile is not told. Nothing is kept on disk.
"""

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.observability.traces.span import Span, Value, request_of
from orchestrai.secrets.reference import resolve_secret
from orchestrai.settings import Settings

SECONDS = 3.0
PAUSE = 60.0
LOG = logging.getLogger("orchestrai.traces")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def headers_of(text: str) -> dict[str, str]:
    """`name=value` pairs, comma-separated; raises ConfigError, which does not show them."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and mark and value.strip() for name, mark, value in pairs):
        raise ConfigError(
            "expected name=value, comma-separated, behind ORCHESTRAI_TRACES_HEADERS, found something else: correct it"
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


@dataclass
class Sender:
    """One collector's; one a process, so that a collector that is down is waited for once."""

    url: str
    headers: str = ""
    resource: dict[str, Value] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _quiet_until: float = float("-inf")

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"ORCHESTRAI_TRACES_URL: expected http(s)://host:port/v1/traces, found {self.url!r}")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ConfigError(
                f"ORCHESTRAI_TRACES_URL: expected https for {parts.hostname}, found http, which is for loopback only"
            )

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the collector took them; what it says against them is logged and raised to nobody."""
        if not spans or self.clock() < self._quiet_until:
            return False
        body = json.dumps(request_of(spans, self.resource)).encode()
        try:
            given = headers_of(resolve_secret(self.headers)) if self.headers else {}
            request = urllib.request.Request(self.url, body, {"Content-Type": "application/json", **given})
            with _DIRECT.open(request, timeout=SECONDS) as answer:
                answer.read()
                return True
        except (OSError, http.client.HTTPException, OrchestraiError, ValueError) as exc:
            self._quiet_until = self.clock() + PAUSE
            LOG.warning(
                "%d spans were not taken by the collector (%s); the next are sent in %d s",
                len(spans),
                type(exc).__name__,
                PAUSE,
            )
            return False


# neither a proxy of the environment nor a redirect: spans go where the setting says
class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object, **named: object) -> None:
        return None


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
_SENDERS: dict[tuple[str, str], Sender] = {}


def sender_of(settings: Settings) -> Sender:
    """The process's sender to the collector of the settings; raises ConfigError for a wrong URL."""
    place = settings.traces_url, settings.traces_headers
    if place not in _SENDERS:
        resource: dict[str, Value] = {"service.name": "orchestrai", "deployment.environment.name": settings.environment}
        _SENDERS[place] = Sender(*place, resource)
    return _SENDERS[place]
