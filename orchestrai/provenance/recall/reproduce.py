"""Make a model again from the vault alone, and say in which stage it first differs, if it does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.signing import Keyring, load_or_create_signer
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.provenance.lineage import Step, Use, use_of, walk
from orchestrai.provenance.recall.overlay import OverlayStore
from orchestrai.provenance.verified_records import Records
from orchestrai.settings import Settings, load_settings
from orchestrai.stage.contract_record import REPRODUCED
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore

if TYPE_CHECKING:
    from orchestrai.pipeline.load import Project
    from orchestrai.stage.context import RunContext


@dataclass(frozen=True)
class StageComparison:
    """One asset made again: its recorded version and the one that came out; `differ` names partitions, `note` says why."""

    asset: str
    expected: str
    found: str
    partitions: int
    differ: tuple[str, ...] = ()
    note: str = ""

    @property
    def equal(self) -> bool:
        """True when every partition came out as recorded."""
        return self.expected == self.found


@dataclass(frozen=True)
class Reproduction:
    """What came out, stage by stage, upstream first."""

    asset: str
    version: str
    stages: tuple[StageComparison, ...]
    files: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True when every stage, the model's bytes included, came out as recorded."""
        return bool(self.stages) and all(stage.equal for stage in self.stages)

    @property
    def first_difference(self) -> StageComparison | None:
        """Where it first went another way."""
        return next((stage for stage in self.stages if not stage.equal), None)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **self.__dict__,
            "ok": self.ok,
            "stages": [{**stage.__dict__, "equal": stage.equal} for stage in self.stages],
        }


