"""`python -m bench.arrival_soak`: objects in any order, twice, late, lost, overwritten, deleted; each is accounted for exactly once.

    python -m bench.arrival_soak [--whole N] [--hourly N] [--objects N] [--known N] [--old N]

The first case is a deployment in Dagster's real order, with the product's own looks, runs and ledger: a tick, its cursor kept, its run
begun later, never, cancelled, killed, or met by an outage; old dates, moved and overwritten objects, a landing that is renamed, odd
keys. At the end every object is in one of four places and every row in the raw events once (--whole, on several --seeds, long ones
with --hourly).

In the others `discover`, `drain` and their cursors are the real ones, and the process dies every 30 s of simulated time, each
other time before it has kept what it learned. What is taken is kept as receipts keep it, by partition and identity. The last cases
measure a tick over --known objects that a ledger knows and 10 new ones, and over --old objects that were there before and 100 new
ones. One JSON object a line; exits 1 if any is not ok.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrai.core.code_identity import Producer
from orchestrai.ingest.discovery.known_objects import Records
from orchestrai.ingest.discovery.listing import discover
from orchestrai.ingest.discovery.opening import Span
from orchestrai.ingest.discovery.partitioning import Sighting, Zone, listed, place
from orchestrai.ingest.discovery.queues.notifications import ObjectEvent, Parsed
from orchestrai.ingest.discovery.queues.queue import Message, drain
from orchestrai.ingest.discovery.reconciliation import Judge
from orchestrai.ingest.discovery.watch import ArrivalCursor, Look, look
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai_tests.ingest.arrival_world import WRONG, World

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(seconds=30)
URL = "s3://soak"
SOURCE = SourceSpec(url=URL, format="jsonl", partition_from="path")
Identity = tuple[str, str]
failed = False


def tell(case: str, ok: bool, **figures: object) -> None:
    """Print one result."""
    global failed
    failed |= not ok
    print(json.dumps({"bench": "arrival_soak", "case": case, **figures, "ok": ok}), flush=True)


class Landing:
    """A landing that is only listed, in order of key; times have whole seconds, as S3 tells them."""

    url = URL

    def __init__(self) -> None:
        self.objects: dict[str, ObjectInfo] = {}
        self.order: list[str] | None = []
        self.writes = 0

    def put(self, key: str, at: datetime) -> ObjectInfo:
        self.writes += 1
        self.order = None
        self.objects[key] = info = ObjectInfo(key, 1, f"e{self.writes}", at.replace(microsecond=0))
        return info

    def delete(self, key: str) -> ObjectInfo | None:
        self.order = None
        return self.objects.pop(key, None)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        if self.order is None:
            self.order = sorted(self.objects)
        for at in range(bisect_right(self.order, start_after) if start_after else 0, len(self.order)):
            yield self.objects[self.order[at]]


class Queue:
    """Delivers at least once and in no order: 5 % twice, 1 % never; what is not acknowledged comes again."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.waiting: list[Message] = []
        self.flying: dict[str, Message] = {}
        self.count = self.lost = self.doubled = 0

    def send(self, info: ObjectInfo) -> None:
        if self.chance.random() < 0.01:
            self.lost += 1
            return
        event = ObjectEvent(f"{URL}/{info.key}", info.etag, "", info.size, info.modified)
        twice = self.chance.random() < 0.05
        self.doubled += twice
        for _ in range(1 + twice):
            self.count += 1
            self.waiting.append(Message(f"m{self.count}", Parsed((event,))))

    def receive(self, limit: int, wait: float = 0) -> list[Message]:
        got, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.flying |= {message.handle: message for message in got}
        return got

    def acknowledge(self, handles: Any) -> None:
        for handle in handles:
            self.flying.pop(handle, None)

    def crash(self) -> None:
        """Whoever held messages died: they come again, anywhere in the queue."""
        self.waiting += self.flying.values()
        self.flying = {}
        self.chance.shuffle(self.waiting)


