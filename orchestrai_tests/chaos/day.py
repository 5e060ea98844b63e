"""A day of operation with faults in it, from a seed to its reckoning."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrai_tests.chaos.chaos_faults import NEVER_MENDED, Chaos
from orchestrai_tests.chaos.operation import operated
from orchestrai_tests.chaos.reckoning import Reckoning, reckon, settle


def day_of_faults(
    folder: Path,
    seed: int,
    faults: int | Sequence[str],
    *,
    seconds: float,
    rest: float,
    told: Callable[[str], None] = lambda line: None,
) -> tuple[Chaos, Reckoning]:
    """So many drawn faults, or those named, none begun after so many seconds; then at most `rest` seconds to come to rest."""
    names = [""] * faults if isinstance(faults, int) else [*faults]
    with operated(folder) as operation:
        chaos = Chaos(operation, seed)
        try:
            began = time.monotonic()
            for _ in range(3):
                chaos.land()
            chaos.land(broken=True, hour=NEVER_MENDED)
            # the first run begins before the first fault
            while not operation.workers() and time.monotonic() - began < seconds / 2:
                operation.until(0.5)
            for number, name in enumerate(names):
                if time.monotonic() - began >= seconds:
                    break
                chaos.time_of_day = number / len(names)
                told(f"{time.monotonic() - began:6.1f} s  {number + 1:3}  {chaos.one(name)}")
                if chaos.done.total() % 10 == 0:
                    chaos.send_again()
            chaos.send_again()
            settled = settle(chaos, rest)
            found = reckon(chaos)
            found.settled_seconds = settled
            return chaos, found
        finally:
            operation.end()
            chaos.unmount()
