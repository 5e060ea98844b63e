"""A simulated deployment in Dagster's real order: a tick, its cursor kept, its run begun later or never, and everything may die between.

Producers, clock, stores' outages and the fate of ticks and runs come from one seed. What is tried is the product's own: `look`, `choose`,
`ingest`, ledger and dead letters. At the end every object that ever landed must be accounted for once.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from orchestrai.contracts.contract import Column, Contract, VolumeRule
from orchestrai.errors import ConcurrentCommit, StorageError, TransientStorageError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.dead_letters import UNPLACED, publish_unplaced
from orchestrai.ingest.discovery.asking import PastRun, choose
from orchestrai.ingest.discovery.partitioning import sight
from orchestrai.ingest.discovery.watch import LETTERS, ArrivalCursor, look
from orchestrai.ingest.originals.published_originals import arrivals
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.copies import copies
from orchestrai_tests.ingest.judging import counts, judge_for, whole
from orchestrai_tests.running import ingest

START = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
RAW = "soak/items/raw_events"
SOURCE = SourceSpec(url="memory:landing", format="csv")
# the rule of volume is not what is tried here: partitions have as many rows as chance gives them
CONTRACT = Contract("items", "1.0.0", (Column("n", "BIGINT", "n", required=True),), volume=VolumeRule(method="none"))
# as defs/sensors/run_history.py has them
BEGINS_WITHIN, ENDS_WITHIN = timedelta(minutes=15), timedelta(hours=4, minutes=30)


class Outage(MemoryStore):
    """A store that fails now and then, before or after what it was asked to do took effect; never while `share` is 0."""

    chance: random.Random
    share = 0.0
    failures = 0

    def _fail(self) -> None:
        if self.share and self.chance.random() < self.share:
            self.failures += 1
            raise TransientStorageError("expected an answer, found an outage")

    def read(self, key: str, **more: Any) -> bytes:
        self._fail()
        return super().read(key, **more)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        self._fail()
        info = super().write(key, data, create=create)
        self._fail()
        return info

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        self._fail()
        return super().list(prefix, start_after=start_after)


class Landing(Outage):
    """Where producers write: under any key, with any date."""

    writes = 0

    def put(self, key: str, data: bytes, modified: datetime) -> None:
        self.writes += 1
        self._objects[key] = (ObjectInfo(key, len(data), f"e{self.writes}", modified.replace(microsecond=0)), data)

    def move(self, key: str, to: str) -> None:
        info, data = self._objects.pop(key)
        self._objects[to] = (info._replace(key=to), data)

    def remove(self, key: str) -> None:
        del self._objects[key]

    @property
    def keys(self) -> list[str]:
        return list(self._objects)

    def holds(self, key: str) -> bool:
        return key in self._objects

    def content(self, key: str) -> bytes:
        return self._objects[key][1]


@dataclass
class Run:
    """A run as Dagster's storage has it."""

    partitions: list[str]
    digests: list[str]
    asked: datetime
    state: Literal["not started", "queued", "started", "ended"] = "queued"

    def past(self, now: datetime) -> PastRun:
        limit = {"not started": BEGINS_WITHIN, "started": ENDS_WITHIN, "queued": timedelta.max, "ended": timedelta(0)}
        return PastRun(self.partitions, self.digests, self.asked, now - self.asked < limit[self.state])