@dataclass
class Taken:
    """What receipts name, by partition; `times` counts how often each identity went in."""

    partitions: dict[str, set[Identity]] = field(default_factory=dict)
    times: collections.Counter[Identity] = field(default_factory=collections.Counter)
    told: int = 0

    def take(self, found: Any, landing: Landing) -> list[ObjectInfo]:
        """A run over some partitions: of what was told, what the landing holds now goes in if it is not there yet."""
        fresh = []
        for key, infos in found.items():
            there = self.partitions.setdefault(key, set())
            self.told += len(infos)
            for told in infos:
                info = landing.objects.get(told.key)
                if info is not None and (info.key, info.etag) not in there:
                    there.add((info.key, info.etag))
                    self.times[info.key, info.etag] += 1
                    fresh.append(info)
        return fresh


class Producers:
    """50 objects a second, steadily or in bursts of five times as many; some objects are overwritten or deleted later."""

    def __init__(self, objects: int, chance: random.Random, landing: Landing) -> None:
        self.left, self.chance, self.landing, self.now = objects, chance, landing, START
        self.number = 0
        self.expected: set[Identity] = set()
        self.unseen: set[Identity] = set()
        self.newest: list[str] = []
        self.overwritten = self.deleted = self.unseeable = 0

    def half_minute(self) -> list[ObjectInfo]:
        made = []
        for _ in range(min(self.left, self.chance.choice([1, 1, 1, 5]) * 1500)):
            # uploads take time and clocks differ: an object appears with a time up to 90 s in its past
            at = self.now + timedelta(seconds=self.chance.uniform(-90, 30))
            made.append(self._put(f"dt={at:%Y-%m-%d}/h={at:%H}/{self.chance.randrange(16**6):06x}-{self.number}.jsonl", at))
            self.number += 1
        self.left -= len(made)
        # the very objects the last cursor ended with are among those that change
        for key in self.newest:
            info = self.landing.delete(key)
            if info is None:
                continue
            self.deleted += 1
            if (key, info.etag) in self.unseen:
                self.expected.discard((key, info.etag))  # it was gone before anyone could look
                self.unseeable += 1
            if self.chance.random() < 0.5:
                self.overwritten += 1
                made.append(self._put(key, self.now))
        self.now += TICK
        return made

    def _put(self, key: str, at: datetime) -> ObjectInfo:
        info = self.landing.put(key, at)
        self.expected.add((key, info.etag))
        self.unseen.add((key, info.etag))
        return info

    def saw(self, infos: list[ObjectInfo]) -> None:
        """Note what was taken; old objects that were are cleaned away."""
        self.unseen -= {(info.key, info.etag) for info in infos}
        self.newest = [info.key for info in sorted(infos, key=lambda i: i.modified)[-2:]] or self.newest[:0]


def clean(landing: Landing, producers: Producers) -> None:
    """Producers remove what is older than 12 minutes and was taken, so that a listing stays cheap."""
    for key, info in list(landing.objects.items()):
        if info.modified < producers.now - timedelta(minutes=12) and (key, info.etag) not in producers.unseen:
            landing.delete(key)


def verdict(case: str, taken: Taken, producers: Producers, seconds: float, **more: object) -> None:
    """Compare what was taken with what was ever there to be taken."""
    found = set(taken.times)
    missed, strange = len(producers.expected - found), len(found - producers.expected)
    twice = sum(count > 1 for count in taken.times.values())
    tell(
        case,
        not (missed or strange or twice),
        arrivals=len(producers.expected),
        taken_once=sum(count == 1 for count in taken.times.values()),
        missed=missed,
        twice=twice,
        strange=strange,
        told=taken.told,
        overwritten=producers.overwritten,
        deleted=producers.deleted,
        gone_unseen=producers.unseeable,
        cpu_s=round(seconds, 1),
        cpu_us_per_object=round(seconds / len(producers.expected) * 1e6, 1),
        **more,
    )


