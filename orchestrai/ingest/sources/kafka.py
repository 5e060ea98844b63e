"""A Kafka topic as a stream source: Kafka, Amazon MSK, Confluent and (by its Kafka endpoint) Azure Event Hubs.

Partitions are assigned, never subscribed: offsets come from the ledger, so no group, no rebalance and no commit decides what
is read. Event Hubs: security SASL_SSL, mechanism AZURE_ENTRA_ID; or PLAIN, user `$ConnectionString`, password the connection string.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrai.errors import ConfigError, IntegrityError, MissingExtra, StorageError, TransientStorageError
from orchestrai.ingest.sources.access.kafka_options import check_options
from orchestrai.ingest.sources.access.kafka_tokens import MECHANISMS, token_callback, token_source
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ingest.sources.stream_records import StreamRecord
from orchestrai.secrets.reference import check_reference, resolve_secret

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class KafkaSettings:
    """How to reach a cluster; user, password and the PEM texts of a CA, a certificate and its key are secret references.

    `mechanism` is one of SASL's, or AWS_MSK_IAM or AZURE_ENTRA_ID, which name who gives the tokens of OAUTHBEARER. `options` are further
    librdkafka properties, see kafka_options.py.
    """

    servers: str
    security: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password: str = ""
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    timeout: float = 30.0
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        for reference in (self.username, self.password, self.ca, self.certificate, self.key):
            if reference:
                check_reference(reference)
        check_options(self.options)
        if self.mechanism in MECHANISMS and (self.security != "SASL_SSL" or self.username or self.password):
            raise ConfigError(
                f"expected security SASL_SSL and no username or password for {self.mechanism}, found {self.security}"
                f"{' with them' if self.username or self.password else ''}: a token is sent, and only over TLS"
            )
        if bool(self.certificate) != bool(self.key):
            raise ConfigError(
                "expected stream.certificate together with stream.key, found one of them: declare both or none"
            )

    def properties(self) -> dict[str, Any]:
        """librdkafka's configuration, secrets resolved now."""
        config: dict[str, Any] = {**self.options, "bootstrap.servers": self.servers, "security.protocol": self.security}
        if self.mechanism in MECHANISMS:
            config["sasl.mechanism"] = "OAUTHBEARER"
            config["oauth_cb"] = token_callback(token_source(self.mechanism, self.servers))
        elif self.mechanism:
            config["sasl.mechanism"] = self.mechanism
        secrets = {
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.pem": self.ca,
            "ssl.certificate.pem": self.certificate,
            "ssl.key.pem": self.key,
        }
        return config | {name: resolve_secret(reference) for name, reference in secrets.items() if reference}


