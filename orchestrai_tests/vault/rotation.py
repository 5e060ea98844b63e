"""Histories in which a key is rotated while writers commit and a prune runs, with real signatures: nothing acknowledged may be lost.

The store, the scheduler and its faults are those of the simulator. A planted defect replaces one part.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.errors import (
    ConcurrentCommit,
    ConfigError,
    IntegrityError,
    KeyRefused,
    ObjectNotFound,
    RestoreError,
    SessionExpired,
)
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.ledger.trust.key_rules import LoggedRules, governed
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.commit.protocol import WriteSession
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai_tests.vault.simulation import (
    DATASET,
    NEW_DATASET,
    SESSION,
    WAIT,
    History,
    JsonCodec,
    Scheduler,
    SimStore,
    SimVault,
    sources,
)

ROOT, OLD, NEW = (Signer(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)) for number in (11, 12, 13))
_CODEC = JsonCodec()


@dataclass(frozen=True)
class RotationParts:
    """The code under test."""

    session: type[WriteSession] = WriteSession
    pruning: type[Pruning] = Pruning
    ceremony: type[Ceremony] = Ceremony


SOUND = RotationParts()


def opened(store: SimStore, signer: Signer, name: str, parts: RotationParts = SOUND) -> SimVault:
    """The vault at a machine with a key."""
    numbers = iter(range(10**9))
    vault = SimVault(
        store,  # type: ignore[arg-type]
        signer,
        Keyring({**OLD.keyring().keys, **NEW.keyring().keys}),
        clock=lambda: store.now,
        new_id=lambda: f"{name}{next(numbers):03d}",
        max_session=SESSION,
        workers=0,
        codec=_CODEC,
        root=ROOT,
    )
    vault.session_class = parts.session
    return vault


def ceremony(store: SimStore, parts: RotationParts = SOUND) -> Ceremony:
    """The root's owner at work."""
    rules = governed(store, OLD.keyring()).rules  # type: ignore[arg-type]
    assert isinstance(rules, LoggedRules)
    return parts.ceremony(store, rules, ROOT, MemoryStore(), "ada", lambda: store.now, threads=0)  # type: ignore[arg-type]


_BASE: list[SimStore] = []


def base() -> SimStore:
    """Two snapshots by the old key, the first of them forgotten, so that a prune has something to take."""
    if not _BASE:
        store = SimStore()
        vault = opened(store, OLD, "base")
        vault.keyring = Keyring(OLD.keyring().keys)
        vault = opened(store, OLD, "base")
        vault.commit(DATASET, {"p": sources("x1", "x2"), "q": sources("z1")})
        store.time += 1
        vault.commit(DATASET, {"p": sources("y1")})
        vault.forget_record(DATASET, 1, reason="")
        pruning = Pruning(vault, WAIT)
        pruning.apply(pruning.plan())
        store.time += 31
        _BASE.append(store)
    return _BASE[0].copy()


def rotated(seed: int, parts: RotationParts = SOUND) -> History:
    """Run one history and judge it."""
    rng = random.Random(seed)
    store = base()
    history = History(acked={(DATASET, 2): ("p", ("y1",))}, forgotten={(DATASET, 1)})
    scheduler = Scheduler(store, rng)
    for number in range(2):
        scheduler.add(_writer(store, parts, history, f"w{number}", OLD, rng))
    scheduler.add(_writer(store, parts, history, "n0", NEW, rng))
    scheduler.add(_pruner(store, parts))
    scheduler.add(_rotator(store, parts, rng))
    scheduler.run()
    store.step = None
    try:
        _finish(store)
        _judge(store, history)
    except (IntegrityError, ObjectNotFound, RestoreError) as exc:
        history.problems.append(f"the vault cannot be read: {exc}")
    return history


def _writer(
    store: SimStore, parts: RotationParts, history: History, name: str, signer: Signer, rng: random.Random
) -> Callable[[], None]:
    plans = [
        (
            rng.choice((DATASET, DATASET, NEW_DATASET)),
            rng.choice(("p", "q")),
            (*rng.choice((("x1", "x2"), ("y1",), ())), f"{name}{turn}"),
        )
        for turn in range(2)
    ]

    def run() -> None:
        vault = opened(store, signer, name, parts)
        for dataset, partition, contents in plans:
            try:
                commit = vault.commit(dataset, {partition: sources(*contents)})
            except (SessionExpired, ConcurrentCommit, KeyRefused):
                continue
            history.acked[dataset, commit.seq] = (partition, contents)

    return run


def _pruner(store: SimStore, parts: RotationParts) -> Callable[[], None]:
    def run() -> None:
        vault = opened(store, OLD, "g0", parts)
        for _ in range(2):
            pruning = parts.pruning(vault, WAIT)
            try:
                pruning.apply(pruning.plan())
            except (IntegrityError, ObjectNotFound, ConcurrentCommit, KeyRefused):
                continue
            store.time += 31

    return run


def _rotator(store: SimStore, parts: RotationParts, rng: random.Random) -> Callable[[], None]:
    late = rng.choice((0, 5, 40))

    def run() -> None:
        for _ in range(late):
            store._point("wait", "")
        try:
            ceremony(store, parts).end(OLD.key_id, "yearly", successor=NEW.private_key.public_key())
        except (ConcurrentCommit, IntegrityError):
            return

    return run


def _finish(store: SimStore) -> None:
    """What a person does after a rotation that died."""
    try:
        ceremony(store).end(OLD.key_id, "yearly", successor=NEW.private_key.public_key())
    except ConfigError:
        pass  # it is done


def _judge(store: SimStore, history: History) -> None:
    vault = opened(store, NEW, "oracle")
    visible = {(one.dataset, one.seq): one for one in vault.snapshots()}
    if lost := sorted(set(history.acked) - set(visible) - history.forgotten):
        history.problems.append(f"acknowledged but lost: {lost}")
    for place, commit in visible.items():
        for entry in vault.catalog.tree(commit).rows():
            files = vault.catalog.files(entry)
            for file in files:
                b"".join(vault.stream(file))
            expected = history.acked.get(place)
            if expected and entry.partition == expected[0] and sorted(f.path for f in files) != sorted(expected[1]):
                history.problems.append(f"wrong content of {entry.partition} in {place}")
    after = vault.commit(DATASET, {"r": sources("after")})
    if (DATASET, after.seq) not in {(one.dataset, one.seq) for one in opened(store, NEW, "again").snapshots()}:
        history.problems.append("the vault does not go on")
