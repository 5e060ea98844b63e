"""Who calls by a connection: a role, an identity of the machine, a key that lies elsewhere; and for whom a token is kept."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.identity
import pytest

from orchestrai.errors import ConfigError, TransientStorageError
from orchestrai.ingest.discovery.queues.queue_services import SqsQueue, open_queue
from orchestrai.ingest.sources.access.kafka_tokens import token_source
from orchestrai.models.remote.sagemaker import boto_clients
from orchestrai.models.spec import SageMakerServing
from orchestrai.project.connection_set import ConnectionSet, read_connections
from orchestrai.project.connection_spec import Connection
from orchestrai.project.identity_spec import AccessKey, Identity
from orchestrai.project.in_force import connected, connection_for, connections, receive_connections
from orchestrai.secrets.reference import resolve_secret
from orchestrai.storage.cloud.access.aws_access import forget_roles
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.rest import Api, azure_token, token_of
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import address_of, open_store
from orchestrai_tests.servers.s3 import S3Server

ROLE = "arn:aws:iam::123456789012:role/replica"
ALONE = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "ORCHESTRAI_PROJECT",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ALONE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("KEY_ID", "testkey")
    monkeypatch.setenv("KEY_SECRET", "testsecret")
    forget_roles()
    token_of.cache_clear()
    yield
    token_of.cache_clear()


KEYS = AccessKey(id="env://KEY_ID", secret="env://KEY_SECRET")


def aws(**more: Any) -> Connection:
    given: dict[str, Any] = {
        "name": "here",
        "cloud": "aws",
        "region": "eu-west-1",
        "default": True,
        "identity": Identity(access_key=KEYS),
    }
    return Connection(**{**given, **more})


# -- AWS ---------------------------------------------------------------------------------------------------------


@pytest.mark.emulator
def test_a_role_is_assumed_once_for_many_clients_and_reads_and_writes(moto: S3Server) -> None:
    asked: list[str] = []
    identity = Identity(access_key=KEYS, role=ROLE, external_id="acme", session_name="replica")
    one = aws(endpoint=moto.endpoint, identity=identity)
    with connected(one):
        clients = [aws_client("sts") for _ in range(3)]
        for client in clients:
            client.meta.events.register("before-call.sts", lambda model, **_: asked.append(model.name))
        callers = {client.get_caller_identity()["Arn"] for client in clients}
        assert callers == {"arn:aws:sts::123456789012:assumed-role/replica/replica"}
        bucket = moto.bucket()
        open_store(f"s3://{bucket}/x").write("k", b"v")
        assert open_store(f"s3://{bucket}/x").read("k") == b"v"
    keys = {client._request_signer._credentials.access_key for client in clients}
    assert len(keys) == 1 and asked == ["GetCallerIdentity"] * 3


def test_a_role_that_is_refused_tells_of_its_trust_policy() -> None:
    from botocore.exceptions import ClientError

    from orchestrai.storage.cloud.access import aws_access

    identity = Identity(access_key=KEYS, role=ROLE)
    fault = SimpleNamespace(code="AccessDenied")
    error = aws_access._role_refused(fault, aws(identity=identity))  # type: ignore[arg-type]
    assert ClientError and error is not None and "trust policy" in error.message and "external id" in error.message


def test_what_is_declared_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with connected(aws()):
        client = aws_client("sagemaker")
        assert (client.meta.region_name, client.meta.endpoint_url) == (
            "eu-west-1",
            "https://api.sagemaker.eu-west-1.amazonaws.com",
        )
        assert client._request_signer._credentials.access_key == "testkey"
        options: Any = open_store("s3://bucket/x").base.backend.options  # type: ignore[attr-defined]
        assert (options.region, options.endpoint_url, options.access_key_id) == ("eu-west-1", None, "testkey")
    # and without a connection all is as it was
    client = aws_client("sagemaker")
    assert (client.meta.region_name, client.meta.endpoint_url) == ("us-west-2", "http://127.0.0.1:1")


def test_a_service_without_a_url_is_covered_by_its_name_and_region() -> None:
    there = aws(name="there", region="eu-central-1", default=False, covers=("backup://eu-central-1",))
    with connected(aws(), there):
        assert aws_client("backup", region="eu-central-1").meta.region_name == "eu-central-1"
        assert connections().of_url("backup://eu-central-1", "aws").name == "there"
        assert connections().of_url("backup://eu-west-1", "aws").name == "here"
        # the region that is asked for is the one that is called
        assert aws_client("sns", region="us-east-1").meta.region_name == "us-east-1"


@pytest.mark.emulator
def test_a_queue_is_asked_at_its_own_host(moto: S3Server) -> None:
    made = moto.client("sqs").create_queue(QueueName="arrivals")["QueueUrl"]
    assert made
    host = moto.endpoint.partition("://")[2]
    with connected(aws(region="us-east-1", endpoint="http://127.0.0.1:1", endpoints={"sqs": moto.endpoint})):
        queue = open_queue(f"sqs://{host}/123456789012/arrivals")
        assert isinstance(queue, SqsQueue) and queue.client.meta.endpoint_url == moto.endpoint
        assert queue.receive(1, wait=0) == []
    # no variable leads anywhere, and no connection says more than a region and keys
    with connected(aws(region="us-east-1")):
        queue = open_queue(f"sqs+here://{host}/123456789012/arrivals")
        assert queue.receive(1, wait=0) == []
        amazon = open_queue("sqs://sqs.eu-west-3.amazonaws.com/123456789012/arrivals")
        assert isinstance(amazon, SqsQueue) and amazon.client.meta.region_name == "eu-west-3"


@pytest.mark.emulator
def test_a_secret_is_read_by_the_connection_that_its_reference_names(moto: S3Server) -> None:
    moto.client("secretsmanager").create_secret(Name="acme/db", SecretString='{"password": "s3cr3t"}')
    wrong = aws(endpoint="http://127.0.0.1:1", retries={"attempts": 1})
    right = aws(name="vaulted", region="us-east-1", endpoint=moto.endpoint, default=False)
    with connected(wrong, right):
        assert resolve_secret("awssm+vaulted://acme/db#password") == "s3cr3t"
        with pytest.raises(TransientStorageError):
            resolve_secret("awssm://acme/db?keep=0#password")
    with connected(right), pytest.raises(ConfigError, match=r"awssm\+vaulted"):
        resolve_secret("awssm+vaulted://acme/none")


def test_a_connection_whose_secret_lies_behind_itself_is_a_circle_that_is_told() -> None:
    keys = AccessKey(id="env://KEY_ID", secret="awssm+here://acme/key")
    with connected(aws(identity=Identity(access_key=keys))), pytest.raises(ConfigError, match="here -> here"):
        open_store("s3://bucket/x")


# -- Azure, and brokers ---------------------------------------------------------------------------------------------


class Issuer:
    """Stands for a kind of credential of azure-identity, and counts the tokens it gave."""

    made: list["Issuer"]

    def __init__(self, *named: str, **given: str) -> None:
        self.given, self.asked = (*named, *given.items()), 0
        type(self).made.append(self)

    def get_token(self, scope: str) -> Any:
        self.asked += 1
        return SimpleNamespace(token=f"{len(type(self).made)}.{self.asked}.{scope}", expires_on=4_000_000_000)


@pytest.fixture
def issuers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Issuer]]:
    from orchestrai.storage.cloud.access import azure_access

    def stand_in(name: str) -> list[Issuer]:
        azure_access._credential.cache_clear()
        made: list[Issuer] = []
        monkeypatch.setattr(azure.identity, name, type(name, (Issuer,), {"made": made}))
        return made

    return stand_in


def test_many_polls_of_an_azure_interface_take_one_token_of_the_connection_that_covers_it(
    issuers: Callable[[str], list[Issuer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = issuers("ManagedIdentityCredential")
    ours = Connection(
        name="ours", cloud="azure", identity=Identity(managed_identity="client-1"),
        covers=("https://management.azure.com/subscriptions/one",),
    )  # fmt: skip
    seen: list[str] = []

    def sent(self: Api, method: str, path: str, query: Any, body: Any, token: str) -> Any:
        seen.append(token)
        return SimpleNamespace(status_code=200, is_success=True, content=b"{}", json=dict)

    monkeypatch.setattr(Api, "_send", sent)
    with connected(ours):
        for _ in range(5):
            api = Api(
                "https://management.azure.com/subscriptions/one/jobs",
                azure_token("https://management.azure.com"),
                what="jobs",
            )
            for _ in range(10):
                api.call("GET", "job")
    assert len(seen) == 50 and len(set(seen)) == 1
    assert [(one.given, one.asked) for one in made] == [((("client_id", "client-1"),), 1)]


@pytest.mark.parametrize(
    ("identity", "kind", "given"),
    [
        ({"managed_identity": "system"}, "ManagedIdentityCredential", ()),
        (
            {"workload_identity": {"tenant": "t", "client": "c"}},
            "WorkloadIdentityCredential",
            (("tenant_id", "t"), ("client_id", "c")),
        ),
        (
            {"service_principal": {"tenant": "t", "client": "c", "secret": "env://KEY_SECRET"}},
            "ClientSecretCredential",
            ("t", "c", "testsecret"),
        ),
    ],
)
def test_each_identity_of_azure_gives_the_token_of_a_broker(
    issuers: Callable[[str], list[Issuer]], identity: dict[str, Any], kind: str, given: tuple[object, ...]
) -> None:
    made = issuers(kind)
    hub = Connection(
        name="hub", cloud="azure", identity=Identity(**identity), covers=("kafka://acme.servicebus.windows.net:9093",)
    )
    with connected(hub):
        token, _ = token_source("AZURE_ENTRA_ID", "acme.servicebus.windows.net:9093")()
    assert token.endswith("https://acme.servicebus.windows.net/.default") and [one.given for one in made] == [given]


def test_a_broker_of_amazon_is_signed_for_by_the_connection_that_covers_it() -> None:
    from base64 import urlsafe_b64decode

    broker = "b-1.acme.x1.c2.kafka.eu-west-1.amazonaws.com:9098"
    with connected(aws(default=False, covers=(f"kafka://{broker}",))):
        token, _ = token_source("AWS_MSK_IAM", broker)()
    assert b"X-Amz-Credential=testkey" in urlsafe_b64decode(token + "==")


def test_a_copy_of_a_machines_identity_says_to_the_service_who_reads_the_source() -> None:
    from azure.core.pipeline.transport import HttpTransport
    from azure.storage.blob import BlobServiceClient

    from orchestrai.storage.cloud.control_planes.azure_control import AzureControlPlane

    seen: list[Any] = []

    class Service(HttpTransport):  # type: ignore[type-arg]
        def send(self, request: Any, **_: Any) -> Any:
            seen.append(request)
            return Reply(request)

        def open(self) -> None: ...
        def close(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Reply(SimpleNamespace):
        def __init__(self, request: Any) -> None:
            headers = {
                "ETag": '"e1"',
                "Content-Length": "3",
                "Last-Modified": "Mon, 02 Nov 2026 12:00:00 GMT",
                "x-ms-copy-status": "success",
            }
            headers["Content-MD5"] = "1B2M2Y8AsgTpgAmY7PhCfg=="
            status = 202 if request.method == "PUT" else 200
            super().__init__(
                request=request, status_code=status, headers=headers, reason="", content_type="", http_request=request
            )

        def stream_download(self, *_: object, **__: object) -> Iterator[bytes]:
            return iter(())

        def body(self) -> bytes:
            return b""

        def text(self, *_: object) -> str:
            return ""

    credential = SimpleNamespace(
        get_token=lambda *scopes, **_: SimpleNamespace(token=f"for {scopes[0]}", expires_on=4_000_000_000)
    )
    service = BlobServiceClient("https://acme.blob.core.windows.net", credential=credential, transport=Service())  # type: ignore[arg-type]
    control = AzureControlPlane(service.get_container_client("vault"), "", "abfss://vault@acme")
    control.copy(control, "k", "k", storage_class="Archive")
    (put,) = [request for request in seen if request.method == "PUT"]
    assert put.headers["x-ms-copy-source-authorization"] == "Bearer for https://storage.azure.com/.default"
    assert put.headers["x-ms-copy-source"] == "https://acme.blob.core.windows.net/vault/k"


# -- Sent on ----------------------------------------------------------------------------------------------------------


def test_what_is_sent_on_says_where_secrets_lie_and_is_read_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    one = aws(identity=Identity(access_key=KEYS, role=ROLE), covers=("s3://acme",), retries={"attempts": 2, "within": "30s"})
    text = ConnectionSet({"here": one}).text()
    assert "testsecret" not in text and "env://KEY_SECRET" in text
    assert read_connections(text).by_name == {"here": one}
    monkeypatch.setenv("ORCHESTRAI_CONNECTIONS", text)
    assert connections().of_url("s3://acme/x", "aws") == one
    for wrong in ("{", "[]", json.dumps({"a": {"cloud": "sun"}}), json.dumps({"a": 1})):
        monkeypatch.setenv("ORCHESTRAI_CONNECTIONS", wrong)
        with pytest.raises(ConfigError, match="ORCHESTRAI_CONNECTIONS"):
            connections()


def test_a_process_that_is_spawned_finds_the_same_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    (tmp_path / "orchestrai.yaml").write_text(
        "connections: {far: {cloud: aws, region: eu-central-1, covers: ['s3://far']}}\n"
    )
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(tmp_path / "orchestrai.yaml"))
    script = "from orchestrai.project.in_force import connection_for as c; print(c('s3://far/x', 'aws').region)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/", timeout=300, check=True)
    assert done.stdout.strip() == "eu-central-1"


def test_a_worker_elsewhere_opens_the_store_by_the_connection_that_it_was_opened_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_CONNECTIONS", "")
    there = aws(name="there", region="eu-central-1", default=False)
    with connected(aws(), there):
        store = open_store("s3+there://bucket/lake")
        sent, address = connections().text(), address_of(store)
        assert (store.url, address) == ("s3://bucket/lake", "s3+there://bucket/lake")
    assert address_of(MemoryStore(name="m")) == MemoryStore(name="m").url
    receive_connections(sent)
    options: Any = open_store(address).base.backend.options  # type: ignore[attr-defined]
    assert options.region == "eu-central-1" and "testsecret" not in sent


def test_what_a_model_is_written_to_is_reached_by_the_connection_that_covers_it() -> None:
    serving = SageMakerServing(
        image="1.dkr.ecr/sagemaker-xgboost:3.0-5", output="s3://models/shop", group="shop", region="eu-west-1"
    )
    far = aws(name="models", endpoint="https://models.example", covers=("s3://models",), default=False)
    with connected(aws(endpoint="https://other.example"), far):
        make = boto_clients(serving)
        assert make("s3").meta.endpoint_url == "https://models.example"
        assert make("sagemaker").meta.endpoint_url == "https://other.example"


def test_a_worker_that_is_used_again_has_the_connections_that_were_sent_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_CONNECTIONS", "")
    for region in ("eu-central-1", "eu-west-1"):
        with connected(aws(name="there", region=region, covers=("s3://bucket",), default=False)):
            sent = connections().text()
        receive_connections(sent)
        assert connection_for("s3://bucket/lake", "aws").region == region
    receive_connections("{}")
    assert "there" not in connections().by_name
    # its own are left to it
    own = '{"own":{"cloud":"aws"}}'
    monkeypatch.setenv("ORCHESTRAI_CONNECTIONS", own)
    receive_connections(sent)
    assert os.environ["ORCHESTRAI_CONNECTIONS"] == own
