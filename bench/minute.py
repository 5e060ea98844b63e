"""The minute loop of the shipped telemetry pipeline: what a micro-batch costs, and whether that grows.

    python -m bench.minute                     10,000 devices, a reading a minute each, for 30 minutes
    python -m bench.minute --devices 1000
    python -m bench.minute --every 1           a reading a second each

The clock is simulated, so nothing waits: each minute is appended to the embedded log, then every stage of the shipped pipeline
runs in this process, online features included, and a device's new features are read by key. CPU seconds are of this process and its
children; the producer is left out. One JSON object a line; exits 1 if any is not ok.
"""

import argparse
import collections
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrai.features.by_key.online import OnlineStore, online_path
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

BEGIN = datetime(2026, 10, 5, 10, tzinfo=UTC)
STAGES = ("raw_events", "snapshot", "restored")
FEATURES = "telemetry/device_rolling/features"
CPU_PER_10_000 = 1.0
READ_SECONDS = 0.005
READABLE_SECONDS = 5.0
DRIFT = 1.05
failed = False


def line(case: str, metric: str, ours: float, peer: str, theirs: float, target: float) -> None:
    """Print one result: ours / theirs is to be at most `target`."""
    global failed
    ratio = ours / theirs
    ok = ratio <= target
    failed |= not ok
    values = {"ours": round(ours, 4), "peer": peer, "theirs": round(theirs, 4), "ratio": round(ratio, 4), "target": target}
    print(json.dumps({"bench": "minute", "case": case, "metric": metric, **values, "ok": ok}), flush=True)


def spent() -> float:
    """CPU seconds of this process and its children so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass
class Loop:
    """A runtime of the shipped pipeline under a clock of its own, fed minute by minute."""

    home: Path
    devices: int
    every: int
    now: datetime = BEGIN
    costs: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))

    def __post_init__(self) -> None:
        project = load_project([SHIPPED / "telemetry"], {})
        self.runtime = Runtime(load_settings(home=self.home, engine="duckdb"), project, clock=lambda: self.now)
        self.log = StreamLog(self.home / "streams", "readings")

    @contextmanager
    def metered(self, what: str) -> Iterator[None]:
        """Note the CPU seconds of a `with` block."""
        before = spent()
        yield
        self.costs[what].append(spent() - before)

    def send(self, number: int) -> int:
        """Append the records of one minute; returns how many."""
        bodies = records(self.devices, self.every, number)
        with self.log.writer(lambda: self.now) as writer:
            writer.append(bodies)
        return len(bodies)

    def minute(self, number: int) -> int:
        """One simulated minute, from records in the log to features read by key; returns the records."""
        self.now = BEGIN + timedelta(minutes=number + 1)
        sent = self.send(number)
        begin, cpu = time.perf_counter(), spent()
        hour = f"{BEGIN + timedelta(minutes=number):%Y-%m-%d-%H:00}"
        nodes = self.runtime.project.nodes
        for asset in (*(f"telemetry/readings/{stage}" for stage in STAGES), FEATURES):
            with self.metered(asset.rsplit("/", 1)[1]):
                report = self.runtime.run(nodes[asset], [hour])
            assert not report.refused, (asset, report.refused)
        with self.metered("catalog"):
            self.runtime.run(nodes["telemetry/catalog"], ["all"])
        assert self.newest("press-00001" if self.devices > 999 else "press-001") >= self.now - timedelta(minutes=2)
        self.costs["wall"].append(time.perf_counter() - begin)
        self.costs["all"].append(spent() - cpu)
        return sent

    def newest(self, device: str) -> datetime:
        """When the features of a device that are served are of."""
        with OnlineStore(online_path(self.home, "telemetry", "device_rolling")) as store:
            row = store.get(device)
        assert row is not None
        return row.time

    def walked(self) -> int:
        """Frames of the log that a fresh reader of the last minute looks at."""
        log = StreamLog(self.home / "streams", "readings")
        end = log.bounds()[0][1]
        log.read({0: end - self.devices * 60 // self.every}, end, 1 << 40, 0)
        return sum(part.walked for part in log.parts.values())


def records(devices: int, every: int, number: int) -> list[bytes]:
    """One minute's readings of all devices as JSON, in order of time; a device has one each `every` seconds."""
    begin, width = BEGIN + timedelta(minutes=number), 5 if devices > 999 else 3
    rows = []
    for second in range(0, 60, every):
        for device in range(1, devices + 1):
            # spread over the interval, the same for a device each time
            moment = begin + timedelta(seconds=second, milliseconds=device * 7919 % (every * 1000))
            seq, wave = number * 60 + second, (device * 31 + number * 17 + second * 7) % 1000
            rows.append(
                f'{{"device_id": "press-{device:0{width}d}", "ts": "{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z", '
                f'"seq": {seq}, "temperature": {50 + wave / 50:.3f}, "vibration": {1 + wave / 500:.4f}, "failed": false}}'.encode()
            )
    return rows


def run(devices: int, every: int, minutes: int, scratch: Path) -> int:
    """Print what each stage cost a minute, the drift, and how long a reading took to be read."""
    loop = Loop(scratch / "home", devices, every)
    rows = [loop.minute(number) for number in range(minutes)]
    warm = 1  # the first minute imports what the stages need
    costs = {name: values[warm:] for name, values in loop.costs.items()}
    case = f"{minutes} minutes of {devices:,} devices ({rows[-1]:,} records a minute)"
    for name, values in costs.items():
        first, last = statistics.median(values[:5]), statistics.median(values[-5:])
        shown = {"minute_2_to_6": round(first, 4), "last_five": round(last, 4), "all": round(sum(values), 3)}
        print(json.dumps({"bench": "minute", "case": case, "stage": name, "cpu_s" if name != "wall" else "wall_s": shown}))
    total = costs["all"]
    limit = CPU_PER_10_000 * rows[-1] / 10_000
    line(case, "cpu_s", statistics.median(total), f"{CPU_PER_10_000} s per 10,000 new rows", limit, 1.0)
    line(
        f"{case}, no drift",
        "cpu_s",
        statistics.median(total[-5:]),
        "the first five minutes",
        statistics.median(total[:5]),
        DRIFT,
    )
    line(f"{case}, until it is read by key", "wall_s", statistics.median(costs["wall"]), "the limit", READABLE_SECONDS, 1.0)
    with OnlineStore(online_path(loop.home, "telemetry", "device_rolling")) as store:
        names = [f"press-{n:0{5 if devices > 999 else 3}d}" for n in range(1, devices + 1, max(1, devices // 1000))]
        begin = time.perf_counter()
        found = [store.get(name) for name in names]
        read = (time.perf_counter() - begin) / len(names)
    assert all(found)
    walked = loop.walked()
    print(
        json.dumps(
            {"bench": "minute", "case": case, "frames walked by a reader of the last minute": walked, "records": rows[-1]}
        )
    )
    line(f"one key of {devices:,}", "wall_s", read, "the limit", READ_SECONDS, 1.0)
    return 1 if failed else 0


def main() -> int:
    """Run the loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=60, help="seconds between the readings of a device")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--profile", type=Path, help="where to leave a profile of all minutes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrai-bench-") as scratch:
        if options.profile is None:
            return run(options.devices, options.every, options.minutes, Path(scratch))
        import cProfile

        profile = cProfile.Profile()
        code = profile.runcall(run, options.devices, options.every, options.minutes, Path(scratch))
        profile.dump_stats(options.profile)
        return code


if __name__ == "__main__":
    sys.exit(main())
