"""What a day costs after many days: one JSON object a line, exit code 1 where a step costs more than twice what it did after ten.

A dataset gets one small day after another. After 10, 100, 1,000 and 3,650 of them each step is done a few times, as a new process would
do it, with nothing remembered but what lies on the disk; the median of the CPU milliseconds counts.
"""

import gc
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from orchestrai.core.code_identity import Producer
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven
from orchestrai.vault.verify.verify import verify

AFTER = (10, 100, 1_000, 3_650)
DATASET = "shop/orders"
ASSET = "shop/orders/events"
TIMES = 5
TARGET = 2.0
TREES_MIB = 20.0
STEPS: dict[str, Callable[["History"], None]] = {}


def step(name: str) -> Callable[[Callable[["History"], None]], Callable[["History"], None]]:
    """Measured under this name."""

    def add(run: Callable[["History"], None]) -> Callable[["History"], None]:
        STEPS[name] = run
        return run

    return add


class History:
    """A vault, its replica, its anchor and a ledger, with some days in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "keys").mkdir(parents=True)
        self.signer = load_or_create_signer(folder / "keys")
        self.anchor = Anchor(folder / "anchor.json")
        self.days = self.published = 0

    def vault(self) -> Vault:
        """As a new process opens it."""
        return Vault(LocalStore(self.folder / "vault"), self.signer)

    def replica(self) -> LocalStore:
        """Where the second copy goes."""
        return LocalStore(self.folder / "replica")

    def ledger(self) -> Ledger:
        """As a new process opens it."""
        return Ledger(LocalStore(self.folder / "lake"), self.signer, vault=LocalStore(self.folder / "witness"))

    def key(self, number: int) -> str:
        """The name of a day."""
        return (date(2016, 1, 1) + timedelta(days=number)).isoformat()

    def commit(self, vault: Vault) -> None:
        """One day more; the number of the commit before is known, as the ledger knows it."""
        data = f"the rows of day {self.days}".encode()
        file = SourceFile("part.parquet", len(data), data, hashlib.sha256(data).hexdigest(), 1)
        vault.commit(DATASET, {self.key(self.days): [file]}, after=self.days)
        self.days += 1

    def publish(self, ledger: Ledger) -> None:
        """One day more in the ledger."""
        key = self.key(self.published)
        session = ledger.session(ASSET, PRODUCER)
        session.add_bytes(key, "part.parquet", f"the rows of day {self.published}".encode(), rows=1)
        session.commit({key: ()})
        self.published += 1


# whose code counts: any that stages files
PRODUCER = Producer("events", "orchestrai.vault.run")


@step("commit")
def _commit(history: History) -> None:
    history.commit(history.vault())


@step("verify listing, what is new")
def _verify(history: History) -> None:
    vault = history.vault()
    proven = Proven.read(vault.keyring, history.folder / "proven.json")
    report = verify(vault, proven=proven)
    if report.proven is None:
        raise SystemExit(f"expected a sound vault, found {report.findings[:1]}")
    report.proven.keep(vault.signer, history.folder / "proven.json")


@step("anchor")
def _anchor(history: History) -> None:
    history.anchor.update(history.vault())


@step("replicate")
def _replicate(history: History) -> None:
    if not replicate(history.vault(), history.replica()).verified.ok:
        raise SystemExit("expected a sound replica, found another")


@step("list the newest")
def _newest(history: History) -> None:
    if [commit.seq for commit in history.vault().newest(DATASET, 20)][-1] != history.days:
        raise SystemExit("expected the newest snapshots, found others")


@step("restore the newest day")
def _restore(history: History) -> None:
    vault, day = history.vault(), history.key(history.days - 1)
    target = history.folder / "restored" / str(time.monotonic_ns())
    restore_folder(vault, vault.latest(DATASET), target, partitions=[day], sync=False)
    if not any(target.rglob("part.parquet")):
        raise SystemExit(f"expected {day} to be restored, found nothing")


@step("ledger publish")
def _publish(history: History) -> None:
    history.publish(history.ledger())


@step("ledger open a day")
def _open(history: History) -> None:
    history.ledger().open(ASSET).files(history.key(history.published // 2))


def lines(folder: Path) -> Iterator[dict[str, object]]:
    """Every step after each number of days, against the smallest; then the trees' bytes."""
    history = History(folder)
    costs: dict[str, dict[int, float]] = {name: {} for name in STEPS}
    trees: dict[int, float] = {}
    for after in AFTER:
        grow(history, after)
        trees[after] = mib(folder / "vault" / "vault" / "trees")
        for name, run in STEPS.items():
            costs[name][after] = measured(history, name, run)
    for name, cells in costs.items():
        smallest = cells[AFTER[0]]
        for after, cost in cells.items():
            ratio = cost / smallest
            yield {
                "case": f"{name}, after {after} days", "metric": "cpu_ms", "ours": round(cost, 2), "peer": f"after {AFTER[0]}",
                "theirs": round(smallest, 2), "ratio": round(ratio, 2), "target": TARGET, "ok": ratio <= TARGET,
            }  # fmt: skip
    for after, size in trees.items():
        yield {
            "case": f"all trees of {after} days", "metric": "mib", "ours": round(size, 3), "peer": "target",
            "theirs": TREES_MIB, "ratio": round(size / TREES_MIB, 3), "target": 1.0, "ok": size <= TREES_MIB,
        }  # fmt: skip


def mib(folder: Path) -> float:
    """What the files below take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def grow(history: History, days: int) -> None:
    """Days without a measure, by one process, then one round of all steps, after which each has only what is new to do."""
    vault, ledger = history.vault(), history.ledger()
    while history.days < days:
        history.commit(vault)
    while history.published < days:
        history.publish(ledger)
    for run in STEPS.values():
        run(history)


def measured(history: History, name: str, run: Callable[[History], None]) -> float:
    """The median of some times, each with one day more, which is not counted unless it is what is measured."""
    costs = []
    for _ in range(TIMES):
        if name not in ("commit", "ledger publish"):
            history.commit(history.vault())
        gc.collect()
        begun = time.process_time()
        run(history)
        costs.append((time.process_time() - begun) * 1000)
    return statistics.median(costs)
