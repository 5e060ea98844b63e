"""librdkafka's mock cluster in a process of its own, so that clients reach it as they reach brokers: over loopback TCP."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrai_tests.servers.process import ServerAbsent

# runs in the child; it ends when its standard input is closed, so that it never outlives the tests
_CHILD = """
import json, sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "mock", "log_level": 0})
brokers = cluster.list_topics(timeout=10).brokers.values()
print(json.dumps(sorted(f"{b.host}:{b.port}" for b in brokers)), flush=True)
sys.stdin.read()
"""


@dataclass
class KafkaCluster:
    """Three mock brokers; topics come into being with 4 partitions when they are first written to.

    A topic holds about 5 MB a partition; older records are dropped, and all of them with the process.
    """

    servers: str
    process: "subprocess.Popen[str]"

    def producer(self, **options: Any) -> Any:
        """A producer of this cluster."""
        from confluent_kafka import Producer

        return Producer({"bootstrap.servers": self.servers, "enable.idempotence": True, "log_level": 0, **options})

    def produce(self, topic: str, values: Sequence[bytes | None], *, partition: int = 0, **more: Any) -> None:
        """Write records in order and wait until they are acknowledged."""
        producer = self.producer()
        for value in values:
            producer.produce(topic, value=value, partition=partition, **more)
        assert producer.flush(30) == 0

    def stop(self) -> None:
        """End the brokers."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(10)


@contextlib.contextmanager
def kafka_cluster() -> Iterator[KafkaCluster]:
    """Run a mock cluster; raises ServerAbsent where confluent-kafka is not installed."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        raise ServerAbsent("confluent-kafka is not installed: uv sync --group dev") from None
    command = [sys.executable, "-c", _CHILD]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise ServerAbsent(f"the mock cluster ended with code {process.wait(10)} before it listened")
        yield KafkaCluster(",".join(json.loads(line)), process)
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout:
            process.stdout.close()
