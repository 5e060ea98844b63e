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
from itertools import pairwise

from greenlet import getcurrent, greenlet

from orchestrai.core.tree.paged_tree import Content, Subtree
from orchestrai.errors import (
    ConcurrentCommit,
    ConfigError,
    IntegrityError,
    ObjectExists,
    ObjectNotFound,
    RestoreError,
    RetentionLocked,
    SessionExpired,
)
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.cloud.control import Capabilities, ObjectVersion
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.protocol import WriteSession
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.layout import SNAPSHOTS
from orchestrai.vault.format.lists import PagePlace, StoredFile, StoredPartition
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai.vault.vault import Vault

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SESSION, WAIT = timedelta(seconds=20), timedelta(seconds=30)
DATASET, NEW_DATASET = "d", "e"


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
        # what lies below a delete marker
        self.hidden: dict[str, tuple[bytes, datetime, int]] = {}

    def copy(self) -> "SimStore":
        other = SimStore()
        other.objects, other.keys, other.time, other.writes = dict(self.objects), list(self.keys), self.time, self.writes
        other.hidden = dict(self.hidden)
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
        return ObjectInfo(key, len(data), str(number), modified, str(number) if key.startswith(SNAPSHOTS) else None)

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

    # -- what anybody can do who can write the store, or copies it ----------------------------------------------

    def put(self, key: str, data: bytes, modified: datetime) -> None:
        """Put bytes under a time of one's choice."""
        self.writes += 1
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = (data, modified, self.writes)

    def hide(self, key: str) -> None:
        """Put a delete marker over an object."""
        if key in self.objects and key not in self.hidden:
            self.hidden[key] = self.objects.pop(key)
            del self.keys[bisect_left(self.keys, key)]

    def repair(self) -> None:
        """Bring back the first version of what was hidden, whatever was written over it."""
        for key, (data, modified, _) in self.hidden.items():
            self.put(key, data, modified)
        self.hidden.clear()

    def control_plane(self) -> "SimControl":
        return SimControl(self)

    def local_path(self, key: str) -> None:
        return None

    def sync(self) -> None:
        return None


class SimControl:
    """What a store that keeps versions tells of them."""

    def __init__(self, store: SimStore) -> None:
        self.store = store

    def capabilities(self) -> Capabilities:
        return Capabilities(versions=True)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        self.store._point("versions", prefix)
        keys = {key for key in (*self.store.keys, *self.store.hidden) if key.startswith(prefix)}
        found = []
        for key in sorted(keys):
            if key in self.store.objects:
                data, modified, number = self.store.objects[key]
                found.append(ObjectVersion(key, str(number), len(data), str(number), modified, True))
            if key in self.store.hidden:
                data, modified, number = self.store.hidden[key]
                found.append(ObjectVersion(key, f"m{number}", 0, "", modified, key not in self.store.objects, True))
                found.append(ObjectVersion(key, str(number), len(data), str(number), modified, False))
        return iter(found)

    def delete_version(self, key: str, version: str) -> None:
        self.store.hidden.pop(key, None)
        self.store.delete(key)


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
        return json.dumps([[*file[:-1], file.table.hex()] for file in files]).encode()

    def decode_files(self, data: bytes) -> list[StoredFile]:
        return [
            StoredFile(*row[:-2], tuple(StoredObject(*place) for place in row[-2]), bytes.fromhex(row[-1]))
            for row in json.loads(data)
        ]

    # pages so small that three partitions need more than one
    width = 2

    def encode_page(self, height: int, content: Content) -> bytes:
        if not height:
            return json.dumps([0, [list(entry) for entry in content]]).encode()
        rows = [[one.first, one.sums, one.hash.hex(), *one.place] for one in content]
        return json.dumps([height, rows]).encode()

    def decode_page(self, data: bytes) -> tuple[int, Content]:
        height, rows = json.loads(data)
        if not height:
            return 0, [StoredPartition(*row) for row in rows]
        return height, [
            Subtree(height - 1, first, tuple(sums), bytes.fromhex(digest), PagePlace(*place))
            for first, sums, digest, *place in rows
        ]


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
    vault.session_class = parts.session
    vault.catalog = parts.catalog(store, _PLAIN, vault.identity, _CODEC, lambda: None)  # type: ignore[arg-type]
    vault.catalog.client_clock = vault.clock  # type: ignore[attr-defined]  # for defects that believe it
    return vault


def sources(*contents: str) -> list[SourceFile]:
    """Files named by their content."""
    return [SourceFile(text, len(text), text.encode(), hashlib.sha256(text.encode()).hexdigest()) for text in contents]


Place = tuple[str, int]


