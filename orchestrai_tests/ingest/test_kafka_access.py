"""How a cluster is reached: options on a list, secrets by reference, tokens by the name of who gives them."""

import base64
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrai.errors import ConfigError, OrchestraiError, StorageError
from orchestrai.ingest.incremental import check_source
from orchestrai.ingest.sources.access import kafka_tokens
from orchestrai.ingest.sources.access.kafka_options import ALLOWED, check_options
from orchestrai.ingest.sources.access.kafka_tokens import msk_iam_token, token_callback, token_source
from orchestrai.ingest.sources.kafka import KafkaSettings, KafkaSource
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.cloud.rest import token_of
from orchestrai_tests.ingest.conftest import CLICKS, contract_of
from orchestrai_tests.servers.sasl_broker import sasl_broker

MSK = "b-1.shop.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"
HUB = "shop.servicebus.windows.net:9093"


@pytest.fixture(autouse=True)
def no_token_of_before() -> Iterator[None]:
    """The process's cache of tokens is empty, before and after."""
    token_of.cache_clear()
    yield
    token_of.cache_clear()


@pytest.mark.parametrize(
    "name",
    [
        "plugin.library.paths", "ssl.engine.location", "ssl.providers", "sasl.kerberos.kinit.cmd", "sasl.kerberos.keytab",
        "sasl.username", "sasl.password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret", "sasl.mechanisms",
        "ssl.key.password", "ssl.key.pem", "ssl.key.location", "ssl.keystore.location", "ssl.keystore.password",
        "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location", "interceptors", "interceptor.classes", "log_cb", "stats_cb",
        "oauth_cb", "error_cb", "logger", "debug", "statistics.interval.ms", "opaque", "bootstrap.servers", "group.id",
        "auto.offset.reset", "isolation.level", "enable.auto.commit", "check.crcs", "enable.ssl.certificate.verification",
        "ssl.endpoint.identification.algorithm", "security.protocol", "allow.auto.create.topics", "no.such.option",
    ],
)  # fmt: skip
def test_an_option_that_is_not_on_the_list_is_a_mistake_of_the_declaration(name: str, tmp_path: Path) -> None:
    source = SourceSpec(url="kafka://h:9093/t", format="jsonl", stream={"options": {name: "s3cret"}})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected Kafka options on the list") as caught:
        check_source(source, contract_of(CLICKS, tmp_path), "day")
    assert name in str(caught.value) and "s3cret" not in str(caught.value)


def test_every_option_on_the_list_is_known_to_the_library() -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    check_options(ALLOWED)
    for name in sorted(ALLOWED):
        try:
            confluent_kafka.Consumer(
                {"bootstrap.servers": "127.0.0.1:1", "group.id": "x", "log_level": 0, name: "?"}
            ).close()
        except confluent_kafka.KafkaException as exc:
            assert "No such configuration property" not in str(exc), name


def test_a_token_of_msk_is_a_signed_request_to_connect_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    token, until = token_source("AWS_MSK_IAM", MSK)()
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    assert query["Action"] == ["kafka-cluster:Connect"] and query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-Credential"][0].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert query["X-Amz-Security-Token"] == ["session"] and len(query["X-Amz-Signature"][0]) == 64
    assert "s3cret" not in url and "=" not in token
    assert timedelta(seconds=890) < datetime.fromtimestamp(until, UTC) - datetime.now(UTC) <= timedelta(seconds=900)


def test_without_credentials_of_aws_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "orchestrai.storage.cloud.aws.aws_session", lambda options: type("S", (), {"get_credentials": lambda _: None})()
    )
    with pytest.raises(ConfigError, match="expected credentials of AWS"):
        msk_iam_token("eu-west-1")


def test_a_token_of_entra_is_asked_for_the_namespace_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Credential:
        def get_token(self, scope: str) -> object:
            asked.append(scope)
            return type("Token", (), {"token": "abc", "expires_on": 2_000_000_000})()

    monkeypatch.setattr("orchestrai.storage.cloud.azure.default_credential", Credential)
    assert token_source("AZURE_ENTRA_ID", HUB)() == ("abc", 2_000_000_000.0)
    assert asked == ["https://shop.servicebus.windows.net/.default"]


