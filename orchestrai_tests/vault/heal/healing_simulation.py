"""Random histories of two copies: writers, prunes, forgetting, replication and heals, while bits rot and objects go missing.

Each damage leaves the other copy of that object right. So in the end, whatever ran beside a heal and wherever one died, two sound copies
are left: no snapshot that counts is lost, nothing that was forgotten is back, and what prunes deleted stays deleted.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrai.errors import ConcurrentCommit, ConfigError, IntegrityError, ObjectNotFound, OrchestraiError, RetentionLocked
from orchestrai.vault.format.layout import BYTES, FORGOTTEN, SNAPSHOTS, commit_key
from orchestrai.vault.format.records import ChainNote, ChainRecord, open_record
from orchestrai.vault.heal.heal import Healing, HealPlan
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.simulation import (
    DATASET,
    SOUND,
    History,
    PlainSigner,
    Scheduler,
    SimStore,
    SimVault,
    _forgetter,
    _pruner,
    _writer,
    at_first,
    base_state,
    judge,
    make_vault,
)

_BASE: list[SimStore] = []


@dataclass
class Pair:
    """The two stores, and what was first written under each key."""

    primary: SimStore
    replica: SimStore
    rotten: int = 0
    apart: set[int] = field(default_factory=set)
    forgets_alone: bool = False

    @property
    def both(self) -> tuple[SimStore, SimStore]:
        return self.primary, self.replica


def play_healing(seed: int, healing: type[Healing] = Healing, *, bring_back: bool = False) -> History:
    """Run one history and judge it."""
    if not _BASE:
        _BASE.append(base_state())
    rng = random.Random(seed)
    primary, replica = _BASE[0].copy(), _BASE[0].copy()
    replica.url = "sim:replica"
    pair, history = Pair(primary, replica), at_first()
    # writers and prunes may stop at what is damaged; they lose nothing by it
    history.attacked = True
    scheduler = Scheduler(primary, rng)
    primary.step = replica.step = _stepping(pair, scheduler)
    for number in range(rng.choice((1, 2))):
        scheduler.add(_writer(primary, SOUND, history, f"w{number}", rng))
    scheduler.add(_pruner(primary, SOUND, rng, "g0"))
    if rng.random() < 0.4:
        scheduler.add(_pruner(replica, SOUND, rng, "g1"))
    pair.forgets_alone = rng.random() < 0.3
    if pair.forgets_alone:
        scheduler.add(_forgets_in_replica(pair, rng), immortal=True)
    scheduler.add(_forgetter(primary, SOUND, history, rng), immortal=True)
    for number in range(rng.choice((1, 2))):
        scheduler.add(_healer(pair, healing, f"h{number}", bring_back))
    scheduler.add(_replicator(pair, rng))
    scheduler.add(_rot(pair, rng), immortal=True)
    scheduler.run()
    primary.step = replica.step = None
    try:
        _judge_end(pair, history, healing, bring_back)
    except (OrchestraiError, KeyError) as exc:
        history.problems.append(f"the end cannot be judged: {type(exc).__name__}: {exc}")
    history.steps = scheduler.steps
    return history


def _stepping(pair: Pair, scheduler: Scheduler) -> Callable[[str, str], str]:
    def step(operation: str, key: str) -> str:
        fate = scheduler.point(operation, key)
        pair.replica.time = pair.primary.time
        return fate

    return step


def _opened(name: str) -> Callable[..., SimVault]:
    return lambda store, _: make_vault(store, SOUND, name)  # type: ignore[arg-type]


def heal_once(pair: Pair, healing: type[Healing], name: str, bring_back: bool = False) -> HealPlan:
    keyring = PlainSigner()
    run = healing(list(pair.both), keyring, _opened(name))  # type: ignore[arg-type]
    plan = run.plan(bring_back=bring_back)
    run.apply(plan)
    return plan


def _healer(pair: Pair, healing: type[Healing], name: str, bring_back: bool) -> Callable[[], None]:
    def run() -> None:
        for turn in range(2):
            try:
                heal_once(pair, healing, f"{name}{turn}", bring_back)
            except (IntegrityError, ObjectNotFound, ConfigError):
                continue  # something changed under it: the next one begins anew

    return run


def _replicator(pair: Pair, rng: random.Random) -> Callable[[], None]:
    turns = rng.choice((1, 2, 3))

    def run() -> None:
        for turn in range(turns):
            try:
                replicate(make_vault(pair.primary, SOUND, f"r{turn}"), pair.replica)  # type: ignore[arg-type]
            except (IntegrityError, ObjectNotFound):
                continue

    return run


def _forgets_in_replica(pair: Pair, rng: random.Random) -> Callable[[], None]:
    def run() -> None:
        vault = make_vault(pair.replica, SOUND, "x")
        try:
            victim = rng.choice(vault.snapshots(DATASET))
            vault.forget_record(DATASET, victim.seq, reason="")
            pair.apart.add(victim.seq)
        except (IntegrityError, ObjectNotFound, RetentionLocked, ConcurrentCommit, IndexError):
            pass

    return run


def _rot(pair: Pair, rng: random.Random) -> Callable[[], None]:
    """One object after another rots or goes missing in a copy, where the other has it right."""
    acts = rng.choice((1, 3, 8, 15))

    def run() -> None:
        for _ in range(acts):
            pair.primary._point("rot", "")
            store, other = rng.sample(pair.both, 2)
            if pair.forgets_alone:
                # what the replica forgets by itself, its prune may take from under the primary
                store, other = pair.replica, pair.primary
            whole = [key for key in store.keys if _is_right(pair, store, other, key)]
            if not whole:
                continue
            key = rng.choice(whole)
            data, modified, _number = store.objects[key]
            pair.rotten += 1
            if _may_go(pair, store, key) and rng.random() < 0.5:
                store.objects.pop(key)
                store.keys.remove(key)
            else:
                # a signature is worth nothing here: what breaks a record is the type before it
                at = rng.randrange(len(data)) if key.startswith(BYTES) else 0
                store.put(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], modified)

    return run


def _is_right(pair: Pair, store: SimStore, other: SimStore, key: str) -> bool:
    return key.startswith("vault/") and key in other.objects and other.objects[key][0] == store.objects[key][0]


def _may_go(pair: Pair, store: SimStore, key: str) -> bool:
    """What says of the primary what was taken away from its logs' ends only an anchor could tell."""
    if key.startswith(BYTES) or store is pair.replica:
        return not key.startswith(FORGOTTEN)
    place = key.removeprefix(SNAPSHOTS).rpartition("/")
    return key.startswith(SNAPSHOTS) and any(
        other > key for other in store.keys if other.startswith(f"{SNAPSHOTS}{place[0]}/")
    )


