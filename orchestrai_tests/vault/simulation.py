"""A deterministic simulator of writers, prunes and forgetting over one store.

Actors are greenlets that run the real protocol code. Before each store operation an actor yields to the scheduler, so every
operation is a point at which anything else may happen. Scheduling is by random priorities that change at random points (PCT,
Burckhardt et al. 2010). All randomness comes from one seed: a seed replays its history exactly.
"""

import hashlib
import json
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from greenlet import getcurrent, greenlet

from orchestrai.errors import (
    ConcurrentCommit,
    IntegrityError,
    ObjectExists,
    ObjectNotFound,
    RestoreError,
    SessionExpired,
)
from orchestrai.storage.base import ObjectInfo
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.protocol import WriteSession
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredFile, StoredPartition
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai.vault.vault import Vault

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SESSION, WAIT = timedelta(seconds=20), timedelta(seconds=30)
DATASET = "d"


class Died(BaseException):
    """The actor's process is gone."""


class SimStore:
    """Objects in a dict under one simulated clock; `step` is called before each operation."""

    url = "sim:"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime, int]] = {}
        self.keys: list[str] = []
        self.time = 100.0
        self.writes = 0
        self.step: Callable[[str, str], str] | None = None

    def copy(self) -> "SimStore":
        other = SimStore()
        other.objects, other.keys, other.time, other.writes = dict(self.objects), list(self.keys), self.time, self.writes
        return other

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.time)

    def _point(self, operation: str, key: str) -> str:
        return self.step(operation, key) if self.step is not None else ""

    def _info(self, key: str) -> ObjectInfo:
        try:
            data, modified, number = self.objects[key]
        except KeyError:
            raise ObjectNotFound(f"no {key}") from None
        return ObjectInfo(key, len(data), str(number), modified)

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        self._point("head", key)
        return self._info(key)

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        self._point("read", key)
        self._info(key)
        data = self.objects[key][0]
        return data[start : None if length is None else start + length]

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        return iter([self.read(key)])

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        fate = self._point("write", key)
        whole = data if isinstance(data, bytes) else b"".join(data)
        if create and key in self.objects:
            raise ObjectExists(f"there is {key}")
        self.writes += 1
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = (whole, self.now, self.writes)
        if fate == "die after":
            raise Died
        if fate == "lost answer" and create:
            raise ObjectExists(f"a retry met its own bytes under {key}")
        return self._info(key)

    def write_file(self, key: str, path: object, *, create: bool = False) -> ObjectInfo:
        raise AssertionError("not used")

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        self._point("list", prefix)
        found = []
        for position in range(bisect_left(self.keys, prefix), len(self.keys)):
            key = self.keys[position]
            if not key.startswith(prefix):
                break
            if start_after is None or key > start_after:
                found.append(self._info(key))
        return iter(found)

    def delete(self, key: str, *, version: str | None = None) -> None:
        fate = self._point("delete", key)
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]
        if fate == "die after":
            raise Died

    def local_path(self, key: str) -> None:
        return None

    def sync(self) -> None:
        return None


class PlainSigner:
    """Signs nothing: signatures have tests of their own, and cost more than all else here."""

    def sign(self, kind: str, payload: bytes) -> bytes:
        return kind.encode() + b"\0" + payload

    def open(self, kind: str, envelope: bytes) -> bytes:
        name, _, payload = envelope.partition(b"\0")
        if name != kind.encode():
            raise IntegrityError("not this kind of record")
        return payload


class JsonCodec:
    """Lists as JSON: cheaper than Parquet for a handful of rows."""

    def encode_files(self, files: Iterable[StoredFile]) -> bytes:
        return json.dumps([list(file) for file in files]).encode()

    def decode_files(self, data: bytes) -> list[StoredFile]:
        return [StoredFile(*row) for row in json.loads(data)]

    def encode_tree(self, partitions: Iterable[StoredPartition]) -> bytes:
        return json.dumps([list(entry) for entry in partitions]).encode()

    def decode_tree(self, data: bytes) -> list[StoredPartition]:
        return [StoredPartition(*row) for row in json.loads(data)]


class SimVault(Vault):
    """A vault whose protocol steps can be replaced."""

    session_class: type[WriteSession] = WriteSession

    def session(self, request, progress=None):  # type: ignore[no-untyped-def]
        return self.session_class(self, request, progress)


@dataclass(frozen=True)
class Parts:
    """The code under test; a planted defect replaces one of them."""

    session: type[WriteSession] = WriteSession
    catalog: type[Catalog] = Catalog
    pruning: type[Pruning] = Pruning
    vault: type[SimVault] = SimVault
    wait: timedelta = WAIT


