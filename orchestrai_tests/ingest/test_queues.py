"""Event queues against moto (S3 -> SQS, SNS, EventBridge) and Azurite; Pub/Sub against a fake with the real client's calls."""

import base64
import inspect
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.errors import StorageError, TransientStorageError
from orchestrai.ingest.discovery.partitioning import Zone
from orchestrai.ingest.discovery.queues.notifications import ObjectEvent, Parsed, parse_event_grid, parse_gcs, parse_s3
from orchestrai.ingest.discovery.queues.queue import Drained, Message, drain, settled, store_refused
from orchestrai.ingest.discovery.queues.queue_services import AzureQueue, PubSubQueue, SqsQueue
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Material
from orchestrai.storage.url import open_store
from orchestrai_tests.ingest.judging import judge_for
from orchestrai_tests.producers import producer
from orchestrai_tests.running import ingest
from orchestrai_tests.servers.azurite import AzuriteServer
from orchestrai_tests.servers.process import free_port
from orchestrai_tests.servers.s3 import S3Server

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOURCE = SourceSpec(url="landing/", format="csv")


def nothing_known(sighting: Any, event: ObjectEvent) -> bool:
    return False


def run(queue: Any, at: str, *, known: Any = nothing_known, limit: int = 5_000, now: Any = lambda: NOW) -> Drained:
    landing: Any = SimpleNamespace(url=at)
    return drain(queue, Zone(landing, SOURCE, "day"), known=known, now=now, limit=limit)


def known_of(ledger: Ledger, asset: str, landing: Any) -> Any:
    return settled(judge_for(ledger, asset, landing, SOURCE, now=NOW))


def names(drained: Drained) -> dict[str, list[str]]:
    return {key: [info.key for info in found] for key, found in drained.partitions.items()}


# -- S3 over moto ------------------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """A bucket whose events reach an SQS queue by one of three ways."""

    server: S3Server
    name: str
    queue: SqsQueue

    def put(self, key: str, body: bytes = b"x") -> str:
        return str(self.server.client().put_object(Bucket=self.name, Key=key, Body=body)["ETag"]).strip('"')


def _queue(server: S3Server) -> tuple[SqsQueue, str]:
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex[:8]}", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return SqsQueue(sqs, url), arn


@pytest.fixture
def bucket_by(moto: S3Server) -> Callable[[str], Bucket]:
    def make(way: str) -> Bucket:
        queue, arn = _queue(moto)
        name, s3 = moto.bucket(), moto.client()
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        if way == "direct":
            configuration: dict[str, Any] = {"QueueConfigurations": [{"QueueArn": arn, "Events": events}]}
        elif way == "sns":
            sns = moto.client("sns")
            topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
            configuration = {"TopicConfigurations": [{"TopicArn": topic, "Events": events}]}
        else:
            rule, bus = f"r-{uuid.uuid4().hex[:8]}", moto.client("events")
            bus.put_rule(Name=rule, EventPattern=json.dumps({"source": ["aws.s3"], "detail": {"bucket": {"name": [name]}}}))
            bus.put_targets(Rule=rule, Targets=[{"Id": "q", "Arn": arn}])
            configuration = {"EventBridgeConfiguration": {}}
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=configuration)
        return Bucket(moto, name, queue)

    return make


@pytest.mark.emulator
@pytest.mark.parametrize("way", ["direct", "sns", "event_bridge"])
def test_objects_put_to_s3_are_told_by_partition_with_their_true_keys(bucket_by: Callable[[str], Bucket], way: str) -> None:
    bucket = bucket_by(way)
    keys = ["in/2026-11-20 a+b.csv", "in/2026-11-20-é.csv", "in/2026-11-21.csv"]
    etags = {key: bucket.put(key, key.encode()) for key in keys}
    bucket.put("elsewhere/2026-11-21.csv")
    drained = run(bucket.queue, f"s3://{bucket.name}/in", limit=20)
    expected = {"2026-11-20": [k.removeprefix("in/") for k in keys[:2]], "2026-11-21": ["2026-11-21.csv"]}
    assert {key: sorted(found) for key, found in names(drained).items()} == {k: sorted(v) for k, v in expected.items()}
    assert drained.refused == () and drained.foreign == 1
    told = {f"in/{info.key}": info for found in drained.partitions.values() for info in found}
    assert {key: info.size for key, info in told.items()} == {key: len(key.encode()) for key in keys}
    if way != "event_bridge":  # moto leaves the quotes and encodes as it likes there; the parser's own test follows
        assert {key: info.etag for key, info in told.items()} == etags