def soak_whole(objects: int, seeds: Sequence[int], *, hourly: int = 0) -> None:
    """In Dagster's real order, everything dying in between; with `hourly` a tick an hour, each with about so many new objects."""
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="orchestrai-soak-") as folder:
            # some thirty hours of them, as a partition is made from all its objects each time
            world = World(Path(folder), seed, per_step=hourly or max(12, objects // 700))
            if hourly:
                # a partition is made from all its objects each time, so a long soak's objects come by the next tick or two
                world.every, world.late = timedelta(hours=1), 90
            begun = time.process_time()
            world.live(objects)
            steps = world.settle()
            spent = time.process_time() - begun
            verdict = world.verdict()
            wrong = {name: verdict[name] for name in WRONG if verdict[name]}
            places = ("landed", "raw_events", "dead_letters", "waiting", "passed_over", "rows")
            figures = {name: verdict[name] for name in places}
            whole = figures["landed"] == sum(figures[place] for place in places[1:5])
            tell(
                f"in the real order, seed {seed}",
                whole and not wrong and steps < 400,
                **figures,
                **world.told,
                wrong=wrong,
                cpu_s=round(spent, 1),
                arrivals_per_cpu_s=round(world.told["arrivals"] / spent, 1),
            )


def tick_over_known(known: int) -> None:
    """A look over objects that a ledger names in its receipts, between two whole looks and as one; 10 objects are new."""
    landing, days = Landing(), 100
    with tempfile.TemporaryDirectory(prefix="orchestrai-soak-") as folder:
        ledger = Ledger(MemoryStore(), load_or_create_signer(Path(folder)))
        asset, zone = "soak/items/raw_events", Zone(landing, SOURCE, "day")  # type: ignore[arg-type]
        session = ledger.session(asset, Producer("raw_events", "orchestrai.ingest.run"))
        materials = []
        for number in range(known):
            day = f"{START + timedelta(days=number % days):%Y-%m-%d}"
            info = landing.put(f"dt={day}/{number:09d}.jsonl", START + timedelta(days=number % days))
            materials.append(Material(f"{URL}/{info.key}", "0" * 64, 1, info.etag, info.modified.isoformat(), day))
        for number in range(days):
            session.add_bytes(f"{START + timedelta(days=number):%Y-%m-%d}", "part", b"x", rows=1)
        session.commit(materials=materials)
        now = START + timedelta(days=200)

        def measured(cursor: ArrivalCursor, at: datetime) -> tuple[Look, float]:
            begun = time.process_time()
            judge = Judge(zone, Span("day"), Records(ledger, asset), at)
            found = look(judge, cursor, timedelta(hours=1), limit=5_000)
            return found, (time.process_time() - begun) * 1000

        first, cold = measured(ArrivalCursor(), now)
        for number in range(10):
            landing.put(f"dt=2026-01-01/new-{number}.jsonl", now)
        _ = list(landing.list(""))
        hints: list[float] = []
        for _round in range(5):
            found, spent = measured(first.cursor, now + timedelta(minutes=1))
            hints.append(spent)
        whole, warm = measured(found.cursor, now + timedelta(hours=1))
        begun = time.process_time()
        discover(landing, SOURCE, "day", first.cursor.hints, now=now)  # type: ignore[arg-type]
        listed_ms = (time.process_time() - begun) * 1000
        fresh = sum(map(len, found.due.values())), sum(map(len, whole.due.values()))
        tell(
            f"a look, {known} known, 10 new",
            fresh == (10, 10) and first.whole is not None and whole.whole is not None,
            between_ms=round(sorted(hints)[2], 1),
            of_which_listing_ms=round(listed_ms, 1),
            whole_ms=round(warm, 1),
            whole_in_a_new_process_ms=round(cold, 1),
            cursor=len(found.cursor.encode()),
        )


def soak_listing(objects: int) -> None:
    """By listing and cursor; each other process dies after the run and before its cursor is kept."""
    chance = random.Random(7)
    landing, taken = Landing(), Taken()
    producers = Producers(objects, chance, landing)
    cursor, ticks, kills, longest, spent, more = None, 0, 0, 0, 0.0, True
    while producers.left or more:
        producers.half_minute()
        begun = time.process_time()
        found = discover(landing, SOURCE, "hour", cursor, now=producers.now, limit=20_000)  # type: ignore[arg-type]
        spent += time.process_time() - begun
        ticks, longest, more = ticks + 1, max(longest, len(found.cursor)), found.more
        if chance.random() < 0.25:  # killed before the run was asked for
            kills, more = kills + 1, True
            continue
        producers.saw(taken.take(found.partitions, landing))
        if chance.random() < 0.25:  # killed before the cursor was kept: all of it is told again
            kills, more = kills + 1, True
            continue
        cursor = found.cursor
        if ticks % 8 == 0:
            clean(landing, producers)
    verdict("by listing", taken, producers, spent, ticks=ticks, kills=kills, longest_cursor=longest)


def soak_queue(objects: int) -> None:
    """By queue, with a listing each simulated hour behind it; each other process dies before it acknowledges."""
    chance = random.Random(11)
    landing, taken, queue = Landing(), Taken(), Queue(chance)
    producers = Producers(objects, chance, landing)
    ticks = kills = reconciled = 0
    spent = 0.0

    def known(sighting: Sighting, event: ObjectEvent) -> bool:
        return (sighting.info.key, event.etag) in taken.partitions.get(sighting.partition or "", ())

    while producers.left or queue.waiting or queue.flying:
        for info in producers.half_minute():
            queue.send(info)
        if chance.random() < 0.3:
            chance.shuffle(queue.waiting)
        now = producers.now
        begun = time.process_time()
        got = drain(queue, Zone(landing, SOURCE, "hour"), known=known, now=lambda now=now: now, limit=20_000)  # type: ignore[arg-type, misc]
        spent += time.process_time() - begun
        ticks += 1
        if chance.random() < 0.25:
            kills += 1
            queue.crash()
            continue
        producers.saw(taken.take(got.partitions, landing))
        if chance.random() < 0.25:
            kills += 1
            queue.crash()
            continue
        queue.acknowledge(got.handles)
        if ticks % 120 == 0 or not producers.left:
            begun = time.process_time()
            left: dict[str, list[ObjectInfo]] = {}
            for info in listed(landing, SOURCE):  # type: ignore[arg-type]
                key = place(SOURCE, "hour", info)
                if key and (info.key, info.etag) not in taken.partitions.get(key, ()):
                    left.setdefault(key, []).append(info)
            spent += time.process_time() - begun
            fresh = taken.take(left, landing)
            reconciled += len(fresh)
            producers.saw(fresh)
            clean(landing, producers)
    # what was overwritten or deleted while its event was lost could be seen by nobody
    gone = {identity for identity in producers.expected if identity not in taken.times}
    gone = {(key, etag) for key, etag in gone if key not in landing.objects or landing.objects[key].etag != etag}
    producers.expected -= gone
    producers.unseeable += len(gone)
    figures = {"lost_events": queue.lost, "duplicates": queue.doubled, "found_by_listing": reconciled}
    verdict("by queue and listing", taken, producers, spent, ticks=ticks, kills=kills, **figures)


SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
OLD, NEW, PAGE, PER_DAY = int(sys.argv[1]), 100, 1000, 10000
import datetime
FIRST = datetime.date(2026, 1, 1)
def key(i):
    return f"dt={FIRST + datetime.timedelta(i // PER_DAY)}/{i:09d}.jsonl"
FULL = OLD + NEW
def at(text):
    low, high = 0, FULL
    while low < high:
        middle = (low + high) // 2
        if key(middle) <= text: low = middle + 1
        else: high = middle
    return low
def page(first, total):
    last = min(total, first + PAGE)
    rows = "".join(
        f"<Contents><Key>{key(i)}</Key><LastModified>{'2026-06-01T00:00:00' if i < OLD else '2026-06-01T01:00:00'}.000Z</LastModified>"
        f"<ETag>&quot;{i:032x}&quot;</ETag><Size>1024</Size><StorageClass>STANDARD</StorageClass></Contents>" for i in range(first, last))
    token = f"<NextContinuationToken>{last}</NextContinuationToken>" if last < total else ""
    return (f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
            f"<Prefix></Prefix><KeyCount>{last - first}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
            f"<IsTruncated>{str(last < total).lower()}</IsTruncated>{token}{rows}</ListBucketResult>").encode()
state = {"requests": 0, "total": OLD}
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        if "count" in query or "grow" in query:
            body = str(state["requests"]).encode()
            state["requests"] = 0
            if "grow" in query: state["total"] = FULL
        else:
            state["requests"] += 1
            first = query.get("continuation-token") or [at(query["start-after"][0]) if "start-after" in query else 0]
            body = page(int(first[0]), state["total"])
        self.send_response(200); self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def server(old: int) -> Iterator[str]:
    """An S3 listing of date-partitioned keys, in another process; `?grow` adds the new ones, `?count` tells the requests."""
    child = subprocess.Popen([sys.executable, "-c", SERVER, str(old)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
    finally:
        child.terminate()
        child.wait()


def ask(url: str, what: str) -> int:
    """The requests served since the last question."""
    import urllib.request

    with urllib.request.urlopen(f"{url}/?{what}=1") as answer:
        return int(answer.read())


def tick_costs(old: int) -> None:
    """A tick with `old` objects that were seen before and 100 new ones, by three ways of finding them."""
    with server(old) as url:
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",  # the server asks for none
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        store, now = open_store("s3://bench"), datetime(2026, 6, 1, 2, tzinfo=UTC)
        last_day = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=old // 10_000)
        # the cursor of a process that has seen all of the old ones, an hour before
        cursor = json.dumps({"v": 1, "floor": "2026-06-01T00:30:00+00:00", "seen": []})
        late = f"{(now - last_day).days + 1}d"
        ask(url, "grow")
        ways = {
            "flat prefix": SOURCE,
            "date prefix, start-after": SOURCE.model_copy(update={"key_prefix": "dt=%Y-%m-%d/", "late": late}),
        }
        for way, source in ways.items():
            begun, wall = time.process_time(), time.perf_counter()
            found = discover(store, source, "day", cursor, now=now)
            cpu, wall = time.process_time() - begun, time.perf_counter() - wall
            new = sum(map(len, found.partitions.values()))
            figures = {
                "listed": found.listed,
                "requests": ask(url, "count"),
                "cpu_s": round(cpu, 3),
                "wall_s": round(wall, 3),
            }
            tell(f"tick, {old} old, 100 new: {way}", new == 100, **figures)
    queue = Queue(random.Random(0))
    for number in range(100):
        event = ObjectEvent(f"{URL}/dt=2026-06-01/{number}.jsonl", f"e{number}", "", 1, now)
        queue.waiting.append(Message(f"m{number}", Parsed((event,))))
    begun = time.process_time()
    got = drain(queue, Zone(Landing(), SOURCE, "day"), known=lambda sighting, event: False, now=lambda: now)  # type: ignore[arg-type]
    cpu = time.process_time() - begun
    tell(f"tick, {old} old, 100 new: queue", sum(map(len, got.partitions.values())) == 100, listed=0, cpu_s=round(cpu, 4))


def main() -> int:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--whole", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--hourly", type=int, default=0)
    parser.add_argument("--known", type=int, default=100_000)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--old", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.whole:
        soak_whole(options.whole, range(options.first_seed, options.first_seed + options.seeds), hourly=options.hourly)
    if options.known:
        tick_over_known(options.known)
    if options.objects:
        soak_listing(options.objects)
        soak_queue(options.objects)
    if options.old:
        tick_costs(options.old)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