def reproduce(
    asset: str,
    version: str | None,
    *,
    vault: Store,
    keyring: Keyring,
    home: Path,
    project: "Project",
    key_folder: Path | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Restore the snapshots a candidate or champion learned from into an empty home, compute features, training set and model
    with the declared code, and compare every partition root.

    The vault is only read; the key of a sealed one is in `key_folder`. A stage that differs is made from what came out before
    it, so that the first difference is the cause.
    Raises ConfigError for a home that is not empty or a model that is not declared, IntegrityError for records that do not verify.
    """
    started = time.perf_counter()
    if home.exists() and any(home.iterdir()):
        raise ConfigError(f"expected an empty folder to work in, found files in {home}: give another --home")
    records = Records(vault, keyring)
    steps = walk(records, use_of(records, asset, version))
    bench = _Bench(vault, keyring, load_settings(home=home), project, records, progress, key_folder)
    compared: list[StageComparison] = []
    for stage, run in (
        ("restored", bench.restore),
        ("features", bench.compute),
        ("training_set", bench.assemble),
        ("candidate", bench.train),
    ):
        for step in sorted((step for step in steps if step.use.stage == stage), key=lambda step: step.use.asset):
            compared.append(run(step))
            if not compared[-1].found:
                return Reproduction(asset, steps[0].use.version, tuple(compared), 0, time.perf_counter() - started)
    if not any(stage.asset.endswith("/candidate") for stage in compared):
        raise ConfigError(f"expected a candidate or champion, found {asset}: name the model")
    files = sum(len(records.files(steps[0].use.asset, entry).files) for entry in steps[0].use.entries.values())
    return Reproduction(asset, steps[0].use.version, tuple(compared), files, time.perf_counter() - started)


class _Bench:
    """An empty lake, the vault to read from, and the declared code."""

    def __init__(
        self,
        vault: Store,
        keyring: Keyring,
        settings: Settings,
        project: "Project",
        records: Records,
        progress: Progress | None,
        key_folder: Path | None,
    ) -> None:
        from orchestrai.pipeline.runtime import Runtime
        from orchestrai.vault.protection import open_vault

        signer = load_or_create_signer(settings.home / "keys")
        own = signer.keyring().keys
        both = governed(vault, Keyring({**keyring.keys, **own}), own=own)
        store = OverlayStore(vault, LocalStore(settings.home / "witness"), own=("heads/",))
        # it demands nothing: all that is read was made from the vault's bytes by this very process
        self.ledger = Ledger(LocalStore(settings.home / "lake"), signer, both, vault=store)
        self.vault = open_vault(self.ledger, key_folder or settings.key_folder, lambda: False)
        self.project, self.records, self.settings, self.progress = project, records, settings, progress
        self.runtime = Runtime(settings, project)
        self.runtime.__dict__["ledger"] = self.ledger

    def restore(self, step: Step) -> StageComparison:
        """Restore exactly the partitions that were used, from vault bytes."""
        from orchestrai.restore.run import RestoreTask, restore

        for above in step.upstream:
            self._publish_snapshot(above)
        task = RestoreTask(step.upstream[0].asset, step.use.asset, sorted(step.use.entries))
        made_first: JsonValue = [*sorted({entry.receipt for entry in step.use.entries.values()})]
        again = {REPRODUCED: made_first}
        return self._compare(step, lambda: restore(self._context(), self.vault, task, parameters=again))

    def _publish_snapshot(self, use: Use) -> None:
        """Name the snapshot's partitions in the new lake as the old receipts do; the restore then checks every byte."""
        session = self.ledger.session(use.asset, Producer("snapshot", __name__))
        for key, entry in use.entries.items():
            manifest = self.records.files(use.asset, entry)
            for file in manifest.files:
                session.add_entry(key, FileEntry(file.path, file.size, file.rows, file.sha256, file.key, "vault", file.role))
            session.add_stats(key, **manifest.stats)
        receipts = {entry.receipt: self.records.receipt(entry.receipt) for entry in use.entries.values()}
        first = next(iter(receipts.values()))
        raw = first.inputs[0]
        roots = {key: entry.root for key, entry in use.entries.items()}
        session.commit(inputs=[InputRef(raw.asset, raw.version, roots)], facts={"dataset": first.facts.get("dataset")})

    def compute(self, step: Step) -> StageComparison:
        """Compute the feature partitions that were used."""
        from orchestrai.features.run import FeatureTask, compute
        from orchestrai.pipeline.engines import embedded
        from orchestrai.pipeline.nodes.view_node import ViewNode

        node = self._node(step.use.asset)
        view = node.subject
        if not isinstance(view, ViewNode):
            raise ConfigError(f"expected a feature view behind {step.use.asset}, found {type(view).__name__}")
        inputs = {table: dataset.asset("restored") for table, dataset in view.inputs.items()}
        declared = {dataset.asset("restored"): dataset for dataset in view.inputs.values()}
        task = FeatureTask(view.asset, inputs, view.grain_of_first, sorted(step.use.entries), declared=declared)
        engine = embedded(self.settings)
        return self._compare(step, lambda: compute(self._context(), view.view, task, engine))

    def _context(self) -> "RunContext":
        return self.runtime.context(self.progress)

    def assemble(self, step: Step) -> StageComparison:
        """Join the training set."""
        return self._compare(step, lambda: self._run(step.use.asset))

    def train(self, step: Step) -> StageComparison:
        """Train the candidate; its version covers the model's bytes."""
        return self._compare(step, lambda: self._run(step.use.asset))

    def _run(self, asset: str) -> object:
        return self.runtime.run(self._node(asset), ["all"])

    def _node(self, asset: str) -> Any:
        node = self.project.nodes.get(asset)
        if node is None:
            raise ConfigError(f"expected {asset} among the declared assets, found no declaration: deploy its pipeline")
        return node

    def _compare(self, step: Step, run: Callable[[], object]) -> StageComparison:
        use = step.use
        try:
            run()
        except ConfigError:
            raise
        except OrchestraiError as error:
            return StageComparison(use.asset, use.version, "", len(use.entries), tuple(sorted(use.entries)), error.message)
        made = self.ledger.find(use.asset)
        roots = {key: entry.root for key, entry in made.partitions.items()} if made else {}
        differ = tuple(sorted(key for key, entry in use.entries.items() if roots.get(key) != entry.root))
        version = Use(use.asset, {k: e for k, e in made.partitions.items() if k in use.entries}).version if made else ""
        return StageComparison(use.asset, use.version, version, len(use.entries), differ, self._why(step, differ))

    def _why(self, step: Step, differ: Sequence[str]) -> str:
        """What differs in code or parameters between the recorded run and this one, where the result differs."""
        made = self.ledger.find(step.use.asset)
        if not differ or made is None or differ[0] not in made.partitions:
            return ""
        before, now = step.receipts[step.use.entries[differ[0]].receipt], made.receipt(differ[0])
        notes = []
        if before.code_version != now.code_version:
            notes.append(f"code was {before.code_version}, is {now.code_version}")
        changed = sorted(
            name for name in {*before.parameters, *now.parameters} if before.parameters.get(name) != now.parameters.get(name)
        )
        if changed:
            notes.append(f"parameters differ: {', '.join(changed)}")
        return "; ".join(notes) or "same code version and parameters: the computation depends on something else"
