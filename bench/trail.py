"""The trail against its limit: a look at a million entries that were verified before; one JSON object a line, exit code 1 if not ok.

python -m bench.trail [--logs 1000] [--entries 1000] [--runs 3]

Of each log the last entry is signed; the names before it are links to it, since such a look reads none of them, and still has to see
that they are names of this log alone.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

from orchestrai.core.canonical import sha256_hex
from orchestrai.ledger.heads import Head, head_key
from orchestrai.ledger.signing import Signer, load_or_create_signer
from orchestrai.provenance.verify.trail_check import check_trail, remember
from orchestrai.storage.local import LocalStore

# issue 16: a million entries in under this, by the clock
TARGET_SECONDS = 2.0


def laid(store: LocalStore, signer: Signer, logs: int, entries: int) -> dict[str, tuple[int, str]]:
    """Logs of so many entries each, and where each ends."""
    ends = {}
    for number in range(logs):
        asset = f"shop{number // 20:04d}/data{number % 20:02d}/raw_events"
        head = Head(
            asset, entries, "sha256:" + "0" * 64, "1" * 64, "2" * 64, "s" * 32, "2026-01-01T00:00:00+00:00", ("2026-01-01",)
        )
        envelope = head.sign(signer)
        store.write(head_key(asset, entries), envelope)
        last = store.local_path(head_key(asset, entries))
        for seq in range(1, entries):
            os.link(last, last.with_name(f"{seq:012d}.json"))
        ends[asset] = entries, sha256_hex(envelope)
    return ends


def main() -> int:
    """Lay the logs, look some times, print the best look."""
    parser = argparse.ArgumentParser()
    for name, default in (("logs", 1000), ("entries", 1000), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrai-bench-") as folder:
        base = pathlib.Path(folder)
        signer, store = load_or_create_signer(base / "keys"), LocalStore(base / "vault")
        remember(base / "seen", store, signer, laid(store, signer, given.logs, given.entries))
        walls, cpus = [], []
        for _ in range(given.runs):
            wall, cpu = time.perf_counter(), time.process_time()
            report = check_trail(store, signer.keyring(), base / "seen", signer)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            if not report.ok or report.read or report.entries != given.logs * given.entries:
                raise SystemExit(f"expected {given.logs * given.entries} entries known before, found {report}")
    ok = min(walls) <= TARGET_SECONDS
    figures = {
        "wall_seconds": round(min(walls), 3),
        "cpu_seconds": round(min(cpus), 3),
        "load": round(os.getloadavg()[0], 1),
    }
    case = f"{given.logs} logs of {given.entries} entries"
    print(json.dumps({"bench": "trail", "case": case, **figures, "target": TARGET_SECONDS, "ok": ok}), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
