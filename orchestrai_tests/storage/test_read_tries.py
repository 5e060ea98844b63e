"""What a read of a cloud store asks before it gives up: four requests, whoever counts them."""

import dataclasses
import time
from collections.abc import Callable

import pytest

from orchestrai.errors import TransientStorageError
from orchestrai.storage.base import Store
from orchestrai.storage.retry import DOWN_SECONDS, RetryingStore
from orchestrai.storage.url import open_store
from orchestrai_tests.servers.proxy import fault_proxy
from orchestrai_tests.servers.s3 import S3Server

READS: dict[str, Callable[[Store], object]] = {
    "head": lambda store: store.head("a"),
    "read": lambda store: store.read("a"),
    "list": lambda store: list(store.list("")),
    "stream": lambda store: b"".join(store.stream("a")),
}


@pytest.mark.emulator
@pytest.mark.parametrize("what", READS)
def test_a_read_of_s3_asks_four_times_and_then_once_while_the_store_is_down(
    what: str, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_proxy(moto.endpoint) as proxy:
        server = dataclasses.replace(moto, endpoint=proxy.endpoint)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store(f"s3://{moto.bucket()}/tries")
        assert isinstance(store, RetryingStore)
        store.write("a", b"x" * 1000)
        proxy.rule = lambda method, path: "unavailable"
        asked = []
        for _ in range(2):
            proxy.seen.clear()
            with pytest.raises(TransientStorageError):
                READS[what](store)
            asked.append(len(proxy.seen))
        # a stream is opened by its client, which repeats by itself each time
        assert asked == [4, 4 if what == "stream" else 1]
        # what broke off half way is still carried on
        proxy.rule = lambda method, path: None
        proxy.fail_once("cut", "GET" if what != "head" else "HEAD")
        if what in ("read", "stream"):
            store.outage.since = time.monotonic() - DOWN_SECONDS
            assert READS[what](store) == b"x" * 1000
