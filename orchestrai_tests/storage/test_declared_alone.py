"""A declared connection is reached as it is declared, whatever the variables say that the client of a store reads by itself."""

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from orchestrai.errors import StorageError
from orchestrai.project.connection_spec import Budget, Connection
from orchestrai.project.identity_spec import AccessKey, Identity
from orchestrai.project.in_force import connected
from orchestrai.storage.url import open_store

ELSEWHERE = "http://127.0.0.1:9"
ENV_KEY = base64.b64encode(b"a key of the environment").decode()
OWN_KEYS = Identity(access_key=AccessKey(id="env://OWN_ID", secret="env://OWN_SECRET"))


class Heard:
    """What a server on loopback was asked for: paths and headers."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                heard.paths.append(self.path)
                heard.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(404)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("OWN_ID", "DECLARED")
    monkeypatch.setenv("OWN_SECRET", "secret")
    monkeypatch.setenv("OWN_KEY", base64.b64encode(b"declared").decode())
    monkeypatch.setenv("OWN_SAS", "sv=2024&sig=declared")
    found = Heard()
    yield found
    found.server.shutdown()
    found.server.server_close()


def asked(url: str, connection: Connection) -> None:
    with connected(connection), pytest.raises(StorageError):
        open_store(url).head("key")


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_ENDPOINT_URL_S3": ELSEWHERE},
        {"AWS_ENDPOINT_URL": ELSEWHERE, "AWS_ENDPOINT": ELSEWHERE},
        {"AWS_ACCESS_KEY_ID": "ENVIRONMENT", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "of the environment"},
        {"AWS_SKIP_SIGNATURE": "true"},
    ],
    ids=" ".join,
)
def test_a_bucket_is_asked_where_and_by_whom_it_is_declared(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    once = Budget(attempts=1)
    asked(
        "s3://far/x",
        Connection(
            name="far",
            cloud="aws",
            endpoint=heard.url,
            region="eu-west-1",
            identity=OWN_KEYS,
            covers=("s3://far",),
            retries=once,
        ),
    )
    assert heard.paths == ["/far/x/key"]
    assert "Credential=DECLARED/" in heard.headers[0]["authorization"]
    assert "x-amz-security-token" not in heard.headers[0]


@pytest.mark.parametrize(
    "identity", [Identity(account_key="env://OWN_KEY"), Identity(sas="env://OWN_SAS")], ids=["key", "sas"]
)
@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_STORAGE_ACCOUNT_KEY": ENV_KEY},
        {"AZURE_STORAGE_TOKEN": "of the environment"},
        {"AZURE_STORAGE_USE_EMULATOR": "true"},
        {"AZURE_SKIP_SIGNATURE": "true"},
        {"AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s", "AZURE_TENANT_ID": "t", "AZURE_AUTHORITY_HOST": ELSEWHERE},
    ],
    ids=" ".join,
)
def test_a_container_is_asked_with_the_key_or_signature_that_is_declared(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, identity: Identity, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    once = Budget(attempts=1)
    asked(
        "az://far/x",
        Connection(
            name="far",
            cloud="azure",
            account="declared",
            endpoint=heard.url,
            identity=identity,
            covers=("az://far",),
            retries=once,
        ),
    )
    if identity.sas is not None:
        assert heard.paths == ["/far/x/key?sv=2024&sig=declared"] and "authorization" not in heard.headers[0]
    else:
        assert heard.paths == ["/far/x/key"] and heard.headers[0]["authorization"].startswith("SharedKey declared:")


def test_the_control_plane_of_a_declared_bucket_is_no_emulator_that_a_variable_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", ELSEWHERE)
    far = Connection(name="far", cloud="gcp", identity=Identity(anonymous=True), covers=("gs://far",))
    with connected(far):
        store = open_store("gs://far/x")
        assert store.base.backend.client._connection.API_BASE_URL == "https://storage.googleapis.com"  # type: ignore[attr-defined]
