"""One token per cloud and scope, however often it is asked for."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrai.errors import AccessRefused, ConfigError, TransientStorageError
from orchestrai.storage.cloud import azure, google
from orchestrai.storage.cloud.rest import AccessToken, Api, CachedToken, azure_token, token_of


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """Issues tokens that live an hour, numbered."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.issued, self.down = clock, 0, False

    def __call__(self) -> AccessToken:
        if self.down:
            raise TransientStorageError("down")
        self.issued += 1
        return AccessToken(f"token-{self.issued}", self.clock.now + 3600)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(clock: Clock) -> Issuer:
    return Issuer(clock)


@pytest.fixture
def token(clock: Clock, issuer: Issuer) -> CachedToken:
    return CachedToken(issuer, clock=clock)


class Service:
    """A REST service that says 401 to the tokens in `refused`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.refused: set[str] = set()
        self.url = ""


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            value = self.headers["Authorization"].removeprefix("Bearer ")
            made.seen.append(value)
            self.send_response(401 if value in made.refused else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


def test_forty_looks_at_a_job_take_one_token(token: CachedToken, issuer: Issuer, clock: Clock, service: Service) -> None:
    api = Api(service.url, token, what="jobs")
    for _ in range(40):
        assert api.call("GET", "job") == {}
        clock.now += 15
    assert len(service.seen) == 40 and issuer.issued == 1


def test_a_token_is_renewed_before_it_ends(token: CachedToken, issuer: Issuer, clock: Clock) -> None:
    assert token() == "token-1"
    clock.now += 3600 - 301
    assert token() == "token-1"
    clock.now += 2
    assert token() == "token-2" and issuer.issued == 2


def test_a_short_lived_token_is_kept_for_half_its_life(clock: Clock) -> None:
    issued: list[float] = []

    def short() -> AccessToken:
        issued.append(clock.now)
        return AccessToken(str(len(issued)), clock.now + 100)

    token = CachedToken(short, clock=clock)
    for _ in range(10):
        token()
        clock.now += 10
    assert len(issued) == 2


def test_a_token_that_is_still_good_bridges_an_outage_of_its_issuer(
    token: CachedToken, issuer: Issuer, clock: Clock
) -> None:
    token()
    issuer.down = True
    clock.now += 3400
    assert token() == "token-1"
    clock.now += 300
    with pytest.raises(TransientStorageError):
        token()


def test_a_refused_token_is_renewed_once(token: CachedToken, issuer: Issuer, service: Service) -> None:
    api = Api(service.url, token, what="jobs")
    service.refused = {"token-1"}
    assert api.call("GET", "job") == {}
    assert service.seen == ["token-1", "token-2"]
    service.refused = {f"token-{number}" for number in range(9)}
    with pytest.raises(AccessRefused, match="401"):
        api.call("GET", "job")
    assert service.seen[2:] == ["token-2", "token-3"] and issuer.issued == 3


def test_threads_that_ask_at_once_share_one_token(clock: Clock) -> None:
    issued: list[int] = []
    gate = threading.Barrier(8)

    def slow() -> AccessToken:
        issued.append(1)
        return AccessToken("t", clock.now + 3600)

    token = CachedToken(slow, clock=clock)

    def ask() -> None:
        gate.wait()
        token()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issued) == 1


def test_a_discarded_token_that_was_renewed_meanwhile_stays(token: CachedToken, issuer: Issuer) -> None:
    old = token()
    token.discard(old)
    assert token() == "token-2"
    token.discard(old)
    assert token() == "token-2" and issuer.issued == 2


def test_a_token_is_never_shown(token: CachedToken) -> None:
    assert "token-1" not in repr(token.current()) and "token-1" not in repr(token)


def test_azure_has_one_token_per_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get_token(scope: str) -> Any:
        asked.append(scope)
        return SimpleNamespace(token=f"for {scope}", expires_on=4_000_000_000)

    monkeypatch.setattr(azure, "default_credential", lambda: SimpleNamespace(get_token=get_token))
    token_of.cache_clear()
    for _ in range(40):
        assert azure_token("https://one.example")() == "for https://one.example/.default"
        assert azure_token("https://two.example")() == "for https://two.example/.default"
    assert asked == ["https://one.example/.default", "https://two.example/.default"]
    token_of.cache_clear()


def test_googles_token_ends_when_its_credentials_say(monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed: list[Any] = []
    # google-auth gives a time in UTC without saying so
    expiry = datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    credentials = SimpleNamespace(token="t", expiry=expiry, refresh=refreshed.append)
    monkeypatch.setattr(google, "default_credentials", lambda: credentials)
    assert google.fetch_token() == AccessToken("t", 1_893_456_000.0) and len(refreshed) == 1
    credentials.expiry = None
    assert google.fetch_token().expires == float("inf")


def test_missing_credentials_of_google_are_a_matter_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def none(**_: object) -> Any:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none)
    from orchestrai.storage.cloud.google import default_credentials

    default_credentials.cache_clear()
    with pytest.raises(ConfigError, match="set credentials"):
        default_credentials()