SOUND = Parts()
_PLAIN = PlainSigner()
_CODEC = JsonCodec()


def make_vault(store: SimStore, parts: Parts, name: str, skew: float = 0.0) -> SimVault:
    """One machine's view of the vault; its own clock is off by `skew` seconds."""
    numbers = iter(range(10**9))
    vault = parts.vault(
        store,  # type: ignore[arg-type]
        _PLAIN,  # type: ignore[arg-type]
        _PLAIN,  # type: ignore[arg-type]
        clock=lambda: store.now + timedelta(seconds=skew),
        new_id=lambda: f"{name}{next(numbers):03d}",
        max_session=SESSION,
        workers=0,
        codec=_CODEC,
    )
    vault._identity = "sim"
    vault.session_class = parts.session
    vault.catalog = parts.catalog(store, _PLAIN, vault.identity, _CODEC, lambda: None, SESSION)  # type: ignore[arg-type]
    vault.catalog.client_clock = vault.clock  # type: ignore[attr-defined]  # for defects that believe it
    return vault


def sources(*contents: str) -> list[SourceFile]:
    """Files named by their content."""
    return [SourceFile(text, len(text), text.encode(), hashlib.sha256(text.encode()).hexdigest()) for text in contents]


@dataclass
class History:
    """What was acknowledged and what was meant to be forgotten."""

    acked: dict[int, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    steps: int = 0


class Scheduler:
    """Runs actors one operation at a time, always the one of highest priority."""

    def __init__(self, store: SimStore, rng: random.Random, faults: bool = True) -> None:
        self.store = store
        self.rng = rng
        self.faults = faults
        self.actors: list[tuple[float, int, greenlet]] = []
        self.immortal: set[greenlet] = set()
        self.steps = 0
        self.home = getcurrent()
        store.step = self.point

    def add(self, run: Callable[[], None], *, immortal: bool = False) -> None:
        def body() -> None:
            try:
                run()
            except Died:
                pass

        actor = greenlet(body, self.home)
        self.actors.append((self.rng.random(), len(self.actors), actor))
        if immortal:
            self.immortal.add(actor)

    def point(self, operation: str, key: str) -> str:
        """An actor is about to touch the store."""
        actor = getcurrent()
        if actor is self.home:
            return ""
        self.home.switch()
        if not self.faults or actor in self.immortal:
            return ""
        draw = self.rng.random()
        if draw < 0.002:
            raise Died
        if draw < 0.004:
            return "die after"
        return "lost answer" if draw > 0.99 else ""

    def run(self) -> None:
        rng = self.rng
        while self.actors:
            position = max(range(len(self.actors)), key=lambda i: self.actors[i][0])
            _, number, actor = self.actors[position]
            actor.switch()
            self.steps += 1
            if actor.dead:
                del self.actors[position]
                continue
            if rng.random() < 0.12:
                self.actors[position] = (rng.random() * 0.9, number, actor)
            if rng.random() < 0.015:
                self.store.time += rng.choice((1, 3, 8, 15, 21, 31))


def base_state() -> SimStore:
    """Two snapshots: the first alone refers to x1 and x2, the second to y1; partition q is in both."""
    store = SimStore()
    vault = make_vault(store, SOUND, "base")
    vault.commit(DATASET, {"p": sources("x1", "x2"), "q": sources("z1")})
    store.time += 1
    vault.commit(DATASET, {"p": sources("y1")})
    return store


_BASE: list[SimStore] = []


def play(seed: int, parts: Parts = SOUND, *, faults: bool = True) -> History:
    """Run one history and judge it."""
    if not _BASE:
        _BASE.append(base_state())
    rng = random.Random(seed)
    store = _BASE[0].copy()
    store.time += rng.choice((0, 21, 45))
    history = History()
    history.acked = {1: ("p", ("x1", "x2")), 2: ("p", ("y1",))}
    scheduler = Scheduler(store, rng, faults)
    for number in range(rng.choice((2, 2, 3))):
        scheduler.add(_writer(store, parts, history, f"w{number}", rng))
    scheduler.add(_pruner(store, parts, rng, "g0"))
    if rng.random() < 0.3:
        scheduler.add(_pruner(store, parts, rng, "g1"))
    scheduler.add(_forgetter(store, parts, history, rng), immortal=True)
    try:
        scheduler.run()
        store.step = None
        judge(store, history)
    except (IntegrityError, ObjectNotFound) as exc:
        history.problems.append(f"the vault cannot be read: {exc}")
    history.steps = scheduler.steps
    return history


def _writer(store: SimStore, parts: Parts, history: History, name: str, rng: random.Random) -> Callable[[], None]:
    plans = []
    for turn in range(rng.choice((1, 1, 2))):
        partition = rng.choice(("p", "p", "q", "r"))
        shared = rng.choice((("x1", "x2"), ("x1",), ("y1",), ("x1", "x2", "z1"), ()))
        plans.append((partition, (*shared, f"{name}-{turn}")))
    skew = rng.choice((0, 0, 3600, -3600, 86400, -86400, 315_360_000, -315_360_000))
    # the number of a commit that the writer's ledger knows of
    first_known = rng.choice((0, 0, 1, 2))

    def run() -> None:
        vault, known = make_vault(store, parts, name, skew), first_known
        for partition, contents in plans:
            begun = store.now
            try:
                commit = vault.commit(DATASET, {partition: sources(*contents)}, after=known)
            except (SessionExpired, ConcurrentCommit):
                continue
            except (IntegrityError, ObjectNotFound) as exc:
                # a snapshot may be forgotten and swept while it is read: the session is too old to count then
                if store.now - begun <= SESSION:
                    history.problems.append(f"writer failed: {exc}")
                return
            history.acked[commit.seq] = (partition, contents)
            known = commit.seq

    return run


def _pruner(store: SimStore, parts: Parts, rng: random.Random, name: str) -> Callable[[], None]:
    jumps = [rng.choice((0, 0, 9, 22, 31, 31)) for _ in range(rng.choice((2, 3, 4)))]
    skew = rng.choice((0, 3600, -3600, 315_360_000))

    def run() -> None:
        vault = make_vault(store, parts, name, skew)
        for jump in jumps:
            pruning = parts.pruning(vault, parts.wait)
            try:
                pruning.apply(pruning.plan())
            except (IntegrityError, ObjectNotFound):
                # another prune swept what this one had begun to read: it stops, and deletes nothing
                continue
            store.time += jump

    return run


def _forgetter(store: SimStore, parts: Parts, history: History, rng: random.Random) -> Callable[[], None]:
    extra = rng.choice((0, 0, 1, 2))

    def run() -> None:
        vault = make_vault(store, parts, "f")
        for turn in range(1 + extra):
            seen = vault.snapshots(DATASET)
            chosen = [c for c in seen if c.seq == 1] if turn == 0 else [c for c in seen if c.seq > 1]
            if chosen:
                victim = rng.choice(chosen)
                history.forgotten.add(victim.seq)
                vault.forget(victim.snapshot_id)

    return run


def judge(store: SimStore, history: History) -> None:
    """Every snapshot that counts restores; every acknowledged one is there and equal; none was written over or lost."""
    vault = make_vault(store, SOUND, "oracle")
    visible = {commit.seq: commit for commit in vault.snapshots(DATASET)}
    for seq, commit in visible.items():
        problem = _restores(store, vault, commit, history.acked.get(seq))
        if problem:
            told = "acknowledged" if seq in history.acked else "visible"
            history.problems.append(f"{told} snapshot {seq}: {problem}")
    lost = sorted(set(history.acked) - set(visible) - history.forgotten)
    if lost:
        history.problems.append(f"acknowledged but lost: {lost}")
    commits = vault.catalog.commits(DATASET)
    sessions = [commit.session for commit in commits]
    if len(set(sessions)) != len(sessions):
        history.problems.append("one session committed twice")
    if not history.forgotten - {1}:
        _judge_survival(vault, visible, history)


def _restores(store: SimStore, vault: SimVault, commit: SnapshotCommit, expected: tuple[str, tuple[str, ...]] | None) -> str:
    try:
        for entry in vault.catalog.tree(commit):
            files = vault.catalog.files(entry)
            for file in files:
                b"".join(vault.stream(file))
            if expected and entry.partition == expected[0] and sorted(f.path for f in files) != sorted(expected[1]):
                return f"wrong content of {entry.partition}"
    except (IntegrityError, RestoreError, ObjectNotFound) as exc:
        return f"unrestorable: {exc}"
    return ""


def _judge_survival(vault: SimVault, visible: dict[int, SnapshotCommit], history: History) -> None:
    """The newest snapshot holds, of each partition, what the last acknowledged write of it put there."""
    if not visible:
        return
    newest = visible[max(visible)]
    now = {entry.partition: entry for entry in vault.catalog.tree(newest)}
    last: dict[str, int] = {}
    for seq in sorted(visible):
        for partition in visible[seq].changed:
            last[partition] = seq
    for partition, seq in last.items():
        entry = {e.partition: e for e in vault.catalog.tree(visible[seq])}[partition]
        if now.get(partition) != entry:
            history.problems.append(f"the write of {partition} by snapshot {seq} did not survive")