@dataclass
class World:
    """One simulated deployment; `folder` is for the signing key and the files that are read at the end."""

    folder: Path
    seed: int
    per_step: int = 12
    faults: float = 1.0
    every: timedelta = STEP
    # by how many minutes objects come late
    late: int = 2000
    now: datetime = START
    cursor: str | None = None
    runs: list[Run] = field(default_factory=list)
    number: int = 0
    # by key: the rows that must, and those that may, be in the raw events
    rows: dict[str, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    told: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.landing, self.lake = Landing(name=f"landing-{self.seed}"), Outage(name=f"lake-{self.seed}")
        self.landing.chance = self.lake.chance = self.chance
        self.ledger = Ledger(self.lake, load_or_create_signer(self.folder / "keys"), clock=lambda: self.now)

    # -- producers -----------------------------------------------------------------------------------------------

    def produce(self) -> None:
        """Some minutes of producers: new objects of all kinds, and older ones moved, overwritten, cleaned away."""
        for _ in range(self.chance.randint(1, 2 * self.per_step)):
            self.number += 1
            self._new(self.number)
        for key in self.chance.sample(self.landing.keys, min(2, len(self.landing.keys))):
            self._change(key)

    def _new(self, n: int) -> None:
        # many go where none comes after them: a request that is lost there is not healed by the next one
        at = self.now - timedelta(minutes=self.chance.choice([0, 1, 3, self.chance.randrange(self.late)]))
        name = f"{at:%Y-%m-%dT%H-%M}-{n}.csv"
        fate = self.chance.random()
        if fate < 0.03:
            folder = self.chance.choice(["a//{}", "a/./{}", "a/../{}", "/{}", "b\n{}", "\udcff{}", "{}\\x", "readme-{}"])
            key = folder.format(name if folder != "readme-{}" else f"{n}.csv")
        elif fate < 0.06:
            key = self.chance.choice(["_temporary/{}", ".{}", "c/_{}"]).format(name)
        elif fate < 0.08 and (other := self._plain_key()):
            key = f"{other}/{other}"
        else:
            key = self.chance.choice(["", "in/", "in/deep/"]) + name
        modified = datetime(2019, 5, 5, tzinfo=UTC) if self.chance.random() < 0.15 else self.now
        self._put(key, n, modified + timedelta(seconds=self.chance.uniform(-90, 30)))

    def _plain_key(self) -> str:
        """A key of the landing that lies in no folder, nothing where a few tries find none."""
        keys = list(self.rows)
        tries = [self.chance.choice(keys) for _ in range(20 if keys else 0)]
        return next((key for key in tries if self.landing.holds(key) and "/" not in key), "")

    def _put(self, key: str, n: int, modified: datetime) -> None:
        self.landing.put(key, f"n\n{n}\n".encode(), modified)
        if key in self.rows:
            self.gone.add(self.rows[key])
        self.rows[key] = n
        self.used.add(key)
        self.told["arrivals"] += 1

    def _change(self, key: str) -> None:
        fate = self.chance.random()
        if fate < 0.3:
            self.number += 1
            self._put(key, self.number, self.now)
            self.told["overwritten"] += 1
        elif fate < 0.6 and sight(SOURCE, "hour", self._info(key)).partition and "/" not in key:
            taken = self._taken(key)
            self.landing.move(key, moved := f"archive/{key}")
            self.rows[moved] = self.rows.pop(key)
            self.used.add(moved)
            self.told["moved"] += 1
            self.told["moved after a run took it"] += taken
        elif fate < 0.9 and self._taken(key):
            self.landing.remove(key)
            self.gone.add(self.rows.pop(key))
            self.told["cleaned"] += 1

    def _info(self, key: str) -> ObjectInfo:
        return self.landing._objects[key][0]

    def _taken(self, key: str) -> bool:
        """Whether the raw events hold the very bytes of an object, under whatever name."""
        shares, self.lake.share = self.lake.share, 0.0
        partition, raw = sight(SOURCE, "hour", self._info(key)).partition, self.ledger.find(RAW)
        digest = sha256(self.landing.content(key)).hexdigest()
        taken = digest in {material.sha256 for material in arrivals(raw, partition or "")}
        self.lake.share = shares
        return taken

    def rename(self) -> None:
        """The landing is moved to another place, all of it, with the dates it had."""
        self.landing.name += "-moved"

    # -- the daemon ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """One evaluation of the sensor: cursor first, then the records of its runs; killed at any moment."""
        if self._happens(0.03):
            self.cursor = None
        try:
            judge = judge_for(self.ledger, RAW, self.landing, SOURCE, "hour", self.now)
            found = look(judge, ArrivalCursor.decode(self.cursor), SOURCE.reconcile_every, limit=5_000)
            publish_unplaced(self.ledger, RAW, CONTRACT, found.unplaced, LETTERS)
        except (StorageError, ConcurrentCommit):
            self.told["ticks that failed"] += 1
            return
        past = [run.past(self.now) for run in self.runs[-250:]]
        asking = choose(found.due, past, now=self.now, first=SOURCE.ask_again, limit=5_000)
        assert not {key for run in past if run.is_open for key in run.partitions} & set(asking.due)
        if self._happens(0.1):
            self.told["killed before the cursor was kept"] += 1
            return
        self.cursor = found.cursor.encode()
        if not asking.due:
            return
        if self._happens(0.1):
            self.told["runs never made"] += 1
            return
        state: Literal["not started", "queued"] = "not started" if self._happens(0.05) else "queued"
        self.runs.append(Run(list(asking.due), list(asking.due.values()), self.now, state))
        self.told["runs"] += 1

    def work(self) -> None:
        """Queued runs begin now or later, and end in one of the ways in which runs end."""
        for run in [run for run in self.runs if run.state == "queued"]:
            if self._happens(0.3):
                continue
            if self._happens(0.1):
                run.state = "ended"
                self.told["runs cancelled"] += 1
            elif self._happens(0.02):
                run.state = "started"
                self.told["hosts that died"] += 1
            else:
                self._perform(run)

    def _perform(self, run: Run) -> None:
        run.state = "ended"
        outage = self._happens(0.2)
        self.lake.share = self.landing.share = 0.03 if outage else self.lake.share
        options: Any = {"landing": self.landing, "source": SOURCE, "contract": CONTRACT, "grain": "hour", "now": self.now}
        try:
            ingest(self.ledger, asset=RAW, partitions=run.partitions, **options)
        except (StorageError, ConcurrentCommit):
            self.told["runs that met an outage"] += 1
        self._outages()

    def _outages(self) -> None:
        self.lake.share = self.landing.share = 0.0005 * self.faults

    def _happens(self, share: float) -> bool:
        return self.chance.random() < share * self.faults

    # -- the end -------------------------------------------------------------------------------------------------

    def live(self, objects: int, enough: Callable[[], bool] = lambda: False) -> None:
        """Until so many objects have landed, or it is enough; the landing is moved half way."""
        self._outages()
        while self.number < objects and not enough():
            if self.number > objects // 2 and "moved" not in self.landing.name:
                self.rename()
            self.step()

    def step(self, *, produce: bool = True) -> None:
        if produce:
            self.produce()
        self.tick()
        self.work()
        self.now += self.every

    def settle(self, steps: int = 400) -> int:
        """Calm weather until nothing is due; returns the steps it took."""
        self.faults = 0.0
        self._outages()
        for count in range(steps):
            self.step(produce=False)
            if not any(run.past(self.now).is_open for run in self.runs) and not self.look().due:
                return count
        return steps

    def look(self) -> Any:
        return whole(self.ledger, RAW, self.landing, SOURCE, grain="hour", now=self.now)

    def verdict(self) -> dict[str, Any]:
        """What became of every object, and what is wrong; nothing is where each is accounted for once."""
        import pyarrow.parquet as pq

        raw = self.ledger.open(RAW)
        found: Counter[int] = Counter()
        for partition in raw.partitions:
            for file in copies(raw, partition, self.folder / "read" / partition):
                found.update(pq.read_table(file.path)["n"].to_pylist())
        letters = list_letters(self.ledger, RAW)
        sightings = {key: sight(SOURCE, "hour", self._info(key)) for key in self.landing.keys}
        # beside a key that is or was its folder an object may be a dead letter, and must be one or the other
        over = {folder for key in self.used for folder in _folders(key)}
        clashing = {key for key in sightings if key in over or any(folder in self.used for folder in _folders(key))}
        dead = self._dead()
        below = {key for key in clashing if sightings[key].partition and key in dead}
        must = {self.rows[key] for key, seen in sightings.items() if seen.partition and key not in below}
        never = {n for key, n in self.rows.items() if (seen := sightings.get(key)) and not seen.partition}
        places = counts(self.look())
        odd = sum(1 for key, seen in sightings.items() if seen.fault is not None)
        names = Counter(letter.id for letter in letters)
        return {
            "landed": len(sightings),
            "raw_events": places[0],
            "dead_letters": places[1],
            "waiting": places[2],
            "passed_over": places[3],
            "rows": sum(found.values()),
            "missing": sorted(must - set(found)),
            "twice": sorted(n for n, count in found.items() if count > 1),
            "strange": sorted(set(found) - must - self.gone),
            "where none belongs": sorted(never & set(found)),
            "letters twice": [name for name, count in names.items() if count > 1],
            "odd without a letter": odd - sum(1 for key, seen in sightings.items() if seen.fault and key in dead),
        }

    def _dead(self) -> set[str]:
        """The keys of the landing that are dead letters as whole objects."""
        judge = judge_for(self.ledger, RAW, self.landing, SOURCE, "hour", self.now)
        kept = {*judge.records.dead_in(UNPLACED), *judge.records.all_dead()}
        return {key for key in self.landing.keys if judge.identity(self._info(key)) in kept}


def _folders(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


FAULTS = (
    "ticks that failed",
    "killed before the cursor was kept",
    "runs never made",
    "runs cancelled",
    "hosts that died",
    "runs that met an outage",
)
WRONG = ("missing", "twice", "strange", "where none belongs", "letters twice", "odd without a letter", "waiting")