@pytest.mark.emulator
def test_messages_come_again_until_they_are_acknowledged(bucket_by: Callable[[str], Bucket]) -> None:
    bucket = bucket_by("direct")
    bucket.put("2026-11-20.csv")
    first = run(bucket.queue, f"s3://{bucket.name}", limit=3)
    again = run(bucket.queue, f"s3://{bucket.name}", limit=3)
    assert names(first) == names(again) == {"2026-11-20": ["2026-11-20.csv"]}
    bucket.queue.acknowledge(again.handles)
    assert run(bucket.queue, f"s3://{bucket.name}").messages == 0


@pytest.mark.emulator
def test_a_missing_queue_is_an_error_and_not_nothing_new(moto: S3Server) -> None:
    queue, _ = _queue(moto)
    gone = SqsQueue(queue.client, queue.url + "-gone")
    with pytest.raises(StorageError, match="NonExistentQueue") as caught:
        run(gone, "s3://bucket")
    assert not caught.value.retryable


def test_an_unreachable_sqs_is_a_transient_error() -> None:
    server = S3Server(f"http://127.0.0.1:{free_port()}", "key", "secret")
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
    client = boto3.client(
        "sqs",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=config,
    )
    with pytest.raises(TransientStorageError):
        run(SqsQueue(client, f"{server.endpoint}/1/q"), "s3://bucket")


# -- Azure over Azurite ------------------------------------------------------------------------------------------


def grid_event(path: str, *, kind: str = "Microsoft.Storage.BlobCreated", etag: str = "0x8DE", cloud: bool = False) -> Any:
    data = {
        "api": "PutBlob",
        "eTag": etag,
        "contentLength": 12,
        "url": f"https://account.blob.core.windows.net/landing/{path}",
    }
    subject = f"/blobServices/default/containers/landing/blobs/{path}"
    if cloud:
        return {"specversion": "1.0", "type": kind, "subject": subject, "time": "2026-11-20T10:00:00.1234567Z", "data": data}
    return {"eventType": kind, "subject": subject, "eventTime": "2026-11-20T10:00:00.1234567Z", "data": data}


@pytest.fixture
def azure(azurite: AzuriteServer) -> AzureQueue:
    from azure.storage.queue import QueueServiceClient

    service = QueueServiceClient.from_connection_string(azurite.connection_string)
    return AzureQueue(service.create_queue(f"q-{uuid.uuid4().hex[:8]}"), hidden=1, sleep=lambda seconds: None)


AT = "abfss://landing@account.dfs.core.windows.net"


