"""503s, throttling, cut bodies and lost answers between a store and its server."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrai.errors import ObjectExists, StorageError, TransientStorageError
from orchestrai.storage.base import CHUNK_BYTES
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.retry import RetryingStore
from orchestrai.storage.url import open_store
from orchestrai_tests.servers.proxy import FaultProxy, fault_proxy
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.storage.faults import MODES, Died, FaultStore

pytestmark = pytest.mark.emulator


@pytest.fixture
def proxied(moto: S3Server) -> Iterator[tuple[FaultProxy, RetryingStore, list[float]]]:
    """A proxy before moto, a store that goes through it, and the pauses it made."""
    pauses: list[float] = []
    with fault_proxy(moto.endpoint) as proxy:
        server = dataclasses.replace(moto, endpoint=proxy.endpoint)
        opened: Any = open_store(f"s3://{moto.bucket()}/p", s3_options(server))
        yield proxy, dataclasses.replace(opened, sleep=pauses.append), pauses


@pytest.mark.parametrize("fault", ["unavailable", "slowed", "lost", "refused"])
@pytest.mark.parametrize("create", [False, True])
def test_a_write_whose_first_answer_fails_is_done_once(proxied: Any, fault: Any, create: bool) -> None:
    proxy, store, pauses = proxied
    proxy.fail_once(fault, "PUT")
    written = store.write("k", b"mine", create=create)
    assert store.read("k") == b"mine"
    assert written == store.head("k")
    assert pauses == [0.2]
    assert [entry[0] for entry in proxy.seen].count("PUT") == 2


@pytest.mark.parametrize("fault", ["lost", "refused"])
@pytest.mark.parametrize("theirs", [b"them", b"another"])
def test_a_lost_create_never_hides_that_another_writer_has_the_key(proxied: Any, fault: Any, theirs: bytes) -> None:
    proxy, store, _ = proxied
    store.write("k", theirs, create=True)
    proxy.fail_once(fault, "PUT")
    with pytest.raises(ObjectExists):
        store.write("k", b"mine", create=True)
    assert store.read("k") == theirs


def test_an_equal_object_from_before_is_not_taken_for_ours_without_a_retry(proxied: Any) -> None:
    _, store, pauses = proxied
    store.write("k", b"same", create=True)
    with pytest.raises(ObjectExists):
        store.write("k", b"same", create=True)
    assert pauses == []


def test_a_create_from_chunks_is_repeated_with_all_its_chunks(proxied: Any) -> None:
    proxy, store, _ = proxied
    proxy.fail_once("lost", "PUT")
    body = b"x" * (9 * 1024 * 1024)
    assert store.write("k", iter([body, b"end"]), create=True).size == len(body) + 3
    assert store.read("k") == body + b"end"


def test_the_store_gives_up_after_three_retries_with_doubling_pauses(proxied: Any) -> None:
    proxy, store, pauses = proxied
    proxy.fail("unavailable", "PUT", times=99)
    with pytest.raises(TransientStorageError, match="try again"):
        store.write("k", b"mine")
    assert pauses == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("fault", ["unavailable", "cut", "lost"])
def test_a_read_whose_answer_fails_gives_all_the_bytes(proxied: Any, fault: Any) -> None:
    proxy, store, _ = proxied
    body = bytes(range(256)) * 64 * 1024
    etag = store.write("k", body).etag
    proxy.fail_once(fault, "GET")
    assert store.read("k", if_match=etag) == body
    proxy.fail_once(fault, "GET")
    assert b"".join(store.stream("k", if_match=etag)) == body


def test_a_body_that_is_always_cut_is_never_handed_out_short(proxied: Any) -> None:
    proxy, store, _ = proxied
    body = bytes(range(256)) * 4096
    store.write("k", body)
    proxy.fail("cut", "GET", times=10_000)
    try:
        assert store.read("k") == body
    except TransientStorageError:
        pass


@pytest.mark.parametrize("fault", ["unavailable", "cut", "lost"])
def test_a_listing_whose_answer_fails_loses_nothing(proxied: Any, fault: Any) -> None:
    proxy, store, _ = proxied
    names = [f"a/{number}" for number in range(5)]
    for name in names:
        store.write(name, b"x")
    proxy.fail_once(fault, "GET")
    assert [info.key for info in store.list()] == names


def test_a_delete_whose_answer_is_lost_is_repeated(proxied: Any) -> None:
    proxy, store, _ = proxied
    store.write("k", b"x")
    proxy.fail_once("lost", "POST")
    store.delete("k")
    assert list(store.list()) == []


def test_a_server_that_is_gone_is_transient_and_says_where() -> None:
    options = s3_options(S3Server("http://127.0.0.1:1", "key", "secret"))
    opened: Any = open_store("s3://bucket", options)
    store = dataclasses.replace(opened, sleep=lambda seconds: None)
    with pytest.raises(TransientStorageError, match="s3://bucket") as told:
        store.write("k", b"x")
    assert "secret" not in str(told.value)


def test_a_missing_bucket_is_said_and_not_retried(moto: S3Server) -> None:
    store = open_store("s3://never-made", s3_options(moto))
    with pytest.raises(StorageError, match="create it") as told:
        store.write("k", b"x")
    assert not told.value.retryable


@pytest.mark.parametrize("mode", MODES)
def test_every_write_fault_before_and_after_ends_in_one_object_or_none(mode: Any) -> None:
    base = MemoryStore()
    faulty = FaultStore(base, 1, mode)
    store = RetryingStore(faulty, sleep=lambda seconds: None)
    try:
        store.write("k", b"mine", create=True)
        assert base.read("k") == b"mine"
    except Died:
        assert mode in ("before", "after", "torn")
    held = [(info.key, base.read(info.key)) for info in base.list()]
    assert held == {"before": [], "torn": [("k", b"mi")]}.get(mode, [("k", b"mine")])


@pytest.mark.parametrize("theirs", [b"mine", b"them", None])
def test_only_a_repeated_create_is_settled_by_what_lies_there(theirs: bytes | None) -> None:
    """The store alone: whoever asks knows nothing of lost answers."""
    base = MemoryStore()
    store = RetryingStore(FaultStore(base, 1, "err_after"), sleep=lambda seconds: None)
    if theirs is None:
        assert store.write("k", b"mine", create=True) == base.head("k")
        return
    base.write("k", theirs, create=True)
    with pytest.raises(ObjectExists):
        store.write("k", b"mine", create=True)


def test_a_stream_goes_on_where_it_stopped_on_the_same_object() -> None:
    body = bytes(range(256)) * (CHUNK_BYTES // 128)

    class Flaky(MemoryStore):
        def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
            yield body[:1000]
            raise TransientStorageError("cut")

    base = Flaky()
    etag = base.write("k", body).etag
    store = RetryingStore(base, sleep=lambda seconds: None)
    assert b"".join(store.stream("k", if_match=etag)) == body
    with pytest.raises(TransientStorageError):
        list(store.stream("k"))


def test_a_listing_goes_on_behind_the_last_key_it_gave() -> None:
    class Flaky(MemoryStore):
        failed = False

        def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[Any]:
            for number, info in enumerate(super().list(prefix, start_after=start_after)):
                if number == 2 and not self.failed:
                    self.failed = True
                    raise TransientStorageError("cut")
                yield info

    base = Flaky()
    for number in range(5):
        base.write(f"{number}", b"")
    assert [info.key for info in RetryingStore(base, sleep=lambda seconds: None).list()] == ["0", "1", "2", "3", "4"]


@dataclasses.dataclass
class Silent:
    """A store of which every read fails, and is counted, until it answers."""

    calls: int = 0
    answers: bool = False

    def read(self, key: str, **more: Any) -> bytes:
        self.calls += 1
        if not self.answers:
            raise TransientStorageError("503")
        return b"x"


def test_a_store_that_was_given_up_is_tried_once_a_call_for_half_a_minute() -> None:
    base, moment, pauses = Silent(), [0.0], list[float]()
    store = RetryingStore(base, sleep=pauses.append, clock=lambda: moment[0])  # type: ignore[arg-type]
    for tries in (4, 1, 1):
        base.calls = 0
        with pytest.raises(TransientStorageError):
            store.read("a")
        assert base.calls == tries
    assert pauses == [0.2, 0.4, 0.8]
    # a step that comes back after minutes finds all patience again, and so does whoever was answered
    moment[0], base.calls = 31.0, 0
    with pytest.raises(TransientStorageError):
        store.read("a")
    assert base.calls == 4
    base.answers = True
    assert store.read("a") == b"x"
    base.answers, base.calls = False, 0
    with pytest.raises(TransientStorageError):
        store.read("a")
    assert base.calls == 4
