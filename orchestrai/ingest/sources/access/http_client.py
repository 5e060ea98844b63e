"""One GET of an API: at hosts that are declared, at addresses that may be asked, within limits of size and time.

No proxy, cookie or netrc of the environment is used. Secrets go to the declared host alone.
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from orchestrai.errors import ConfigError, StorageError, TransientStorageError, UnreadableObject, transient_status
from orchestrai.ingest.sources.access.addresses import check_host, check_reach, literal_reach
from orchestrai.ingest.spec import SourceSpec
from orchestrai.secrets.reference import resolve_secret
from orchestrai.secrets.url_credentials import shown_url

if TYPE_CHECKING:
    import httpx

Sleep = Callable[[float], None]
MAX_WAIT = 60.0
MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Hosts:
    """Where an API may be asked: the origin of its URL, and other hosts that are listed."""

    origin: tuple[str, str, int]
    others: frozenset[tuple[str, int | None]]

    @classmethod
    def of(cls, url: str, others: tuple[str, ...]) -> "Hosts":
        """Those of a declaration; raises ConfigError."""
        return cls(_place(urlsplit(url)), frozenset(_listed(other) for other in others))

    def is_origin(self, url: str) -> bool:
        """Whether a URL is of the declared host, to which secrets may go."""
        return _place(urlsplit(url)) == self.origin

    def allow(self, url: str) -> bool:
        """Whether a URL may be asked; one without TLS only where the declared one has none."""
        scheme, host, port = _place(urlsplit(url))
        if (scheme, host, port) == self.origin:
            return True
        listed = (host, port) in self.others or ((host, None) in self.others and port == _PORTS.get(scheme))
        return listed and scheme in ("https", self.origin[0])


def _place(parts: SplitResult) -> tuple[str, str, int]:
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, (parts.hostname or "").rstrip("."), port if port is not None else _PORTS.get(parts.scheme, -1)


def _listed(text: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if not parts.hostname or port == -1 or parts.netloc != text or "@" in text:
        raise ConfigError(f"expected http.hosts of names such as api.example.com or host:8443, found {text!r}: correct it")
    return parts.hostname.rstrip("."), port


def check_api(source: SourceSpec) -> None:
    """Raise ConfigError for a URL at which no API can be, or one of a private address that is not declared; asks nobody."""
    parts = urlsplit(source.url)
    if parts.scheme not in _PORTS:
        raise ConfigError(f"expected http:// or https:// for the format http, found {parts.scheme!r}")
    if not parts.hostname or _place(parts)[2] == -1:
        raise ConfigError(f"expected a host and a port that is a number in the URL of an API, found {parts.netloc!r}")
    Hosts.of(source.url, source.http.hosts)
    reach = literal_reach(parts.hostname)
    if reach in ("loopback", "private") and not source.http.allow_private:
        raise ConfigError(
            f"expected http.allow_private: true for {parts.hostname}, which is {reach}, found none: declare it"
        )
    if reach in ("link-local", "metadata", "reserved"):
        raise ConfigError(
            f"expected an address that may be asked, found {parts.hostname}, which is {reach}: correct the URL"
        )


@dataclass
class HttpReader:
    """Asks one API; a context manager, since it keeps connections."""

    source: SourceSpec
    url: str
    sleep: Sleep = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    _transport: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import httpx

        # the transport itself: a client would follow the environment's proxies, and write every URL to the log
        self._transport = httpx.HTTPTransport()
        self.hosts = Hosts.of(self.url, self.source.http.hosts)
        self._ends = self.monotonic() + self.source.http.time_limit.total_seconds()

    def __enter__(self) -> "HttpReader":
        return self

    def __exit__(self, *raised: object) -> None:
        self._transport.close()

    def get(self, url: str, params: Mapping[str, str]) -> tuple[bytes, str]:
        """The body of an answer 200, and the URL that gave it; raises StorageError, TransientStorageError, UnreadableObject."""
        import httpx

        options, problem = self.source.http, ""
        for attempt in range(options.retries + 1):
            wait = min(MAX_WAIT, 0.25 * 2**attempt * random.uniform(0.5, 1.5))
            try:
                answer, came_from = self._answer(url, params)
                try:
                    if answer.status_code == 200:
                        return self._body(answer, url), came_from
                    problem = f"status {answer.status_code}"
                    if not transient_status(answer.status_code):
                        raise StorageError(
                            f"expected status 200 from {shown_url(url)}, found {problem}: check the URL and the token"
                        )
                    wait = max(wait, _retry_after(answer))
                finally:
                    answer.close()
            except httpx.TransportError as exc:
                problem = f"{type(exc).__name__} {exc}".strip()
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise StorageError(f"expected an answer from {shown_url(url)}, found {type(exc).__name__}") from exc
            if attempt < options.retries:
                self.sleep(min(wait, MAX_WAIT))
        raise TransientStorageError(
            f"expected an answer from {shown_url(url)}, found {problem} {options.retries + 1} times: try again"
        )

    def _answer(self, url: str, params: Mapping[str, str]) -> tuple["httpx.Response", str]:
        """The first answer that sends nowhere else, and the URL that gave it."""
        import httpx

        for _ in range(MAX_REDIRECTS):
            headers, more = self._secrets(url)
            target = httpx.URL(url)
            if target.host.rstrip(".") != _place(urlsplit(url))[1]:
                # what was judged must be what is asked, whoever reads the URL
                raise StorageError(f"expected a URL that all read alike, found {shown_url(url)!r}: correct it")
            given = {**params, **more}
            request = httpx.Request(
                "GET",
                target.copy_merge_params(given) if given else target,
                headers={"accept": "application/json", "accept-encoding": "gzip, deflate", "user-agent": "orchestrai"}
                | headers,
                extensions={"timeout": self._timeout(url), "trace": self._judge},
            )
            answer = self._transport.handle_request(request)
            answer.request = request
            location = answer.headers.get("location", "")
            if answer.status_code not in _REDIRECTS or not location:
                return answer, url
            answer.close()
            before, url, params = url, urljoin(url, location), {}
            if not self.hosts.allow(url):
                raise StorageError(
                    f"expected status 200 from {shown_url(before)}, found status {answer.status_code} to "
                    f"{urlsplit(url).netloc.rpartition('@')[2]!r}: list that host in http.hosts if it is meant"
                )
        raise StorageError(f"expected at most {MAX_REDIRECTS} redirects from {shown_url(url)}, found more: correct the URL")

    def _secrets(self, url: str) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and parameters that say who asks."""
        options = self.source.http
        if not self.hosts.is_origin(url):
            return {}, {}
        headers = {name: resolve_secret(reference) for name, reference in options.headers.items()}
        if options.token_env:
            headers["authorization"] = f"Bearer {_token(options.token_env)}"
        return headers, {name: resolve_secret(reference) for name, reference in options.params.items()}

    def _judge(self, event: str, info: Mapping[str, Any]) -> None:
        """Before a connection every address of the name, after it the one that was taken: a name may say another by then."""
        private = self.source.http.allow_private
        if event == "connection.connect_tcp.started":
            check_host(info["host"], info["port"], private=private)
        elif event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            address = str(stream.get_extra_info("server_addr")[0])
            try:
                check_reach(address, "the API's host", private=private)
            except StorageError:
                stream.close()
                raise

    def _left(self, url: str) -> float:
        left = self._ends - self.monotonic()
        if left <= 0:
            limit = self.source.http.time_limit
            raise TransientStorageError(
                f"expected all of {shown_url(url)} within {limit}, found more: raise http.time_limit"
            )
        return left

    def _timeout(self, url: str) -> dict[str, float]:
        seconds = min(self.source.http.timeout_seconds, self._left(url))
        return {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}

    def _body(self, answer: "httpx.Response", url: str) -> bytes:
        limit, body = self.source.http.max_page_bytes, bytearray()
        for block in answer.iter_bytes():
            body += block
            self._left(url)
            if len(body) > limit:
                raise UnreadableObject(
                    f"expected a page of at most {limit} bytes from {shown_url(url)}, found more: ask for less"
                )
        return bytes(body)


def _token(name: str) -> str:
    token = os.environ.get(name)
    if not token:
        raise ConfigError(f"expected a token in the environment variable {name}, found none: set it")
    return token


def _retry_after(answer: "httpx.Response") -> float:
    text = answer.headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, at.timestamp() - time.time())
