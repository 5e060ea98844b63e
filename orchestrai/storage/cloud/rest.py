"""A cloud's interface over HTTPS: JSON with a bearer token, and where tokens come from."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrai.errors import MissingExtra, StorageError, TransientStorageError

if TYPE_CHECKING:
    import ssl

    import httpx

REQUEST_SECONDS = 60.0
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
Token = Callable[[], str]


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
        """The answer's JSON; None for the statuses in `none_for`. Raises StorageError."""
        import httpx

        headers = {"Authorization": f"Bearer {self._token()}"}
        with self._translated(method, path):
            answer = httpx.request(
                method,
                f"{self.base}/{path}",
                params=dict(query or {}),
                json=body,
                headers=headers,
                timeout=REQUEST_SECONDS,
                verify=_authorities(),
            )
        if answer.status_code in none_for:
            return None
        self._refuse(answer, method, path)
        return answer.json() if answer.content else {}

    @contextmanager
    def _translated(self, method: str, path: str) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TransportError as exc:
            raise TransientStorageError(f"expected {self.what} to answer {method} {path}, found: {exc}") from exc

    def _refuse(self, answer: "httpx.Response", method: str, path: str) -> None:
        if answer.is_success:
            return
        kind = TransientStorageError if answer.status_code in (408, 429) or answer.status_code >= 500 else StorageError
        raise kind(f"expected {self.what} to {method} {path}, found {answer.status_code} {_said(answer)}")


@cache
def _authorities() -> "ssl.SSLContext":
    """Whom to trust; reading them anew took most of a call's time."""
    import httpx

    return httpx.create_ssl_context()


def _said(answer: "httpx.Response") -> str:
    try:
        body = answer.json()
        error = body.get("error", body)
        code, message = error.get("code") or error.get("status"), error.get("message")
    except (ValueError, AttributeError):
        return answer.text[:200]
    return f"{code}: {message}" if message else answer.text[:200]


def google_token() -> str:
    """A token of the default credentials; raises StorageError where none work."""
    import google.auth
    import google.auth.transport.requests
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, _ = google.auth.default(scopes=[GOOGLE_SCOPE])
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as exc:
        raise StorageError(f"expected credentials for Google Cloud, found none that work: {exc}") from exc
    return str(credentials.token)


def azure_token(resource: str, what: str) -> str:
    """A token for a resource (its URL) of the default credentials; raises StorageError where none work."""
    try:
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential
    except ImportError as exc:
        raise MissingExtra(f"expected azure-identity for {what}, found none: pip install azure-identity") from exc
    try:
        return str(DefaultAzureCredential().get_token(f"{resource}/.default").token)
    except ClientAuthenticationError as exc:
        raise StorageError(f"expected credentials for Azure, found none that work: {str(exc).splitlines()[0]}") from exc
