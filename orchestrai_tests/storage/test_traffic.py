"""What stores are asked is counted where it happens, by kind of store."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrai.errors import ObjectExists, ObjectNotFound
from orchestrai.storage import traffic
from orchestrai.storage.local import LocalStore
from orchestrai.storage.objects import ObjectStore
from orchestrai.storage.traffic import Traffic


def counted(kind: str, before: dict[str, Traffic]) -> Traffic:
    return traffic.since(before).get(kind, Traffic())


def test_a_local_store_counts_calls_and_bytes_and_not_what_failed(tmp_path: Path) -> None:
    store, before = LocalStore(tmp_path), traffic.counted()
    store.write("a", b"12345")
    assert store.read("a") == b"12345" and b"".join(store.stream("a")) == b"12345" and store.head("a").size == 5
    assert [info.key for info in store.list()] == ["a"]
    with pytest.raises(ObjectExists):
        store.write("a", b"other", create=True)
    with pytest.raises(ObjectNotFound):
        store.read("b")
    assert counted("file", before) == Traffic(reads=3, writes=1, lists=1, bytes_read=10, bytes_written=5)


def test_a_cloud_store_counts_requests_under_its_own_kind() -> None:
    memory = pytest.importorskip("obstore.store").MemoryStore()
    backend: Any = SimpleNamespace(
        url="s3://bucket/x", prefix="x/", once=memory, repeated=memory, lists_in_order=True, refuse=lambda name: None
    )
    store, before = ObjectStore(backend), traffic.counted()
    store.write("a", b"12345")
    assert store.read("a") == b"12345" and b"".join(store.stream("a")) == b"12345"
    assert len(list(store.list())) == 1
    seen = counted("s3", before)
    # a write looks at what it wrote
    assert (seen.writes, seen.reads, seen.bytes_read, seen.bytes_written) == (1, 3, 10, 5) and seen.lists >= 1


def test_threads_of_a_process_count_together() -> None:
    before = traffic.counted()
    threads = [threading.Thread(target=lambda: [traffic.count("t", reads=1, came=2) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted("t", before) == Traffic(reads=8000, bytes_read=16000)
