"""Histories run operation by operation: each loses a snapshot under a protocol that looks right."""

from collections.abc import Callable

from greenlet import getcurrent, greenlet

from orchestrai.errors import ConcurrentCommit, IntegrityError, ObjectNotFound, RetentionLocked, SessionExpired
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai_tests.vault.simulation import (
    DATASET,
    NEW_DATASET,
    History,
    Parts,
    SimStore,
    at_first,
    base_state,
    judge,
    make_vault,
    sources,
)


class Director:
    """Runs one actor up to an operation of one's choice; the clock stands still meanwhile."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.store: SimStore = base_state()
        self.history = at_first()
        self.home = getcurrent()
        self.pending: dict[greenlet, tuple[str, str]] = {}
        self.store.step = self._point

    def _point(self, operation: str, key: str) -> str:
        actor = getcurrent()
        if actor is not self.home:
            self.pending[actor] = (operation, key)
            self.home.switch()
        return ""

    def writer(self, name: str, partition: str, *contents: str, dataset: str = DATASET) -> greenlet:
        """A writer of one snapshot."""

        def run() -> None:
            try:
                commit = make_vault(self.store, self.parts, name).commit(dataset, {partition: sources(*contents)})
                self.history.acked[dataset, commit.seq] = (partition, contents)
            except (SessionExpired, ConcurrentCommit, IntegrityError, ObjectNotFound):
                pass

        return greenlet(run, self.home)

    def prune(self, name: str, skew: float = 0.0, *, may_stop: bool = False) -> greenlet:
        """A prune; `skew` is how far its own clock is off; it `may_stop` where something is missing."""

        def run() -> None:
            pruning = self.parts.pruning(make_vault(self.store, self.parts, name, skew), self.parts.wait)
            try:
                pruning.apply(pruning.plan())
            except (IntegrityError, ObjectNotFound) as exc:
                if not may_stop:
                    self.history.problems.append(f"a prune failed: {exc}")

        return greenlet(run, self.home)

    def forget(self, seq: int) -> None:
        """Forget a snapshot now."""
        self.history.forgotten.add((DATASET, seq))
        vault = make_vault(self.store, self.parts, f"f{seq}")
        try:
            vault.forget_record(DATASET, seq, reason="")
        except (IntegrityError, ObjectNotFound) as exc:
            self.history.problems.append(f"forgetting {seq} failed: {exc}")

    def at(self, time: float) -> None:
        """Set the store's clock."""
        self.store.time = time

    def until(self, actor: greenlet, operation: str, key: str) -> None:
        """Run an actor until it is about to do this."""
        while not actor.dead:
            actor.switch()
            if actor.dead or (self.pending[actor][0] == operation and self.pending[actor][1].startswith(key)):
                return

    def finish(self, *actors: greenlet) -> None:
        """Run actors to their ends, one after the other."""
        for actor in actors:
            while not actor.dead:
                actor.switch()

    def end(self) -> History:
        """Judge."""
        self.store.step = None
        try:
            judge(self.store, self.history)
        except (IntegrityError, ObjectNotFound) as exc:
            self.history.problems.append(f"the vault cannot be read: {exc}")
        return self.history


COMMIT = ("write", "vault/snapshots/")


def d1(parts: Parts) -> History:
    """A prune that began long before it marked (D1 of the study): a writer's reference, and its fresh object, are swept."""
    play = Director(parts)
    play.at(200)
    slow = play.prune("ga")
    play.until(slow, "list", "vault/objects/")
    play.at(224)
    writer = play.writer("w", "p", "x1", "x2", "own")
    play.until(writer, *COMMIT)
    play.forget(1)
    play.at(225)
    play.finish(slow)
    play.at(231)
    play.finish(play.prune("gb"))
    play.at(232)
    play.finish(writer)
    return play.end()


def d2(parts: Parts) -> History:
    """A marked object referred to anew through a snapshot that is then forgotten (D2 of the study)."""
    play = Director(parts)
    play.at(199)
    first = play.writer("w1", "p", "x1", "x2", "own")
    play.until(first, *COMMIT)
    play.forget(1)
    play.at(205)
    play.finish(play.prune("ga", skew=10**8))
    play.at(218)
    play.finish(first)
    play.at(230)
    second = play.writer("w2", "p", "x1", "x2", "other")
    play.until(second, *COMMIT)
    play.forget(3)
    play.at(236)
    play.finish(play.prune("gb", skew=10**8))
    play.at(240)
    play.finish(second)
    return play.end()


