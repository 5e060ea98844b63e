"""Faults from a seeded list, put into an operation one after another while producers go on landing objects."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orchestrai_tests.chaos.operation import Operation
from orchestrai_tests.chaos.shop_by_hour import DATASETS, DAY, csv_of
from orchestrai_tests.servers.proxy import Fault

# how often each fault is drawn, of all; the database is lost seldom
WEIGHTS = {
    "a run worker is killed": 6,
    "the code server is killed": 2,
    "the code server is killed with its workers": 2,
    "the daemon is killed": 2,
    "everything is killed at once": 2,
    "a second daemon runs": 1,
    "the store answers 503": 5,
    "the store throttles": 2,
    "the store does it and answers 503": 2,
    "answers of the store are lost": 2,
    "answers of the store are cut": 2,
    "the webhook answers 503": 3,
    "the clock is an hour ahead": 1,
    "the clock is an hour behind": 1,
    "the disk of the lake is full": 1,
    "a broken object lands": 3,
    "an object is overwritten": 3,
    "Dagster's database is lost": 1,
}
IN_HTTP: dict[str, Fault] = {
    "the store answers 503": "unavailable",
    "the store throttles": "slowed",
    "the store does it and answers 503": "refused",
    "answers of the store are lost": "lost",
    "answers of the store are cut": "cut",
}
# broken objects of the last hour are never sent again: they stay with their gate
NEVER_MENDED = 23
DISK_MIB = 64


class Chaos:
    """A seeded stream of objects and faults. `landed` is what each landing holds now, `done` counts the faults.

    `time_of_day` is how much of the simulated day is over: objects are of that hour.
    """

    def __init__(self, operation: Operation, seed: int, span: tuple[float, float] = (2, 8)) -> None:
        self.operation, self.chance, self.span = operation, random.Random(seed), span
        self.landed: dict[tuple[str, str], tuple[int, list[int]]] = {}
        self.broken: dict[tuple[str, str], tuple[int, list[int]]] = {}
        self.done: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}
        self.numbers = iter(range(1, 10**9))
        self.time_of_day = 0.0
        self.disk = self._mount()

    # -- producers ---------------------------------------------------------------------------------------------

    def land(self, broken: bool = False, hour: int | None = None) -> None:
        """An object of some hour."""
        dataset = self.chance.choice(DATASETS)
        hour = (
            min(int(self.time_of_day * NEVER_MENDED) + self.chance.randrange(2), NEVER_MENDED - 1) if hour is None else hour
        )
        numbers = [next(self.numbers) for _ in range(self.chance.randrange(1, 40))]
        name = f"{DAY}T{hour:02d}_{'x' if broken else 'o'}{numbers[0]}.csv"
        self.operation.land(dataset, name, csv_of(hour, numbers, broken))
        (self.broken if broken else self.landed)[dataset, name] = hour, numbers

    def send_again(self) -> None:
        """What was broken comes as it should be, except of the last hour."""
        for (dataset, name), (hour, numbers) in list(self.broken.items()):
            if hour != NEVER_MENDED:
                self.operation.land(dataset, name, csv_of(hour, numbers))
                self.landed[dataset, name] = self.broken.pop((dataset, name))

    def overwrite(self) -> None:
        """A producer corrects an object: the same rows and one more."""
        if not self.landed:
            return
        (dataset, name), (hour, numbers) = self.chance.choice(sorted(self.landed.items()))
        more = [*numbers, next(self.numbers)]
        self.operation.land(dataset, name, csv_of(hour, more))
        self.landed[dataset, name] = hour, more

    # -- faults ------------------------------------------------------------------------------------------------

    def one(self, name: str = "") -> str:
        """An object lands, a fault comes and goes."""
        kinds = [kind for kind in WEIGHTS if kind not in self.left_out]
        if name in self.left_out:
            return f"{name}: left out, {self.left_out[name]}"
        name = name or self.chance.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        self.land()
        self._fault(name)
        self.done[name] += 1
        return name

    def _fault(self, name: str) -> None:
        operation = self.operation
        seconds = self.chance.uniform(*self.span)
        if name in IN_HTTP:
            fault = IN_HTTP[name]
            operation.proxy.rule = lambda method, path: fault
            operation.until(seconds)
            operation.proxy.rule = lambda method, path: None
            return
        rest: dict[str, Callable[[], None]] = {
            "a run worker is killed": self._kill_worker,
            "the code server is killed": lambda: operation.kill("code_server"),
            "the code server is killed with its workers": lambda: operation.kill_group("code_server"),
            "the daemon is killed": lambda: operation.kill("daemon"),
            "everything is killed at once": self._kill_all,
            "a second daemon runs": lambda: self._second_daemon(seconds),
            "the webhook answers 503": lambda: self._webhook(seconds),
            "the clock is an hour ahead": lambda: self._clock(3600, seconds),
            "the clock is an hour behind": lambda: self._clock(-3600, seconds),
            "the disk of the lake is full": lambda: self._fill(seconds),
            "a broken object lands": lambda: self.land(broken=True),
            "an object is overwritten": self.overwrite,
            "Dagster's database is lost": self._lose_database,
        }
        rest[name]()
        operation.until(1)

    def _kill_worker(self) -> None:
        # one that runs, if there is one within some seconds: objects land all the time
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            workers = self.operation.workers()
            if workers:
                self.operation.until(self.chance.uniform(0, 4))
                with suppress(ProcessLookupError):
                    os.kill(self.chance.choice(workers), signal.SIGKILL)
                return
            self.operation.until(0.5)

    def _kill_all(self) -> None:
        for name in ("daemon", "code_server"):
            self.operation.kill_group(name)

    def _second_daemon(self, seconds: float) -> None:
        other = self.operation.start("daemon")
        self.operation.others.append(other)
        self.operation.until(2 * seconds + 8)
        other.kill()
        other.wait()

    def _webhook(self, seconds: float) -> None:
        self.operation.hook.status = 503
        self.operation.until(seconds)
        self.operation.hook.status = 200

    def _clock(self, off: float, seconds: float) -> None:
        (self.operation.home / "clock").write_text(str(off))
        self.operation.until(seconds)
        (self.operation.home / "clock").write_text("0")

    def _lose_database(self) -> None:
        self._kill_all()
        base = self.operation.home / "dagster"
        for name in ("history", "schedules"):
            shutil.rmtree(base / name, ignore_errors=True)
        # what a person does, as docs/disaster-recovery.md says
        done = subprocess.run(
            [str(Path(self.operation.command("daemon")[0]).with_name("orchestrai")), "sync"],
            cwd=self.operation.folder,
            env=self.operation.environment,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    # -- the lake's disk ---------------------------------------------------------------------------------------

    def _mount(self) -> Path | None:
        lake = self.operation.home / "lake"
        lake.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "chaos", str(lake)]
        mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False)
        if mounted and mounted.returncode == 0:
            return lake
        self.left_out["the disk of the lake is full"] = "nobody here may mount a small one"
        return None

    def unmount(self) -> None:
        """Give the small disk back."""
        if self.disk is not None:
            subprocess.run(["umount", "-l", str(self.disk)], capture_output=True, check=False)

    def _fill(self, seconds: float) -> None:
        assert self.disk is not None
        filler = self.disk / ".filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)
        self.operation.until(seconds)
        filler.unlink()
