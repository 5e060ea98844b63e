"""Secrets in AWS (moto), Azure, Google (their published interfaces, stubbed) and Vault (a loopback server): read at use, never shown."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from orchestrai.errors import ConfigError, OrchestraiError, TransientStorageError
from orchestrai.secrets.kept import SECRETS, KeptSecrets
from orchestrai.secrets.reference import check_reference, is_reference, remote_secret, resolve_secret
from orchestrai.secrets.url_credentials import refuse_credentials
from orchestrai.storage.cloud import secret_stores as stores
from orchestrai_tests.clouds.google_document import google_document
from orchestrai_tests.servers.s3 import S3Server

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    SECRETS.forget()
    yield
    SECRETS.forget()


@pytest.fixture
def aws(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's clients on moto."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": moto.endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield lambda service: boto3.client(service)


@pytest.mark.emulator
def test_secrets_of_aws_are_read_by_name_stage_and_field_and_seen_when_rotated(aws: Any) -> None:
    manager, systems = aws("secretsmanager"), aws("ssm")
    manager.create_secret(Name="prod/db", SecretString=json.dumps({"password": CANARY, "port": 5432}))
    systems.put_parameter(Name="/prod/token", Value=CANARY, Type="SecureString")
    systems.put_parameter(Name="plain", Value="v", Type="String")
    try:
        assert resolve_secret("awssm://prod/db#password") == CANARY
        assert resolve_secret("awssm://prod/db#port") == "5432"
        assert resolve_secret("ssm:///prod/token") == CANARY
        assert resolve_secret("ssm://plain?keep=0") == "v"
        manager.put_secret_value(SecretId="prod/db", SecretString=json.dumps({"password": "second"}))
        # within the declared time the text is the one that was read, without a restart it is the new one after that
        assert resolve_secret("awssm://prod/db#password") == CANARY
        assert resolve_secret("awssm://prod/db?keep=0#password") == "second"
        assert json.loads(resolve_secret("awssm://prod/db?stage=AWSPREVIOUS&keep=0"))["password"] == CANARY
        for reference in ("awssm://absent", "ssm://absent", "awssm://prod/db#absent"):
            with pytest.raises(ConfigError, match="expected") as refused:
                resolve_secret(reference)
            assert CANARY not in str(refused.value) and "second" not in str(refused.value)
    finally:
        manager.delete_secret(SecretId="prod/db", ForceDeleteWithoutRecovery=True)
        systems.delete_parameters(Names=["/prod/token", "plain"])


def test_an_aws_that_cannot_be_reached_is_told_as_one_that_may_answer_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": CANARY,
                        "AWS_DEFAULT_REGION": "x", "AWS_MAX_ATTEMPTS": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(TransientStorageError, match="ssm://x") as refused:
        resolve_secret("ssm://x")
    assert CANARY not in str(refused.value)


class Services:
    """Key Vault (REST 7.4) and Secret Manager (v1) as their references publish them; what was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        self.crc = True

    def get(self, url: str, headers: dict[str, str], timeout: float, follow_redirects: bool) -> httpx.Response:
        assert timeout and not follow_redirects and headers["Authorization"] == "Bearer t0ken"
        self.asked.append((url, headers))
        place, request = httpx.URL(url), httpx.Request("GET", url)
        if self.status != 200:
            return httpx.Response(self.status, json={"error": {"message": CANARY}}, request=request)
        if place.host.endswith("vault.azure.net"):
            assert place.params["api-version"] == "7.4"
            return httpx.Response(200, json={"value": CANARY, "id": url, "attributes": {"enabled": True}}, request=request)
        import google_crc32c

        data = json.dumps({"key": CANARY}).encode()
        crc = google_crc32c.value(data) if self.crc else 1
        payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(crc)}
        document = google_document("secretmanager.v1")
        answer = document.answer(document.request("GET", url, None), {"name": place.path, "payload": payload})
        return httpx.Response(200, json=answer, request=request)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    answering = Services()
    monkeypatch.setattr(httpx, "get", answering.get)
    monkeypatch.setattr(stores, "_azure_token", lambda place, scope: "t0ken")
    monkeypatch.setattr(stores, "_google_token", lambda place: "t0ken")
    return answering


def test_secrets_of_azure_and_google_are_read_where_their_references_say(services: Services) -> None:
    assert resolve_secret("azkv://safe/db") == CANARY
    assert resolve_secret("azkv://safe/db/0a1b") == CANARY
    assert resolve_secret("azkv://safe.vault.azure.net/db?keep=0") == CANARY
    assert resolve_secret("gcpsm://shop/db#key") == CANARY
    assert resolve_secret("gcpsm://shop/db/7#key") == CANARY
    assert [url.partition("?")[0] for url, _ in services.asked] == [
        "https://safe.vault.azure.net/secrets/db",
        "https://safe.vault.azure.net/secrets/db/0a1b",
        "https://safe.vault.azure.net/secrets/db",
        "https://secretmanager.googleapis.com/v1/projects/shop/secrets/db/versions/latest:access",
        "https://secretmanager.googleapis.com/v1/projects/shop/secrets/db/versions/7:access",
    ]
    services.crc = False
    with pytest.raises(TransientStorageError, match="damaged"):
        resolve_secret("gcpsm://shop/other#key")


@pytest.mark.parametrize(("status", "error"), [(403, ConfigError), (404, ConfigError), (302, ConfigError), (429, TransientStorageError),
                                               (503, TransientStorageError)])  # fmt: skip
@pytest.mark.parametrize("reference", ["azkv://safe/db", "gcpsm://shop/db"])
def test_what_a_store_refuses_with_is_not_shown(
    services: Services, reference: str, status: int, error: type[Exception]
) -> None:
    services.status = status
    with pytest.raises(OrchestraiError, match=reference) as refused:
        resolve_secret(reference)
    assert type(refused.value) is error and CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