def d3(parts: Parts) -> History:
    """A writer that read the snapshots long before it wrote anything."""
    play = Director(parts)
    play.at(200)
    writer = play.writer("w", "p", "x1", "x2", "own")
    play.until(writer, "write", "work/sessions/" if parts.session.__name__ == "StartAfterReading" else "vault/")
    play.forget(1)
    play.at(221)
    play.finish(play.prune("ga"))
    play.at(252)
    play.finish(play.prune("gb"))
    play.finish(writer)
    return play.end()


def d4(parts: Parts) -> History:
    """A dead writer's object lies about while a second writer wants the same content."""
    play = Director(parts)
    play.at(200)
    play.until(play.writer("w1", "r", "new"), *COMMIT)
    play.at(221)
    play.finish(play.prune("ga"))
    play.at(245)
    second = play.writer("w2", "r", "new")
    play.until(second, *COMMIT)
    play.at(252)
    play.finish(play.prune("gb"))
    play.at(253)
    play.finish(second)
    return play.end()


def d5(parts: Parts) -> History:
    """Two prunes, whose own clocks are years ahead, while a writer has stored its bytes and not yet committed."""
    play = Director(parts)
    play.at(200)
    writer = play.writer("w", "p", "x1", "own")
    play.until(writer, *COMMIT)
    play.at(201)
    play.finish(play.prune("ga", skew=10**8))
    play.at(211)
    play.finish(play.prune("gb", skew=10**8))
    play.at(212)
    play.finish(writer)
    return play.end()


def d6(parts: Parts) -> History:
    """A snapshot of condemned bytes commits before the fence, is referred to after it, and is forgotten before the prune reads it."""
    play = Director(parts)
    play.at(200)
    first = play.writer("w1", "p", "x1", "own")
    play.until(first, *COMMIT)
    play.at(205)
    play.finish(play.prune("ga"))
    play.at(240)
    second = play.prune("gb")
    play.until(second, *COMMIT)
    play.finish(first)
    play.until(second, *COMMIT)
    play.until(second, "list", "vault/forgotten/")
    later = play.writer("w2", "p", "own", "other")
    play.until(later, *COMMIT)
    play.forget(3)
    play.finish(second, later)
    return play.end()


def d7(parts: Parts) -> History:
    """A record in the middle of a chain is moved away while two prunes run, and moved back."""
    play = Director(parts)
    play.at(200)
    play.finish(play.writer("w", "p", "own"))
    play.store.hide(commit_key(DATASET, 1))
    play.finish(play.prune("ga", may_stop=True))
    play.at(240)
    play.finish(play.prune("gb", may_stop=True))
    play.store.repair()
    return play.end()


def d8(parts: Parts) -> History:
    """The first commit of a dataset, whose bytes two prunes meet before it is there."""
    play = Director(parts)
    play.at(200)
    writer = play.writer("w", "p", "own", dataset=NEW_DATASET)
    play.until(writer, *COMMIT)
    play.until(writer, *COMMIT)
    play.at(205)
    play.finish(play.prune("ga"))
    play.at(240)
    play.finish(play.prune("gb"))
    play.finish(writer)
    return play.end()


def d9(parts: Parts) -> History:
    """Two fences while a writer stores its bytes; the older of them condemns what it refers to."""
    play = Director(parts)
    play.at(200)
    writer = play.writer("w", "p", "x1", "x2", "own")
    play.until(writer, "write", "vault/objects/")
    play.forget(1)
    play.finish(play.prune("ga"))
    play.at(240)
    play.finish(play.prune("gb"))
    play.store.put("vault/objects/dead/1", b"left behind", play.store.now)
    play.finish(play.prune("gc"))
    play.until(writer, *COMMIT)
    play.at(275)
    play.finish(play.prune("gd"))
    play.finish(writer)
    return play.end()


def d10(parts: Parts) -> History:
    """The records of a hold are removed before what it holds is to be forgotten, and two prunes follow."""
    play = Director(parts)
    vault = make_vault(play.store, parts, "h")
    place_hold(vault, DATASET, vault.catalog.at(DATASET, 1), None, reason="case")
    play.history.held.add((DATASET, 1))
    for key in [key for key in play.store.keys if key.startswith("vault/holds/")]:
        play.store.hide(key)
    try:
        make_vault(play.store, parts, "f").forget_record(DATASET, 1, reason="")
    except RetentionLocked:
        pass
    play.at(200)
    play.finish(play.prune("ga"))
    play.at(240)
    play.finish(play.prune("gb"))
    return play.end()


_HISTORIES = (d1, d2, d3, d4, d5, d6, d7, d8, d9, d10)
DIRECTED: dict[str, Callable[[Parts], History]] = {run.__name__.upper(): run for run in _HISTORIES}