def _judge_end(pair: Pair, history: History, healing: type[Healing], bring_back: bool) -> None:
    for turn in "abc":
        plan = heal_once(pair, healing, f"e{turn}", bring_back)
    vault = make_vault(pair.primary, SOUND, "end")
    left = [mend.key for mend in plan.mends] + [lost.key for lost in plan.lost] + [item.key for item in plan.unmended]
    if left:
        history.problems.append(f"heal does not come to rest: {left}")
    if any(not newer.log.startswith(FORGOTTEN) for newer in plan.newer):
        # a damaged end, and the other has a fence there: which of them wrote it cannot be told, so a person is asked
        ends = [newer.mends[0].key for newer in plan.newer if newer.log.startswith(SNAPSHOTS)]
        if not all(isinstance(_record(pair, key), ChainNote) for key in ends):
            history.problems.append(f"newer records: {[newer.log for newer in plan.newer]}")
        return
    judge(pair.primary, history)
    for store in pair.both:
        findings = verify(make_vault(store, SOUND, "look"), level="read").findings
        if findings:
            history.problems.append(f"{store.url} is not sound: {findings[0]}")
    back = {(one.dataset, one.seq) for one in vault.snapshots()} & (history.forgotten - set(vault.holds()))
    back = {place for place in back if commit_key(*place) in pair.primary.objects and _has_tombstone(pair, place)}
    if back:
        history.problems.append(f"forgotten snapshots are back: {sorted(back)}")
    _judge_garbage(pair, history, healing, bring_back)


def _record(pair: Pair, key: str) -> ChainRecord:
    return open_record(PlainSigner(), pair.replica.read(key))  # type: ignore[arg-type]


def _has_tombstone(pair: Pair, place: tuple[str, int]) -> bool:
    return f"{FORGOTTEN}{place[0]}/{place[1]:012d}.json" in pair.primary.objects


def _judge_garbage(pair: Pair, history: History, healing: type[Healing], bring_back: bool) -> None:
    """What prunes delete in the primary does not come back from the replica."""
    for name in ("p0", "p1", "p2"):
        pruning = SOUND.pruning(make_vault(pair.primary, SOUND, name), SOUND.wait)
        pruning.apply(pruning.plan())
        pair.primary.time += timedelta(seconds=40).total_seconds()
    heal_once(pair, healing, "last", bring_back)
    vault: Vault = make_vault(pair.primary, SOUND, "count")
    pruning = SOUND.pruning(vault, SOUND.wait)  # type: ignore[arg-type]
    unneeded = pruning.present().keys() - pruning.needed(pruning.live())
    if unneeded:
        history.problems.append(f"deleted by a prune and back: {sorted(unneeded)}")
