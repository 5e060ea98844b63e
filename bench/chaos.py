"""`python -m bench.chaos --faults 200`: a day of operation with faults in it, and the table of what came of it.

Real processes of Dagster, a store over HTTP that refuses, seeded faults. Exits 1 where anything is not accounted for.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from orchestrai_tests.chaos.chaos_faults import WEIGHTS, Chaos
from orchestrai_tests.chaos.day import day_of_faults
from orchestrai_tests.chaos.reckoning import Reckoning


def table(chaos: Chaos, found: Reckoning) -> str:
    """What was done, and what came of it, as Markdown."""
    lines = ["| fault | times |", "|---|---:|"]
    lines += [f"| {name} | {chaos.done[name]} |" for name in WEIGHTS if chaos.done[name]]
    lines += [f"| {name} | left out: {why} |" for name, why in chaos.left_out.items()]
    runs = ", ".join(f"{count} {status}" for status, count in sorted(found.runs.items()))
    told = sum(count for name, count in found.alerts.items() if name.endswith(" opened"))
    over = sum(count for name, count in found.alerts.items() if name.endswith(" resolved"))
    lines += [
        "",
        f"{found.objects} objects landed: {found.published} published, {found.refused} held up by a gate; {found.rows} rows, each once.",
        f"{runs} runs. {told} alerts opened, {over} resolved, {found.repeated} messages sent twice. "
        f"At rest {found.settled_seconds:.0f} s after the last fault.",
        *(f"WRONG: {line}" for line in found.wrong),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run it once."""
    words = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    words.add_argument("--faults", type=int, default=200)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--minutes", type=float, default=60, help="no fault is begun after so many")
    words.add_argument("--rest", type=float, default=300, help="seconds in which all has to come to rest")
    given = words.parse_args()
    # whoever ends it ends what it started, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        began = time.monotonic()
        chaos, found = day_of_faults(
            Path(folder), given.seed, given.faults, seconds=60 * given.minutes, rest=given.rest,
            told=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        print(table(chaos, found))
        print(f"\nseed {given.seed}, {(time.monotonic() - began) / 60:.1f} minutes, load {os.getloadavg()[2]:.1f}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
