"""A cloud's interface over HTTPS: JSON with a bearer token, and the one cached token per cloud and scope."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from orchestrai.errors import OrchestraiError, StorageError, TransientStorageError
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
def azure_token(resource: str) -> CachedToken:
    """The token of Azure's default credentials for a resource (its URL)."""
    from orchestrai.storage.cloud.azure import fetch_token

    return CachedToken(lambda: fetch_token(f"{resource}/.default"))


def _fetch_google() -> AccessToken:
    from orchestrai.storage.cloud.google import fetch_token

    return fetch_token()


google_token = CachedToken(_fetch_google)
"""The token of Google's default credentials for the whole platform."""


class Api:
    """JSON over HTTPS with a bearer token; outages become TransientStorageError, so that a retry takes the job up."""

    def __init__(self, base: str, token: Token, *, what: str) -> None:
        self.base, self._token, self.what = base.rstrip("/"), token, what

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
        if answer.status_code == 401 and isinstance(self._token, CachedToken):
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
