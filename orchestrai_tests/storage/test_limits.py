"""Limits of a store: no more bytes a second than the bucket has, no more calls at once than the gate lets through."""

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrai.core.transfer_rate import parse_rate
from orchestrai.errors import ConfigError
from orchestrai.ledger.signing import Signer
from orchestrai.settings import Settings
from orchestrai.storage.limits import Bucket, Gate, LimitedStore, Limits, limits_of
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_within_limits
from orchestrai.vault.replica.read_only_store import ReadOnlyStore
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.contents import files


@dataclass
class Time:
    """A clock that only sleeping moves."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def bounded(rate: int, base: LocalStore | MemoryStore | None = None) -> tuple[LimitedStore, Time]:
    time = Time()
    return LimitedStore(base or MemoryStore(), Limits(rate), Bucket(rate, time, time.sleep)), time


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MB/s", 20_000_000),
        ("500 kB/s", 500_000),
        ("1.5GB/s", 1_500_000_000),
        ("2MiB/s", 2 * 1024**2),
        ("8B/s", 8),
        ("", 0),
    ],
)
def test_a_rate_is_read_as_people_write_it(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["20", "20MB", "0MB/s", "-1MB/s", "fast", "20Mb/s"])
def test_another_text_is_refused_wherever_it_is_given(text: str) -> None:
    with pytest.raises(ConfigError, match="20MB/s"):
        parse_rate(text)
    with pytest.raises(ConfigError, match="ORCHESTRAI_TRANSFER_LIMIT"):
        Settings(transfer_limit=text)


def test_bytes_take_the_time_that_the_rate_allows_each_way(tmp_path: Path) -> None:
    store, time = bounded(1_000_000)
    begun = time.now
    store.write("a", b"x" * 3_000_000)
    store.write("b", iter([b"x" * 1_000_000] * 2))
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    store.write_file("c", tmp_path / "file")
    assert store.read("a") == b"x" * 3_000_000
    assert b"".join(store.stream("b")) == b"x" * 2_000_000
    # 11 MB at 1 MB/s; half a second's worth had gathered
    assert time.now - begun == pytest.approx(10.5)
    # in small parts, so that a line is never full for long
    assert sorted(time.slept)[-2] <= 0.5 + 0.126


def test_time_in_which_nothing_passed_is_not_made_up_for() -> None:
    store, time = bounded(1_000_000)
    time.now += 3600
    begun = time.now
    store.write("a", b"x" * 5_000_000)
    assert time.now - begun == pytest.approx(4.5)


def test_no_byte_of_a_local_store_passes_beside_the_bucket(tmp_path: Path) -> None:
    store, time = bounded(100_000, LocalStore(tmp_path))
    vault = Vault(store, signer(), workers=0)
    data = random.Random(1).randbytes(400_000)
    vault.commit("d", {"p": files(a=data)})
    assert store.local_path("vault/identity.json") is None and sum(time.slept) > 3
    time.slept.clear()
    assert vault.read_file(vault.latest("d").snapshot_id, "p", "a") == data
    assert sum(time.slept) > 3
    time.slept.clear()
    assert replicate(vault, MemoryStore()).verified.ok and sum(time.slept) > 3


def signer() -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(Ed25519PrivateKey.generate())


def test_no_more_calls_run_at_once_than_are_allowed_and_one_thread_may_nest_them() -> None:
    inside, most, gate, lock = 0, 0, Gate(2), threading.Lock()
    together = threading.Barrier(2, timeout=10)

    def call() -> None:
        nonlocal inside, most
        with gate.open(), gate.open():
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait()
            with lock:
                inside -= 1

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 2 and not any(thread.is_alive() for thread in threads)


def test_a_copy_within_one_store_passes_a_gate_for_one() -> None:
    store = LimitedStore(MemoryStore(), Limits(0, 1))
    store.write("a", b"x" * 100)
    store.write("b", store.stream("a"))
    assert store.read("b") == b"x" * 100


def test_the_settings_limit_a_store_and_without_one_it_is_the_store_itself(tmp_path: Path) -> None:
    assert isinstance(open_within_limits(str(tmp_path), Settings(home=tmp_path)), LocalStore)
    store = open_within_limits(str(tmp_path), Settings(home=tmp_path, transfer_limit="20MB/s", transfer_at_once=4))
    assert limits_of(ReadOnlyStore(store)) == Limits(20_000_000, 4) and limits_of(MemoryStore()) == Limits()
