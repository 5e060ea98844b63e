"""A simulated day of faults from a seed: what producers land, which fault comes when, and which of them are needed for a failure."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from orchestrai.defs.reporting.ledger_sync import sync
from orchestrai.errors import OrchestraiError
from orchestrai_tests.chaos.chaos_faults import NEVER_MENDED
from orchestrai_tests.chaos.shop_by_hour import DATASETS, DAY, csv_of
from orchestrai_tests.chaos.simulated_operation import BEGIN, STEP, Operation
from orchestrai_tests.chaos.simulated_stores import Fate

STEPS = timedelta(days=1) // STEP
# how often each fault is drawn, of all
WEIGHTS = {
    "the lake answers 503": 4,
    "the vault answers 503": 4,
    "a landing answers 503": 2,
    "answers of the lake are lost": 2,
    "answers of the vault are lost": 2,
    "a worker is killed": 6,
    "a worker is killed before it commits": 4,
    "a worker is killed after it committed": 4,
    "a write to the vault is torn": 4,
    "the daemon dies before it keeps its cursor": 2,
    "the daemon dies before it makes its runs": 2,
    "a run is made twice": 3,
    "a run is cancelled": 2,
    "the receiver is down": 4,
    "the watcher dies after it sent": 3,
    "the clock is an hour ahead": 2,
    "the clock is an hour behind": 2,
    "Dagster's database is lost": 1,
    "an object comes late": 4,
    "a broken object lands": 4,
    "an object is overwritten": 4,
    "an object without an hour lands": 1,
    "a source is silent": 1,
}


@dataclass(frozen=True, order=True)
class Fault:
    """What comes at which step of the day, for how long (in steps); `number` is its own seed."""

    at: int
    kind: str
    steps: int
    number: int

    def __str__(self) -> str:
        return f"{BEGIN + self.at * STEP:%H:%M} {self.kind} ({self.steps * STEP}, {self.number})"


def drawn(seed: int, count: int) -> list[Fault]:
    """So many faults of a seed, in the order in which they come."""
    chance, kinds = random.Random(f"faults {seed}"), list(WEIGHTS)
    weights = list(WEIGHTS.values())
    return sorted(
        Fault(
            chance.randrange(2, STEPS - 1),
            chance.choices(kinds, weights)[0],
            chance.randrange(1, 5),
            chance.randrange(10**6),
        )
        for _ in range(count)
    )


class Day:
    """A day over an operation. `landed`, `broken` and `odd` are what the landings hold now, `done` counts the faults."""

    def __init__(self, operation: Operation, seed: int, faults: Sequence[Fault]) -> None:
        self.operation, self.faults = operation, sorted(faults)
        self.chance = random.Random(f"producers {seed}")
        self.landed: dict[tuple[str, str], tuple[int, list[int]]] = {}
        self.broken: dict[tuple[str, str], tuple[int, list[int]]] = {}
        self.odd: set[tuple[str, str]] = set()
        self.done: Counter[str] = Counter()
        self.silent_until = 0
        self.number = 0

    # -- producers ---------------------------------------------------------------------------------------------

    def land(self, hour: int, dataset: str = "", broken: bool = False, rows: int = 0) -> None:
        """An object of some hour."""
        dataset = dataset or self.chance.choice(DATASETS)
        numbers = [*range(self.number + 1, self.number + 1 + (rows or self.chance.randrange(1, 40)))]
        self.number = numbers[-1]
        name = f"{DAY}T{hour:02d}_{'x' if broken else 'o'}{numbers[0]}.csv"
        self._put(dataset, name, csv_of(hour, numbers, broken))
        (self.broken if broken else self.landed)[dataset, name] = hour, numbers

    def _put(self, dataset: str, name: str, data: bytes) -> None:
        self.operation.stores[dataset].put(name, data)

    def _send_again(self) -> None:
        """What was broken comes as it should be, except of the last hour."""
        for (dataset, name), (hour, numbers) in sorted(self.broken.items()):
            if hour != NEVER_MENDED:
                self._put(dataset, name, csv_of(hour, numbers))
                self.landed[dataset, name] = self.broken.pop((dataset, name))

    # -- time --------------------------------------------------------------------------------------------------

    def live(self, steps: int = STEPS) -> None:
        """The day, to its end or for its first steps."""
        left = list(self.faults)
        for step in range(steps):
            hour = step * STEP // timedelta(hours=1)
            # each hour's objects come in the hour after it; of the last hour one that nobody mends
            if step % 6 == 3 and step >= self.silent_until and hour:
                for dataset in DATASETS:
                    self.land(hour - 1, dataset)
            while left and left[0].at <= step:
                self._befall(left.pop(0), hour)
            if step % 12 == 11:
                self._send_again()
            self.operation.step()
        if steps == STEPS:
            self.land(NEVER_MENDED, "sales", broken=True)

    def settle(self, unrest: Callable[[], list[str]], most: int = STEPS) -> list[str]:
        """Nothing more comes in its way, until it is at rest; what is under way after so many steps."""
        self.operation.skew, self.operation.armed = timedelta(), Fate()
        self._send_again()
        for step in range(most):
            self.operation.step()
            # who waits longest, waits an hour
            if step % 6 == 5 and not unrest():
                return []
        return unrest()

    # -- faults ------------------------------------------------------------------------------------------------

    def _befall(self, fault: Fault, hour: int) -> None:
        operation, chance = self.operation, random.Random(fault.number)
        until, dataset = operation.now + (fault.steps + 1) * STEP, chance.choice(DATASETS)
        self.done[fault.kind] += 1
        deaths = {
            "a worker is killed": Fate(chance.randrange(1, 120), chance.choice(("before", "after"))),
            "a worker is killed before it commits": Fate(1, "before", "heads/"),
            "a worker is killed after it committed": Fate(1, "after", "heads/"),
            "a write to the vault is torn": Fate(chance.randrange(1, 4), "torn", "vault/"),
        }
        settings: dict[str, dict[str, object]] = {
            "the daemon dies before it keeps its cursor": {"keeps_cursor": False},
            "the daemon dies before it makes its runs": {"drops_requests": True},
            "the receiver is down": {"receiver_down_until": until + 6 * STEP},
            "the watcher dies after it sent": {"dies_after_sending": True},
            "the clock is an hour ahead": {"skew": timedelta(hours=1), "skewed_until": until},
            "the clock is an hour behind": {"skew": timedelta(hours=-1), "skewed_until": until},
        }
        stores: dict[str, tuple[str, str]] = {
            "the lake answers 503": ("lake", "down_until"),
            "the vault answers 503": ("vault", "down_until"),
            "a landing answers 503": (dataset, "down_until"),
            "answers of the lake are lost": ("lake", "forgets_until"),
            "answers of the vault are lost": ("vault", "forgets_until"),
        }
        acts: dict[str, Callable[[], None]] = {
            "a run is made twice": lambda: self._made_twice(dataset),
            "a run is cancelled": self._cancelled,
            "Dagster's database is lost": self._database_lost,
            "an object comes late": lambda: self.land(chance.randrange(max(1, hour)), dataset),
            "a broken object lands": lambda: self.land(max(0, hour - 1), dataset, broken=True),
            "an object is overwritten": lambda: self._overwrite(chance),
            "an object without an hour lands": lambda: self._without_hour(dataset, fault.number),
            "a source is silent": lambda: setattr(self, "silent_until", fault.at + 30),
        }
        if fault.kind in deaths:
            operation.armed = deaths[fault.kind]
        elif fault.kind in stores:
            name, what = stores[fault.kind]
            setattr(operation.stores[name], what, until)
        elif fault.kind in settings:
            for name, value in settings[fault.kind].items():
                setattr(operation, name, value)
        else:
            acts[fault.kind]()

    def _cancelled(self) -> None:
        for run in self.operation.runs[:1]:
            self.operation.cancel(run)

    def _database_lost(self) -> None:
        self.operation.lose_database()
        # a store that is down meanwhile is asked again by who types it
        with suppress(OrchestraiError):
            [*sync(self.operation.project.runtime, self.operation.project.instance)]

    def _without_hour(self, dataset: str, number: int) -> None:
        self._put(dataset, f"notes-{number}.csv", b"number,ts,cents\n")
        self.odd.add((dataset, f"notes-{number}.csv"))

    def _made_twice(self, dataset: str) -> None:
        """Two daemons, or one that forgot that it had made a run."""
        for run in [run for run in self.operation.runs if run.dataset == dataset and not run.dead][:1]:
            self.operation.make_twice(run)

    def _overwrite(self, chance: random.Random) -> None:
        """A producer corrects an object: the same rows and one more."""
        if self.landed:
            (dataset, name), (hour, numbers) = chance.choice(sorted(self.landed.items()))
            self.number += 1
            self._put(dataset, name, csv_of(hour, [*numbers, self.number]))
            self.landed[dataset, name] = hour, [*numbers, self.number]


def shrunk(faults: Sequence[Fault], fails: Callable[[Sequence[Fault]], bool]) -> list[Fault]:
    """As few of the faults as still fail: by halves, then quarters, then one by one. Each try is a day."""
    left, size = list(faults), max(1, len(faults) // 2)
    while True:
        for at in range(0, len(left), size):
            fewer = [*left[:at], *left[at + size :]]
            if fails(fewer):
                left = fewer
                break
        else:
            if size == 1:
                return left
            size = max(1, size // 2)