@dataclass
class History:
    """What was acknowledged, what was meant to be forgotten, what is held."""

    acked: dict[Place, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    forgotten: set[Place] = field(default_factory=set)
    held: set[Place] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    attacked: bool = False
    steps: int = 0


def at_first() -> History:
    """What the base state has acknowledged."""
    return History(acked={(DATASET, 1): ("p", ("x1", "x2")), (DATASET, 2): ("p", ("y1",))})


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
    """Run one history and judge it; in half of them somebody tampers with the store."""
    if not _BASE:
        _BASE.append(base_state())
    rng = random.Random(seed)
    store = _BASE[0].copy()
    store.time += rng.choice((0, 21, 45))
    history = at_first()
    history.attacked = rng.random() < 0.5
    scheduler = Scheduler(store, rng, faults)
    for number in range(rng.choice((2, 2, 3))):
        scheduler.add(_writer(store, parts, history, f"w{number}", rng))
    scheduler.add(_pruner(store, parts, rng, "g0"))
    if rng.random() < 0.3:
        scheduler.add(_pruner(store, parts, rng, "g1"))
    scheduler.add(_forgetter(store, parts, history, rng), immortal=True)
    if history.attacked:
        scheduler.add(_attacker(store, _BASE[0], history, rng), immortal=True)
    try:
        scheduler.run()
        store.step = None
        store.repair()
        judge(store, history)
        if history.attacked and not history.problems and rng.random() < 0.3:
            _judge_copy(store, parts, history, rng)
    except (IntegrityError, ObjectNotFound) as exc:
        history.problems.append(f"the vault cannot be read: {exc}")
    history.steps = scheduler.steps
    return history


def _writer(store: SimStore, parts: Parts, history: History, name: str, rng: random.Random) -> Callable[[], None]:
    plans = []
    for turn in range(rng.choice((1, 1, 2))):
        dataset = rng.choice((DATASET, DATASET, DATASET, NEW_DATASET))
        partition = rng.choice(("p", "p", "q", "r"))
        shared = rng.choice((("x1", "x2"), ("x1",), ("y1",), ("x1", "x2", "z1"), ()))
        plans.append((dataset, partition, (*shared, f"{name}-{turn}")))
    skew = rng.choice((0, 0, 3600, -3600, 86400, -86400, 315_360_000, -315_360_000))
    # the number of a commit that the writer's ledger knows of
    first_known = rng.choice((0, 0, 1, 2))

    def run() -> None:
        vault, known = make_vault(store, parts, name, skew), {DATASET: first_known}
        for dataset, partition, contents in plans:
            try:
                commit = vault.commit(dataset, {partition: sources(*contents)}, after=known.get(dataset, 0))
            except (SessionExpired, ConcurrentCommit):
                continue
            except (IntegrityError, ObjectNotFound) as exc:
                if not history.attacked:
                    history.problems.append(f"writer failed: {exc}")
                return
            history.acked[dataset, commit.seq] = (partition, contents)
            known[dataset] = commit.seq

    return run


def _pruner(store: SimStore, parts: Parts, rng: random.Random, name: str) -> Callable[[], None]:
    jumps = [rng.choice((0, 0, 9, 22, 31, 31)) for _ in range(rng.choice((2, 3, 4)))]
    # by a clock that is far ahead nothing waits
    skew = rng.choice((0, 0, 3600, -3600, 315_360_000))

    def run() -> None:
        vault = make_vault(store, parts, name, skew)
        for jump in jumps:
            pruning = parts.pruning(vault, parts.wait, store.control_plane())  # type: ignore[arg-type]
            try:
                pruning.apply(pruning.plan())
            except (IntegrityError, ObjectNotFound, ConcurrentCommit):
                # another prune swept what this one had begun to read, or something is missing: it stops, and deletes nothing
                continue
            store.time += jump

    return run


def _forgetter(store: SimStore, parts: Parts, history: History, rng: random.Random) -> Callable[[], None]:
    extra = rng.choice((0, 0, 1, 2))
    holds = rng.random() < 0.2

    def run() -> None:
        vault = make_vault(store, parts, "f")
        for turn in range(1 + extra):
            try:
                chosen = [c for c in vault.snapshots(DATASET) if turn or c.seq == 1]
                if not chosen:
                    continue
                victim = rng.choice(chosen)
                if holds and not turn:
                    place_hold(vault, DATASET, victim, None, reason="case")
                    history.held.add((DATASET, victim.seq))
                    continue
                history.forgotten.add((DATASET, victim.seq))
                vault.forget_record(DATASET, victim.seq, reason="")
            except (RetentionLocked, ConfigError, ConcurrentCommit, IntegrityError, ObjectNotFound) as exc:
                if not history.attacked and not isinstance(exc, RetentionLocked | ConfigError):
                    history.problems.append(f"forgetting failed: {exc}")

    return run


def _attacker(store: SimStore, older: SimStore, history: History, rng: random.Random) -> Callable[[], None]:
    """Who can write the store, or copies it carelessly: times, the same bytes again, an older copy, markers, removed records."""
    acts = [
        rng.choice((_touch, _touch, _put_again, _restore_older, _hide, _hide, _repair, _drop))
        for _ in range(rng.choice((1, 2, 4)))
    ]

    def run() -> None:
        for act in acts:
            store._point("attack", "")
            act(store, older, rng)
        store._point("attack", "")

    return run


def _some(store: SimStore, rng: random.Random, *prefixes: str) -> list[str]:
    prefix = rng.choice(prefixes)
    keys = [key for key in store.keys if key.startswith(prefix)]
    return keys if rng.random() < 0.5 else rng.sample(keys, min(len(keys), 1))


def _touch(store: SimStore, older: SimStore, rng: random.Random) -> None:
    span = timedelta(seconds=rng.choice((-(10**8), -40, -21, 21, 40, 2 * 86400, 10**8)))
    for key in _some(store, rng, "", "vault/snapshots/", "work/marks/", "vault/objects/", "vault/forgotten/"):
        data, modified, _ = store.objects[key]
        store.put(key, data, modified + span)


def _put_again(store: SimStore, older: SimStore, rng: random.Random) -> None:
    for key in _some(store, rng, "", "vault/snapshots/", "vault/forgotten/"):
        store.put(key, store.objects[key][0], store.now)


def _restore_older(store: SimStore, older: SimStore, rng: random.Random) -> None:
    for key, (data, _, _) in older.objects.items():
        if key not in store.hidden:
            store.put(key, data, store.now)


def _hide(store: SimStore, older: SimStore, rng: random.Random) -> None:
    for key in _some(store, rng, "vault/snapshots/", "vault/snapshots/d/", "vault/forgotten/", "vault/identity.json"):
        store.hide(key)


def _repair(store: SimStore, older: SimStore, rng: random.Random) -> None:
    store.repair()


def _drop(store: SimStore, older: SimStore, rng: random.Random) -> None:
    """Holds and tombstones are removed for good, and so is what prunes and sessions write for themselves."""
    for key in _some(store, rng, "vault/holds/", "vault/forgotten/", "work/"):
        store.objects.pop(key)
        store.keys.remove(key)


def judge(store: SimStore, history: History) -> None:
    """Every snapshot that counts restores; every acknowledged one is there and equal; none was written over or lost."""
    vault = make_vault(store, SOUND, "oracle")
    visible = {(commit.dataset, commit.seq): commit for commit in vault.snapshots()}
    for place, commit in visible.items():
        problem = _restores(vault, commit, history.acked.get(place))
        if problem:
            told = "acknowledged" if place in history.acked else "visible"
            history.problems.append(f"{told} snapshot {place}: {problem}")
    lost = sorted(set(history.acked) - set(visible) - history.forgotten)
    if lost:
        history.problems.append(f"acknowledged but lost: {lost}")
    if gone := sorted(history.held - set(visible)):
        history.problems.append(f"held but forgotten: {gone}")
    commits = vault.catalog.commits()
    sessions = [commit.session for commit in commits]
    if len(set(sessions)) != len(sessions):
        history.problems.append("one session committed twice")
    for before, after in pairwise(commits):
        if before.dataset == after.dataset and before.committed > after.committed:
            history.problems.append(f"snapshot {after.seq} is older than {before.seq}")
    if not history.attacked and not history.forgotten - {(DATASET, 1)}:
        for dataset in vault.datasets():
            _judge_survival(vault, {seq: one for (name, seq), one in visible.items() if name == dataset}, history)


def _judge_copy(store: SimStore, parts: Parts, history: History, rng: random.Random) -> None:
    """A copy of the vault, its times new, is the same vault, also after prunes of its own."""
    copy = store.copy()
    for key in copy.keys:
        copy.put(key, copy.objects[key][0], copy.now - timedelta(seconds=rng.choice((0, 5))))
    for _ in "123":
        pruning = parts.pruning(make_vault(copy, parts, f"c{copy.writes}"), parts.wait, copy.control_plane())  # type: ignore[arg-type]
        try:
            pruning.apply(pruning.plan())
        except IntegrityError:
            break
        copy.time += 31
    judge(copy, history)


def _restores(vault: SimVault, commit: SnapshotCommit, expected: tuple[str, tuple[str, ...]] | None) -> str:
    try:
        for entry in vault.catalog.tree(commit).rows():
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
    now = vault.catalog.tree(newest)
    last: dict[str, int] = {}
    for seq in sorted(visible):
        for partition in visible[seq].changed:
            last[partition] = seq
    for partition, seq in last.items():
        entry = vault.catalog.tree(visible[seq])[partition]
        if now.get(partition) != entry:
            history.problems.append(f"the write of {partition} by snapshot {seq} did not survive")
