"""The closed gates of a project, for whoever lists them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrai.ledger.quarantine import Refusal, closed_gates
from orchestrai.pipeline.runtime import Runtime


@dataclass(frozen=True)
class ClosedGate:
    """A partition that was refused and not answered since; `stands` says whether older content is published in its place."""

    asset: str
    partition: str
    refusal: Refusal
    stands: bool

    @property
    def state(self) -> str:
        """Held is what breaks no rule and waits for a yes or for more data; all else is refused."""
        return "held" if self.refusal.held else "refused"

    @property
    def in_its_place(self) -> str:
        """What whoever reads the partition gets."""
        return "older content" if self.stands else "nothing"

    @property
    def remedies(self) -> tuple[str, ...]:
        """The commands that open it or go on without it, with what a person has to fill in as `WHY`."""
        place = f"{self.asset} {self.partition}"
        skip = f'orchestrai gate skip {place} --reason "WHY"'
        if self.refusal.held:
            return (f'orchestrai gate release {place} --reason "WHY"', skip)
        waived = " ".join(f"--check {check}" for check in self.refusal.closed)
        return (f"orchestrai gate show {place}", f'orchestrai gate override {place} {waived} --reason "WHY"', skip)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "time": self.refusal.time,
            "root": self.refusal.root,
            "checks": self.refusal.closed,
            "state": self.state,
            "reason": self.refusal.reason,
            "stands": self.in_its_place,
        }


def gate_list(runtime: Runtime) -> Iterator[ClosedGate]:
    """Every closed gate, in the order of the graph; reads the ledger alone."""
    ledger = runtime.ledger
    for node in runtime.project.nodes.values():
        if not node.stage.gate:
            continue
        current = ledger.find(node.asset)
        for partition, refusal in closed_gates(ledger, node.asset, current).items():
            yield ClosedGate(node.asset, partition, refusal, current is not None and partition in current.partitions)