class _KeyValue(BaseHTTPRequestHandler):
    """KV version 2 of Vault and OpenBao."""

    secrets: dict[str, dict[str, str]] = {}  # noqa: RUF012
    namespace: str | None = None

    def do_GET(self) -> None:
        data = self.secrets.get(self.path.removeprefix("/v1/"))
        type(self).namespace = self.headers.get("X-Vault-Namespace")
        status = 403 if self.headers.get("X-Vault-Token") != "t0ken" else 404 if data is None else 200
        body = json.dumps(
            {"data": {"data": data, "metadata": {"version": 3}}} if status == 200 else {"errors": [CANARY]}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_KeyValue]]:
    server = HTTPServer(("127.0.0.1", 0), _KeyValue)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("VAULT_TOKEN", "t0ken")
    _KeyValue.secrets = {"secret/data/shop/db": {"password": CANARY, "user": "u"}, "secret/data/one": {"value": "single"}}
    yield _KeyValue
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_secret_of_vault_is_read_with_a_token_that_an_agent_may_renew(
    vault: type[_KeyValue], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    assert resolve_secret("vault://secret/shop/db#password") == CANARY
    assert resolve_secret("vault://secret/one") == "single"
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text("old\n")
    with pytest.raises(ConfigError, match="403") as refused:
        resolve_secret("vault://secret/shop/db?keep=0#password")
    assert CANARY not in str(refused.value)
    (tmp_path / "token").write_text("t0ken\n")
    monkeypatch.setenv("VAULT_NAMESPACE", "team")
    assert resolve_secret("vault://secret/shop/db?keep=0#password") == CANARY
    assert vault.namespace == "team"
    with pytest.raises(ConfigError, match="404"):
        resolve_secret("vault://secret/absent")
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(ConfigError, match="VAULT_ADDR"):
        resolve_secret("vault://secret/other")


def test_a_secret_is_asked_for_again_after_its_time_and_outlives_a_short_outage_of_its_store() -> None:
    now, texts, asked = [0.0], ["first"], [0]

    def fetch(place: object) -> str:
        asked[0] += 1
        if not texts:
            raise TransientStorageError("silent")
        return texts[-1]

    kept, place = KeptSecrets(fetch, lambda: now[0]), remote_secret("vault://m/p?keep=60")
    assert place is not None
    assert (kept.text(place), asked[0]) == ("first", 1)
    texts[:] = ["second"]
    now[0] = 59.9
    assert (kept.text(place), asked[0]) == ("first", 1)
    now[0] = 60
    assert (kept.text(place), asked[0]) == ("second", 2)
    texts.clear()
    # the store is down: what was read serves three times as long again, and each use asks
    now[0] = 60 + 239
    assert (kept.text(place), asked[0]) == ("second", 3)
    now[0] = 60 + 240
    with pytest.raises(TransientStorageError):
        kept.text(place)
    texts[:] = ["third"]
    assert kept.text(place) == "third"


def test_a_secret_that_was_revoked_is_used_no_more() -> None:
    now, allowed = [0.0], [True]

    def fetch(place: object) -> str:
        if not allowed[0]:
            raise ConfigError("refused")
        return CANARY

    kept, place = KeptSecrets(fetch, lambda: now[0]), remote_secret("vault://m/p?keep=60")
    assert place is not None and kept.text(place) == CANARY
    now[0], allowed[0] = 60, False
    with pytest.raises(ConfigError):
        kept.text(place)
    # and is not taken for an outage's reserve afterwards
    kept.fetch = lambda place: (_ for _ in ()).throw(TransientStorageError("silent"))
    with pytest.raises(TransientStorageError):
        kept.text(place)
    assert CANARY not in repr(kept)


@pytest.mark.parametrize("reference", [
    "awssm://", "azkv://safe", "azkv://a/b/c/d", "gcpsm://p", "vault://m", "vault://m/../sys", "ssm://a//b", "awssm://x?keep=-1",
    "awssm://x?keep=1e3", "awssm://x?keep=999999", "azkv://v/n?stage=a", "awssm://x?other=1", "awssm://a b", "vault://m/p\n/q", "s3://x/y",
])  # fmt: skip
def test_a_reference_that_means_nothing_is_refused_when_it_is_declared(reference: str) -> None:
    with pytest.raises(ConfigError, match="secret reference") as refused:
        check_reference(reference)
    assert len(reference) < 12 or reference not in str(refused.value)


@pytest.mark.parametrize(
    "reference", ["awssm://prod/db?stage=AWSPREVIOUS#password", "ssm:///a/b", "azkv://v/n", "gcpsm://p/n/2", "vault://m/p#k"]
)
def test_a_reference_is_no_credential(reference: str) -> None:
    assert is_reference(reference) and check_reference(reference) == reference
    assert refuse_credentials(reference) == reference
    assert refuse_credentials(f"https://api.example/items?token={reference}")


def test_a_store_that_is_slow_holds_up_no_other_secret() -> None:
    """Whoever waits for one may need another first: the credentials of its store, which another thread is about to get."""
    other_was_read = threading.Event()
    slow, other = remote_secret("vault://m/slow"), remote_secret("vault://m/other")
    assert slow is not None and other is not None

    def fetch(place: Any) -> str:
        if place.path == slow.path:
            thread.start()
            assert other_was_read.wait(10)
        return str(place.path)

    def read_other() -> None:
        kept.text(other)
        other_was_read.set()

    kept = KeptSecrets(fetch)
    thread = threading.Thread(target=read_other, daemon=True)
    assert kept.text(slow) == slow.path
    thread.join(10)