def b64(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.emulator
def test_event_grid_messages_in_a_storage_queue_are_told_and_acknowledged(azure: AzureQueue) -> None:
    azure.client.send_message(b64(grid_event("in/2026-11-20 a+b%.csv")))
    azure.client.send_message(b64([grid_event("in/2026-11-21.csv", cloud=True)]))
    azure.client.send_message(json.dumps(grid_event("in/2026-11-22.csv")))
    azure.client.send_message(b64(grid_event("in/2026-11-22.csv", kind="Microsoft.Storage.BlobDeleted")))
    azure.client.send_message("no event at all")
    drained = run(azure, f"{AT}/in")
    assert names(drained) == {
        "2026-11-20": ["2026-11-20 a+b%.csv"],
        "2026-11-21": ["2026-11-21.csv"],
        "2026-11-22": ["2026-11-22.csv"],
    }
    assert [refusal.text for refusal in drained.refused] == ["no event at all"]
    azure.acknowledge(drained.handles)
    assert azure.client.get_queue_properties().approximate_message_count == 0
    azure.acknowledge(drained.handles)


@pytest.mark.emulator
def test_a_missing_azure_queue_is_an_error_and_not_nothing_new(azure: AzureQueue) -> None:
    azure.client.delete_queue()
    with pytest.raises(StorageError, match="QueueNotFound"):
        run(azure, AT)


# -- Pub/Sub -----------------------------------------------------------------------------------------------------


@dataclass
class Subscriber:
    """The two calls of google-cloud-pubsub's SubscriberClient that are used, with its signatures (2.x)."""

    pending: dict[str, Any] = field(default_factory=dict)
    silent: bool = False
    down: bool = False

    def pull(
        self,
        request: Any = None,
        *,
        subscription: Any = None,
        return_immediately: Any = None,
        max_messages: Any = None,
        retry: Any = None,
        timeout: Any = None,
        metadata: Any = (),
    ) -> Any:
        from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable

        assert set(request) <= {"subscription", "max_messages", "return_immediately"} and request["max_messages"] > 0
        if self.down:
            raise DeadlineExceeded("504") if not request.get("return_immediately") else ServiceUnavailable("503")
        if self.silent and not request.get("return_immediately"):
            raise DeadlineExceeded("504")
        found = list(self.pending.items())[: request["max_messages"]]
        return SimpleNamespace(received_messages=[SimpleNamespace(ack_id=key, message=got) for key, got in found])

    def acknowledge(
        self,
        request: Any = None,
        *,
        subscription: Any = None,
        ack_ids: Any = None,
        retry: Any = None,
        timeout: Any = None,
        metadata: Any = (),
    ) -> None:
        for key in request["ack_ids"]:
            self.pending.pop(key, None)


def gcs_message(name: str, kind: str = "OBJECT_FINALIZE") -> Any:
    attributes = {
        "eventType": kind,
        "bucketId": "landing",
        "objectId": name,
        "objectGeneration": "1700000000000000",
        "eventTime": "2026-11-20T10:00:00.123456Z",
        "payloadFormat": "JSON_API_V1",
    }
    return SimpleNamespace(attributes=attributes, data=json.dumps({"size": "7", "etag": "CPj0"}).encode())


def test_cloud_storage_notifications_are_pulled_and_acknowledged() -> None:
    client = Subscriber({"a": gcs_message("in/2026-11-20 x+y.csv"), "b": gcs_message("in/2026-11-20.csv", "OBJECT_DELETE")})
    queue = PubSubQueue(client, "projects/p/subscriptions/s")
    drained = run(queue, "gs://landing/in", limit=2)
    (info,) = drained.partitions["2026-11-20"]
    assert (info.key, info.size, info.version) == ("2026-11-20 x+y.csv", 7, "1700000000000000")
    queue.acknowledge(drained.handles)
    assert client.pending == {}


def test_a_silent_pubsub_is_empty_only_when_it_answers_so() -> None:
    queue = PubSubQueue(Subscriber(silent=True), "projects/p/subscriptions/s")
    assert run(queue, "gs://landing").messages == 0
    with pytest.raises(TransientStorageError):
        run(PubSubQueue(Subscriber(down=True), "projects/p/subscriptions/s"), "gs://landing")


def test_the_fake_subscriber_has_the_real_clients_signatures() -> None:
    pubsub = pytest.importorskip("google.pubsub_v1", reason="google-cloud-pubsub is not installed")
    for name in ("pull", "acknowledge"):
        real = list(inspect.signature(getattr(pubsub.SubscriberClient, name)).parameters)
        assert real == list(inspect.signature(getattr(Subscriber, name)).parameters)


# -- parsing and draining ----------------------------------------------------------------------------------------


def s3_record(key: str, **changes: Any) -> dict[str, Any]:
    thing = {"key": key, "size": 3, "eTag": "e1", "sequencer": "00", **changes}
    return {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-20T10:00:00.000Z",
        "s3": {"bucket": {"name": "b"}, "object": thing},
    }


def test_the_test_event_of_s3_is_passed_over() -> None:
    parsed = parse_s3(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}))
    assert parsed == Parsed(passed_over=1)


def test_keys_of_event_bridge_are_taken_as_they_are() -> None:
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-11-20T10:00:00Z",
        "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b%20c", "size": 1, "etag": "e", "version-id": "v"}},
    }
    assert parse_s3(json.dumps(event)).events[0].uri == "s3://b/a+b%20c"


def test_one_bad_record_of_a_message_costs_neither_the_others_nor_itself() -> None:
    bad = s3_record("x")
    del bad["s3"]["bucket"]
    parsed = parse_s3(json.dumps({"Records": [s3_record("2026-11-20.csv"), bad, s3_record("2026-11-21.csv")]}))
    assert [event.uri for event in parsed.events] == ["s3://b/2026-11-20.csv", "s3://b/2026-11-21.csv"]
    assert json.loads(parsed.refused[0].text)["s3"]["object"]["key"] == "x"
    assert "expected a JSON object" in parsed.refused[0].reason


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "[" * 10_000, '{"Records": 3}', '{"Type":"Notification","Message":"x"}']
)
def test_hostile_messages_are_refused_with_a_reason(text: str) -> None:
    for parsed in (parse_s3(text), parse_gcs({}, text)):
        assert parsed.events == () and len(parsed.refused) == 1 and parsed.refused[0].reason.startswith("expected")
    assert parse_event_grid(text).events == ()


@dataclass
class Listed:
    """A queue over a fixed list, which may fail on the way."""

    messages: list[Message]
    fails_after: int = 10**9

    def receive(self, limit: int, wait: float = 1.0) -> list[Message]:
        if self.fails_after <= 0:
            raise TransientStorageError("down")
        self.fails_after -= 1
        got, self.messages = self.messages[: min(limit, 2)], self.messages[min(limit, 2) :]
        return got

    def acknowledge(self, handles: Any) -> None:
        raise AssertionError("a drain acknowledges nothing")


def told(number: int, key: str, etag: str = "e1") -> Message:
    return Message(str(number), parse_s3(json.dumps({"Records": [s3_record(key, eTag=etag)]})))


