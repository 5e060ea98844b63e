"""What a changed contract means for what is published: which partitions read on, and which break whom."""

from collections import defaultdict
from dataclasses import dataclass

from orchestrai.contracts.schema_change import SchemaChange, compare_contracts
from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import time_part
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.stage.contract_record import CONTRACT_RULES, as_kept, contract_of, rules_digest


@dataclass(frozen=True)
class SchemaPlan:
    """One change between a contract that restored partitions were judged by and the one declared now."""

    dataset: str
    change: SchemaChange
    partitions: tuple[str, ...]
    views: tuple[str, ...]

    @property
    def breaks(self) -> bool:
        """True when something that is published cannot be read as declared."""
        return bool(self.change.unreadable)

    @property
    def message(self) -> str:
        """One line for people."""
        # of a dimension the remedy is for all its values
        first, last = time_part(self.partitions[0]), time_part(self.partitions[-1])
        span = first if first == last else f"{first} to {last}"
        where = f"{len(self.partitions)} published partition{'s' if len(self.partitions) > 1 else ''} ({span})"
        if not self.breaks:
            lines = "; ".join(self.change.lines)
            judged = "null or cast where they are older, and training judges them by it"
            return f"{self.dataset}: a {self.change.kind} change ({lines}): {where} read on, {judged}"
        views = f" and the views {', '.join(self.views)}" if self.views else ""
        return (
            f"{self.dataset}: a breaking change ({'; '.join(self.change.unreadable)}): breaks {where}{views}; type them again from their "
            f"originals by `orchestrai backfill {self.dataset.split('/')[0]} --from {first} --to {last}`, or declare what they hold"
        )

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {
            "dataset": self.dataset,
            "kind": self.change.kind,
            "lines": list(self.change.lines),
            "broken": list(self.change.broken),
            "unreadable": list(self.change.unreadable),
            "partitions": list(self.partitions),
            "views": list(self.views),
        }


def schema_plans(ledger: Ledger, project: Project) -> list[SchemaPlan]:
    """The changes of all datasets, in the order of their names; reads receipts alone. Raises IntegrityError, StorageError."""
    datasets = {node.prefix: node for pipeline in project.pipelines for node in pipeline.datasets}
    plans = []
    for _, node in sorted(datasets.items()):
        plans += _of_dataset(ledger, project, node)
    return plans


def _of_dataset(ledger: Ledger, project: Project, node: DatasetNode) -> list[SchemaPlan]:
    restored = ledger.find(node.asset("restored"))
    if restored is None:
        return []
    by_receipt: dict[str, list[str]] = defaultdict(list)
    for key, entry in restored.partitions.items():
        by_receipt[entry.receipt].append(key)
    by_contract: dict[str, list[str]] = defaultdict(list)
    receipts = {}
    for digest, keys in by_receipt.items():
        receipt = ledger.receipt(digest)
        rules = receipt.parameters.get(CONTRACT_RULES)
        if isinstance(rules, str) and rules != rules_digest(node.contract):
            by_contract[rules] += keys
            receipts[rules] = receipt
    views = sorted(
        view.shown
        for pipeline in project.pipelines
        for view in pipeline.views
        if node.prefix in {dataset.prefix for dataset in view.inputs.values()}
    )
    plans = []
    for rules, keys in sorted(by_contract.items(), key=lambda item: min(item[1])):
        older = contract_of(ledger, receipts[rules])
        change = compare_contracts(older, as_kept(node.contract)) if older is not None else None
        if change is not None and change.kind != "equal":
            plans.append(SchemaPlan(node.shown, change, tuple(sorted(keys)), tuple(views) if change.unreadable else ()))
    return plans
