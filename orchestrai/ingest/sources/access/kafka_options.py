"""Which properties of librdkafka a declaration may set: those on a list, none of which loads code, is a secret or decides what is read."""

from collections.abc import Iterable

from orchestrai.errors import ConfigError

ALLOWED = frozenset(
    "api.version.fallback.ms api.version.request api.version.request.timeout.ms broker.address.family broker.address.ttl "
    "broker.version.fallback client.dns.lookup client.id client.rack connections.max.idle.ms fetch.error.backoff.ms fetch.max.bytes "
    "fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms log.connection.close "
    "max.in.flight.requests.per.connection max.partition.fetch.bytes message.max.bytes metadata.max.age.ms queued.min.messages "
    "receive.message.max.bytes reconnect.backoff.max.ms reconnect.backoff.ms retry.backoff.max.ms retry.backoff.ms "
    "socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails socket.nagle.disable socket.receive.buffer.bytes "
    "socket.send.buffer.bytes socket.timeout.ms ssl.cipher.suites ssl.curves.list ssl.sigalgs.list "
    "topic.metadata.propagation.max.ms topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms "
    "topic.metadata.refresh.sparse".split()
)
# the beginning of a name, and what to do instead; the first that fits is told
_INSTEAD = (
    ("plugin.", "it loads code"),
    ("ssl.engine", "it loads code"),
    ("ssl.providers", "it loads code"),
    ("sasl.kerberos.kinit.cmd", "it runs a command"),
    ("sasl.username", "declare stream.username by reference"),
    ("sasl.password", "declare stream.password by reference"),
    ("sasl.mechanism", "declare stream.mechanism"),
    ("security.protocol", "declare stream.security"),
    ("sasl.oauthbearer", "declare stream.mechanism: AWS_MSK_IAM or AZURE_ENTRA_ID"),
    ("enable.sasl.oauthbearer", "declare stream.mechanism: AWS_MSK_IAM or AZURE_ENTRA_ID"),
    ("ssl.ca", "declare stream.ca by reference"),
    ("ssl.certificate", "declare stream.certificate by reference"),
    ("ssl.key", "declare stream.certificate and stream.key by reference"),
    ("ssl.endpoint", "the broker's name is always checked"),
    ("enable.ssl.certificate", "the broker's certificate is always checked"),
    ("bootstrap.servers", "the URL names the brokers"),
    ("metadata.broker.list", "the URL names the brokers"),
)


def check_options(names: Iterable[str]) -> None:
    """Raise ConfigError naming every property that is not on the list, and what stands in its place."""
    refused = [f"{name} ({_instead(name)})" for name in sorted(names) if name not in ALLOWED]
    if refused:
        raise ConfigError(
            f"expected Kafka options on the list of docs/arrival.md, found {', '.join(refused[:5])}: remove them from stream.options"
        )


def _instead(name: str) -> str:
    if name.endswith("_cb"):
        return "it calls code"
    return next((why for start, why in _INSTEAD if name.startswith(start)), "it is set here, or not known to be harmless")