def test_a_token_of_entra_is_asked_for_once_by_all_clients_and_a_broker_is_told_it_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("confluent_kafka")
    asked: list[str] = []

    class Credential:
        def get_token(self, scope: str) -> object:
            asked.append(scope)
            return type("Token", (), {"token": "abc.def", "expires_on": int(time.time()) + 3600})()

    monkeypatch.setattr("orchestrai.storage.cloud.azure.default_credential", Credential)
    source = token_source("AZURE_ENTRA_ID", "once.servicebus.windows.net:9093")
    # the name of the namespace says whose token it is, and leads to a broker of this machine
    monkeypatch.setattr("orchestrai.ingest.sources.kafka.token_source", lambda *_: source)
    with sasl_broker(tmp_path) as broker:
        where = KafkaSettings(broker.servers, "SASL_SSL", "AZURE_ENTRA_ID", ca=f"file://{broker.ca}", timeout=1)
        for _ in range(2):
            broker.heard.clear()
            with KafkaSource(where, "t") as stream:
                # it is let in, and then answered nothing more
                with pytest.raises(StorageError):
                    stream.bounds()
                assert broker.heard.wait(20)
    assert {*broker.said} == {b"n,,\x01auth=Bearer abc.def\x01\x01"} and {*broker.mechanisms} == {"OAUTHBEARER"}
    assert asked == ["https://once.servicebus.windows.net/.default"]


def test_what_gives_no_token_of_entra_is_told_without_the_ways_that_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    class Credential:
        def get_token(self, scope: str) -> object:
            raise ClientAuthenticationError("tried a file of ours and others")

    monkeypatch.setattr("orchestrai.storage.cloud.azure.default_credential", Credential)
    with pytest.raises(OrchestraiError, match="expected a token of Entra ID for none") as refused:
        token_source("AZURE_ENTRA_ID", "none.servicebus.windows.net:9093")()
    assert "a file of ours" not in str(refused.value) and "give the machine an identity" in str(refused.value)


@pytest.mark.parametrize(("mechanism", "servers"), [("AWS_MSK_IAM", "broker:9098"), ("AZURE_ENTRA_ID", "evil.example:9093")])
def test_brokers_that_tell_no_region_or_namespace_are_refused(
    mechanism: str, servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ConfigError, match="expected"):
        token_source(mechanism, servers)


@pytest.mark.parametrize(
    "settings",
    [
        {"security": "SASL_PLAINTEXT", "mechanism": "AWS_MSK_IAM"},
        {"security": "SASL_SSL", "mechanism": "AWS_MSK_IAM", "password": "env://X"},
        {"security": "SSL", "certificate": "env://X"},
    ],
)
def test_a_token_goes_over_tls_alone_and_a_certificate_has_its_key(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        KafkaSettings(MSK, **settings)  # type: ignore[arg-type]


def test_the_library_asks_for_the_token_and_what_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("confluent_kafka")
    given: list[float] = []

    def token(region: str, _: object) -> tuple[str, float]:
        given.append(time.time() + 900)
        return "token", given[-1]

    monkeypatch.setattr(kafka_tokens, "msk_iam_token", token)
    with KafkaSource(KafkaSettings(MSK, "SASL_SSL", "AWS_MSK_IAM", options={"client.id": "x"}), "t"):
        # a constructed client has been given its token
        assert len(given) == 1

    def refused(region: str, _: object) -> tuple[str, float]:
        raise ConfigError("expected credentials of AWS, found none")

    monkeypatch.setattr(kafka_tokens, "msk_iam_token", refused)
    with pytest.raises(ConfigError, match="expected credentials of AWS"):
        KafkaSource(KafkaSettings(MSK, "SASL_SSL", "AWS_MSK_IAM"), "t")


def test_a_token_that_cannot_be_renewed_is_given_again_while_it_holds() -> None:
    answers: list[tuple[str, float] | Exception] = [
        ("one", 100.0),
        StorageError("outage"),
        ("two", 200.0),
        StorageError("outage"),
    ]

    def source() -> tuple[str, float]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    now = [0.0]
    token = token_callback(source, lambda: now[0])
    assert [token(None), token(None), token(None)] == [("one", 100.0), ("one", 100.0), ("two", 200.0)]
    now[0] = 300.0
    with pytest.raises(StorageError):
        token(None)


def test_a_client_certificate_comes_by_reference_and_is_never_shown(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loader")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = (
        builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    where = {
        "ca": f"file://{tmp_path}/cert.pem",
        "certificate": f"file://{tmp_path}/cert.pem",
        "key": f"file://{tmp_path}/key.pem",
    }
    settings = KafkaSettings("127.0.0.1:1", "SSL", **where)  # type: ignore[arg-type]
    with KafkaSource(settings, "t"):
        assert "BEGIN" not in repr(settings)
    (tmp_path / "key.pem").write_text("s3cret")
    with pytest.raises(ConfigError) as caught:
        KafkaSource(settings, "t")
    assert "s3cret" not in str(caught.value)