def test_a_repeated_event_is_told_once_and_an_overwrite_twice() -> None:
    queue = Listed([told(1, "2026-11-20.csv"), told(2, "2026-11-20.csv"), told(3, "2026-11-20.csv", "e2")])
    drained = run(queue, "s3://b")
    assert [info.etag for info in drained.partitions["2026-11-20"]] == ["e1", "e2"]
    assert drained.handles == ("1", "2", "3")


def test_an_outage_in_the_middle_of_a_drain_is_raised() -> None:
    with pytest.raises(TransientStorageError):
        run(Listed([told(n, f"2026-11-{n:02d}.csv") for n in range(1, 9)], fails_after=2), "s3://b")


def test_a_drain_ends_at_its_limit_and_at_its_time() -> None:
    messages = [told(n, f"2026-11-{n:02d}.csv") for n in range(1, 9)]
    limited = run(Listed(list(messages)), "s3://b", limit=3)
    assert limited.messages == 3 and limited.more
    moments = iter(NOW + timedelta(seconds=16 * n) for n in range(99))
    slow = run(Listed(list(messages)), "s3://b", now=lambda: next(moments))
    assert slow.messages == 2 and slow.more


def test_objects_without_a_date_and_hidden_ones_are_set_apart() -> None:
    drained = run(Listed([told(1, "orders.csv"), told(2, "_SUCCESS"), told(3, ".tmp/2026-11-20.csv")]), "s3://b")
    assert (
        [item.uri for item in drained.unplaced] == ["s3://b/orders.csv"] and drained.foreign == 2 and not drained.partitions
    )


def test_what_the_ledger_holds_is_not_told_again(ledger: Ledger) -> None:
    session = ledger.session("p/d/raw_events", producer("raw_events"))
    session.add_bytes("2026-11-20", "part.parquet", b"x")
    session.commit(materials=[Material("s3://b/2026-11-20.csv", "0" * 64, 3, '"e1"', "", "2026-11-20")])
    queue = Listed([told(1, "2026-11-20.csv"), told(2, "2026-11-20.csv", "e2")])
    drained = run(queue, "s3://b", known=known_of(ledger, "p/d/raw_events", SimpleNamespace(url="s3://b")))
    assert [info.etag for info in drained.partitions["2026-11-20"]] == ["e2"] and drained.known == 1


def test_a_store_on_the_web_names_its_url_as_events_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", base64.b64encode(b"k").decode())
    assert open_store("abfss://landing@account.dfs.core.windows.net/in").url == f"{AT}/in"
    event = parse_event_grid(json.dumps(grid_event("in/x.csv"))).events[0]
    assert event.uri == f"{AT}/in/x.csv"


def test_refused_messages_are_kept_once_however_often_they_come(ledger: Ledger) -> None:
    asset = "p/d/raw_events"
    for texts in (["x", "y"], ["y", "{}"], []):
        found = [refusal for text in texts for refusal in parse_s3(text).refused]
        store_refused(ledger, asset, found, NOW)
    kept = ledger.open("p/d/refused_messages")
    with kept.fetched(["2026-11-22"]) as files:
        lines = [json.loads(line) for line in files["2026-11-22"][0].path.read_text().splitlines()]
    assert sorted(line["text"] for line in lines) == ["x", "y", "{}"] and kept.rows == 3


@pytest.mark.emulator
def test_from_bucket_to_raw_events_once_though_the_acknowledgement_is_lost(
    ledger: Ledger, bucket_by: Callable[[str], Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_by("direct")
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    landing = open_store(f"s3://{bucket.name}/in")
    source = SourceSpec(url="in/", format="csv")
    contract = Contract("d", "1.0.0", (Column("n", "BIGINT", "n", required=True),))
    asset = "p/d/raw_events"

    def tick(*, acknowledge: bool) -> Drained:
        drained = drain(
            bucket.queue,
            Zone(landing, source, "day"),
            known=known_of(ledger, asset, landing),
            now=lambda: NOW,
            limit=20,
        )
        if drained.partitions:
            keys = sorted(drained.partitions)
            options: Any = {"landing": landing, "source": source, "contract": contract, "grain": "day", "now": NOW}
            assert not ingest(ledger, asset=asset, partitions=keys, **options).refused
        if acknowledge:
            bucket.queue.acknowledge(drained.handles)
        return drained

    bucket.put("in/2026-11-20-a.csv", b"n\n1\n")
    bucket.put("in/2026-11-20-b.csv", b"n\n2\n")
    assert len(tick(acknowledge=False).partitions["2026-11-20"]) == 2
    bucket.put("in/2026-11-21.csv", b"n\n3\n")
    second = tick(acknowledge=True)
    assert names(second) == {"2026-11-21": ["2026-11-21.csv"]} and second.known == 2
    assert tick(acknowledge=True).messages == 0 and ledger.open(asset).rows == 3
