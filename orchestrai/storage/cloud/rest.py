"""A cloud's interface over HTTPS: JSON with a bearer token, and the one cached token per cloud and scope."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from orchestrai.errors import OrchestraiError, StorageError, TransientStorageError
from orchestrai.project.connection_spec import Connection
from orchestrai.project.identity_spec import Cloud
from orchestrai.project.in_force import connection_for
from orchestrai.storage.cloud.cloud_errors import error_of, rest_fault

if TYPE_CHECKING:
    import ssl

    import httpx

REQUEST_SECONDS = 60.0
# a token is renewed this long before it ends, or at half its life where that is shorter
EARLY_SECONDS = 300.0
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
Token = Callable[[], str]


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token and when it ends, in seconds since 1970; infinite where nobody says when."""

    value: str = field(repr=False)
    expires: float = math.inf


class CachedToken:
    """A token that is fetched once and renewed shortly before it ends, for all threads of the process."""

    def __init__(self, fetch: Callable[[], AccessToken], *, clock: Callable[[], float] = time.time) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = Lock()
        self._held: AccessToken | None = None
        self._renew_at = -math.inf

    def __call__(self) -> str:
        return self.current().value

    def current(self) -> AccessToken:
        """A token that is good now. Raises what `fetch` raises, unless the token from before is still good."""
        with self._lock:
            now = self._clock()
            if self._held is None or now >= self._renew_at:
                try:
                    self._held = self._fetch()
                except OrchestraiError:
                    if self._held is None or now >= self._held.expires:
                        raise
                    return self._held
                life = self._held.expires - now
                self._renew_at = now + max(life - EARLY_SECONDS, life / 2)
            return self._held

    def discard(self, value: str) -> None:
        """Forget a token that was refused; one that another thread has renewed since stays."""
        with self._lock:
            if self._held is not None and self._held.value == value:
                self._held = None


@cache
def token_of(connection: Connection, scope: str) -> CachedToken:
    """The token of a connection for a scope: one for the process, whoever asks for it."""
    own = connection.declared
    if connection.cloud == "azure":
        from orchestrai.storage.cloud import azure

        # by the module, so that what stands in its place is asked
        return CachedToken(lambda: azure.fetch_token(scope, own))
    from orchestrai.storage.cloud import google

    return CachedToken(lambda: google.fetch_token(own))


@dataclass(frozen=True)
class CloudToken:
    """The token of whoever calls `url` by the connections in force, for a scope of a cloud."""

    cloud: Cloud
    scope: str
    url: str = ""

    def __call__(self) -> str:
        return self.cached()()

    def cached(self) -> CachedToken:
        """The token in the one cache; looked up at each use, as connections may change."""
        return token_of(connection_for(self.url or f"{self.cloud}://", self.cloud), self.scope)

    def discard(self, value: str) -> None:
        """Forget a token that was refused."""
        self.cached().discard(value)

    def at(self, url: str) -> "CloudToken":
        """The same for another URL, which another connection may cover."""
        return replace(self, url=url)


def azure_token(resource: str) -> CloudToken:
    """The token for a resource of Azure (its URL)."""
    return CloudToken("azure", f"{resource}/.default")


google_token = CloudToken("gcp", GOOGLE_SCOPE)
"""The token for the whole platform of Google."""


class Api:
    """JSON over HTTPS with a bearer token; outages become TransientStorageError, so that a retry takes the job up."""

    def __init__(self, base: str, token: Token, *, what: str) -> None:
        self.base, self.what = base.rstrip("/"), what
        self._token = token.at(self.base) if isinstance(token, CloudToken) and not token.url else token

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        none_for: Collection[int] = (404,),
    ) -> Any | None:
        """The answer's JSON; None for the statuses in `none_for`. A token that is refused is renewed once. Raises StorageError."""
        token = self._token()
        answer = self._send(method, path, query, body, token)
        if answer.status_code == 401 and isinstance(self._token, CachedToken | CloudToken):
            self._token.discard(token)
            answer = self._send(method, path, query, body, self._token())
        if answer.status_code in none_for:
            return None
        if not answer.is_success:
            raise error_of(rest_fault(answer.status_code, *_said(answer)), f"{self.what} to {method} {path}")
        try:
            return answer.json() if answer.content else {}
        except ValueError as exc:
            raise StorageError(
                f"expected JSON from {self.what} for {method} {path}, found other text: is a proxy between?"
            ) from exc

    def _send(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, token: str) -> "httpx.Response":
        import httpx

        try:
            return httpx.request(
                method,
                f"{self.base}/{path}",
                params=dict(query or {}),
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=REQUEST_SECONDS,
                verify=_authorities(),
            )
        except httpx.TransportError as exc:
            raise TransientStorageError(
                f"expected {self.what} to answer {method} {path}, found: {type(exc).__name__} {exc}: try again"
            ) from exc


@cache
def _authorities() -> "ssl.SSLContext":
    """Whom to trust; reading them anew took most of a call's time."""
    import httpx

    return httpx.create_ssl_context()


def _said(answer: "httpx.Response") -> tuple[str, str]:
    """The code and the message of a refusal, as Azure and Google write them."""
    try:
        body = answer.json()
        error = body.get("error", body)
        code, message = error.get("status") or error.get("code"), error.get("message")
    except (ValueError, AttributeError):
        return "", answer.text[:200]
    return ("", answer.text[:200]) if not message else (str(code or ""), str(message))
