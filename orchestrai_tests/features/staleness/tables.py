"""A feature table over a restored dataset, published as the features stage does, without computing: the content is what was read."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.core.canonical import canonical_json
from orchestrai.features.plan import Planner
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.staleness.stale_features import FeatureStaleness, judged
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.features.views.view_inputs import open_inputs
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.signing import Signer
from orchestrai.stage.last_judgement import FACT
from orchestrai.stage.staleness import Places, StalePartition
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.features.conftest import READINGS
from orchestrai_tests.producers import producer

IN, OUT = "p/readings/restored", "p/view/features"
FIRST = datetime(2016, 1, 1, tzinfo=UTC)
FRAME = {
    "time": "RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW",
    "rows": "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
}


def day(number: int) -> str:
    """The key of a day."""
    return f"{FIRST + timedelta(days=number):%Y-%m-%d}"


def view_of(kind: str, lookback: str = "", **more: Any) -> FeatureView:
    """A view over readings: frames of `time` or of `rows`, or at `moments` of every day."""
    body: dict[str, Any] = {"name": "view", "from": ["readings"], "entity": "device_id", **more}
    body |= {"lookback": {"time": lookback}} if lookback else {}
    if kind == "moments":
        body["as_of"] = {"every": "1d"}
        body["sql"] = (
            "SELECT s.device_id, s.as_of, COUNT(r.seq) AS n FROM spine AS s JOIN readings AS r ON r.device_id = s.device_id "
            "GROUP BY s.device_id, s.as_of"
        )
    else:
        body["event_time"] = "ts"
        body["sql"] = (
            "SELECT device_id, ts, COUNT(seq) OVER w AS n, CAST(SUM(seq) OVER w AS BIGINT) AS total FROM readings "
            f"WINDOW w AS (PARTITION BY device_id ORDER BY ts{', seq' if kind == 'rows' else ''} {FRAME[kind]})"
        )
    return load_view(FeatureViewSpec.model_validate(body), Path(), {"readings": READINGS})


class Counting(MemoryStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def read(self, key: str, **more: Any) -> bytes:
        self.reads += 1
        return super().read(key, **more)


@dataclass
class FeatureTable:
    """A view's table; `view` and `code` may be set anew."""

    view: FeatureView
    code: str = "code-1"
    store: Counting = field(default_factory=Counting)
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))

    @property
    def ledger(self) -> Ledger:
        """Opened anew: nothing is remembered from before."""
        return Ledger(self.store, self.signer)

    def arrive(self, contents: Mapping[str, str], drop: Sequence[str] = ()) -> None:
        """Publish restored partitions of some content."""
        session = self.ledger.session(IN, producer("restored"))
        for key, content in contents.items():
            session.add_entry(key, _entry(content))
        session.commit(drop=drop)

    def made(self) -> Planner:
        """The plan over what is restored by now."""
        opened = open_inputs(self.ledger, self.view, {"readings": IN}, "day")
        return Planner(self.view, opened)

    def staleness(self, above: Places | None = None) -> FeatureStaleness:
        """The rule, over a ledger opened anew."""
        return FeatureStaleness(self.made(), self.ledger.open(OUT), self.code, above or {})

    def stale(self, above: Places | None = None) -> dict[str, StalePartition]:
        """What the rule says."""
        return self.staleness(above).partitions()

    def by_records(self) -> dict[str, tuple[Any, ...]]:
        """What each partition's own record says."""
        rule = self.staleness()
        found = {key: rule.own_record(key) for key in sorted(rule.current.partitions)}
        return {key: causes for key, causes in found.items() if causes}

    def run(self, keys: Iterable[str], *, note: bool = True) -> None:
        """Publish partitions made of what they read now; without a note, as an earlier release did."""
        planner, ledger = self.made(), self.ledger
        current, session = ledger.find(OUT), ledger.session(OUT, producer("features"))
        stale = FeatureStaleness(planner, current, self.code).partitions() if current else {}
        made = sorted(keys)
        for task in planner.tasks(made):
            needed = {name: list(parts) for name, parts in task.partitions.items()}
            stats: dict[str, Any] = {"code": self.code}
            if self.view.kind == "row" and self.view.lookback.rows:
                order = list(planner.opened.spans["readings"])
                at = order.index(task.key)
                stats["tail_from"] = order[at - 1] if at else ""
                needed["readings"] = order[max(at - 1, 0) : order.index(needed["readings"][-1]) + 1]
            stats["inputs"] = {asset: dict(roots) for asset, roots in planner.opened.roots(needed).items()}
            session.add_entry(task.key, _entry(canonical_json(stats).decode()))
            session.add_stats(task.key, **stats)
        facts = {FACT: judged(planner, current, stale, self.code, made)} if note else {}
        session.commit(inputs=planner.opened.refs({"readings": list(planner.opened.spans["readings"])}), facts=facts)


def _entry(content: str) -> FileEntry:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return FileEntry("part-0.parquet", len(content), 1, digest, f"data/{digest}")