class KafkaSource:
    """One topic; a context manager, since the client keeps threads and connections."""

    def __init__(self, settings: KafkaSettings, topic: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        try:
            import confluent_kafka
        except ImportError as exc:
            raise MissingExtra("expected confluent-kafka, found it absent: install orchestrai[kafka]") from exc
        self._kafka: Any = confluent_kafka
        self.topic, self.settings, self._monotonic = topic, settings, monotonic
        self._fault: Any = None
        properties = settings.properties() | {
            # librdkafka wants a group's name even where no group is joined
            "group.id": f"orchestrai-{topic}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "queued.max.messages.kbytes": 32_768,
            "error_cb": self._on_error,
        }
        try:
            self._consumer = confluent_kafka.Consumer(properties)
        except confluent_kafka.KafkaException as exc:
            raise ConfigError(f"expected Kafka options that fit together, found {_code(exc)}: correct them") from None

    @property
    def uri(self) -> str:
        """`kafka://<servers>/<topic>`."""
        return f"kafka://{self.settings.servers}/{self.topic}"

    def __enter__(self) -> "KafkaSource":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the client's threads."""
        self._consumer.close()

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        """Of each partition the first offset kept and the next that a committed reader may see."""
        kafka, timeout = self._kafka, self.settings.timeout
        try:
            metadata = self._consumer.list_topics(self.topic, timeout=timeout).topics[self.topic]
            if metadata.error is not None:
                raise self._error(metadata.error)
            numbers = sorted(metadata.partitions)
            if not numbers:
                raise StorageError(f"expected partitions of {self.uri}, found none: create the topic")
            return {
                number: self._consumer.get_watermark_offsets(kafka.TopicPartition(self.topic, number), timeout=timeout)
                for number in numbers
            }
        except kafka.KafkaException as exc:
            raise self._error(exc.args[0]) from None

    def read(self, offsets: Mapping[int, int], limit_records: int, limit_bytes: int, wait: float) -> list[StreamRecord]:
        """See StreamSource; raises TransientStorageError when nothing comes although `offsets` lie before the end."""
        kafka = self._kafka
        self._fault = None
        records: list[StreamRecord] = []
        size, waiting, ends = 0, set(offsets), self._monotonic() + wait
        try:
            self._consumer.assign([kafka.TopicPartition(self.topic, n, offset) for n, offset in sorted(offsets.items())])
            while waiting and len(records) < limit_records and size < limit_bytes and self._monotonic() < ends:
                for message in self._consumer.consume(min(500, limit_records - len(records)), timeout=0.2):
                    fault: Any = message.error()
                    if fault is not None:
                        if fault.code() != kafka.KafkaError._PARTITION_EOF:
                            raise self._error(fault)
                        waiting.discard(message.partition())
                    elif size < limit_bytes:
                        records.append(self._record(message))
                        size += records[-1].size
        except kafka.KafkaException as exc:
            raise self._error(exc.args[0]) from None
        finally:
            self._consumer.unassign()
        if not records and waiting == set(offsets) and offsets:
            detail = f", last told {self._fault.name()}" if self._fault is not None else ""
            raise TransientStorageError(f"expected records of {self.uri} within {wait:g} s, found none{detail}: retry")
        return records

    def _record(self, message: Any) -> StreamRecord:
        kind, millis = message.timestamp()
        moment = _EPOCH + timedelta(milliseconds=max(0, millis if kind != self._kafka.TIMESTAMP_NOT_AVAILABLE else 0))
        headers = tuple((name, None if value is None else bytes(value)) for name, value in message.headers() or ())
        return StreamRecord(message.partition(), message.offset(), moment, message.value(), message.key(), headers)

    def _on_error(self, error: Any) -> None:
        self._fault = error

    def _error(self, error: Any) -> StorageError | IntegrityError:
        """The error to raise; librdkafka's own text is left out, since it may quote the configuration."""
        kind = self._kafka.KafkaError
        message = f"expected {self.uri} to answer, found {error.name()}"
        if error.code() in (kind.OFFSET_OUT_OF_RANGE, kind._AUTO_OFFSET_RESET):
            return IntegrityError(f"{message}: records were deleted while they were read; read the bounds again")
        if error.code() in (kind.UNKNOWN_TOPIC_OR_PART, kind._UNKNOWN_TOPIC, kind._UNKNOWN_PARTITION):
            return StorageError(f"{message}: create the topic")
        refused = (kind._AUTHENTICATION, kind.SASL_AUTHENTICATION_FAILED, kind.TOPIC_AUTHORIZATION_FAILED, kind._SSL)
        if error.code() in refused or error.fatal():
            return StorageError(f"{message}: check credentials and access")
        return TransientStorageError(f"{message}: retry")


def stream_address(url: str) -> tuple[str, str]:
    """The servers (none for the embedded log) and the topic of `log://topic` or `kafka://host:port,host:port/topic`.

    Raises ConfigError.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "log":
        if not rest or "/" in rest or rest.startswith("."):
            raise ConfigError(f"expected log:// with a plain topic name, found {rest!r}: rename it")
        return "", rest
    servers, slash, topic = rest.partition("/")
    if scheme != "kafka" or not (servers and slash and topic) or "@" in rest or "/" in topic:
        raise ConfigError(
            "expected log://topic or kafka://host:port/topic without credentials, found another URL: correct it"
        )
    return servers, topic


def open_stream(url: str, folder: Path, settings: KafkaSettings | None = None) -> "KafkaSource | StreamLog":
    """Open the stream at `url` as a context; the embedded log lies in `folder`.

    `settings` tell of security and secrets; the URL names the servers. Raises ConfigError, MissingExtra.
    """
    servers, topic = stream_address(url)
    if not servers:
        return StreamLog(folder, topic)
    return KafkaSource(replace(settings or KafkaSettings(servers), servers=servers), topic)


def _code(exc: Any) -> str:
    return str(exc.args[0].name()) if exc.args and hasattr(exc.args[0], "name") else type(exc).__name__
