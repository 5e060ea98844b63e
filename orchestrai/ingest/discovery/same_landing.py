"""Partitions for which the landing holds nothing that their raw events were not made from: a run leaves them as they are.

What a run would do again follows from signed records alone: the objects and their etags, the contract, how the source is read, the
code, and that the partition was over when it was judged, after which no verdict depends on the clock. Where one differs it is read anew.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.core.code_identity import Producer
from orchestrai.ingest.discovery.known_objects import Records, identify
from orchestrai.ingest.discovery.partitioning import uri_of
from orchestrai.ingest.spec import DatasetTask, SourceSpec
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import Refusal, standing_refusals
from orchestrai.stage.contract_record import CONTRACT_RULES, rules_digest, rules_named
from orchestrai.stage.recorded_bytes import intact, made_when_over
from orchestrai.storage.base import ObjectInfo, Store

# the parameter of a receipt that says how its objects were read
READING = "reading"
# where objects lie, how often one looks and what may be tried again decide no row
_NO_ROW = {"url", "notifications", "reconcile_every", "ask_again", "late", "key_prefix"}


def read_as(source: SourceSpec) -> dict[str, JsonValue]:
    """The parameter by which a receipt names how the objects of a source were read."""
    return {READING: sha256_hex(canonical_json(source.model_dump(mode="json", exclude=_NO_ROW)))}


class SameLanding:
    """Tells of published partitions whether their part of the landing is what they were made from."""

    def __init__(self, ledger: Ledger, task: DatasetTask, landing: Store, producer: Producer) -> None:
        self._task, self._landing = task, landing
        self._lake = ledger.lake
        self._records = Records(ledger, task.asset)
        self._code = producer.code
        self._rules = {**read_as(task.source), CONTRACT_RULES: rules_digest(task.contract)}

    def holds(self, partition: str, present: Sequence[ObjectInfo]) -> bool:
        """Whether a run would make of these objects what is published, and what is published is still there."""
        dataset, task = self._records.raw, self._task
        if dataset is None or partition not in dataset.partitions or task.source.kind != "objects" or task.grain == "all":
            return False
        if task.source.objects == "newest" and present:
            present = [max(present, key=lambda info: (info.modified, info.key))]
        named = {identify(uri_of(self._landing, info), info.version or info.etag) for info in present}
        if not named <= self._records.published(partition) or named & self._records.dead_in(partition):
            return False
        # a refusal that nothing answered speaks of other objects: the run looks again
        if self._records.refused(partition) is not None and partition in self._standing_refusals:
            return False
        return self._made_so(dataset, partition) and intact(dataset, partition)

    @cached_property
    def _standing_refusals(self) -> Mapping[str, Refusal]:
        """Those that neither the publication of the same content nor a later one has answered."""
        return standing_refusals(self._lake, self._task.asset, self._records.raw)

    def _made_so(self, dataset: Dataset, partition: str) -> bool:
        receipt = made_when_over(dataset, partition, self._task.grain, self._code)
        if receipt is None:
            return False
        named: Mapping[str, JsonValue] = {
            READING: receipt.parameters.get(READING),
            CONTRACT_RULES: rules_named(receipt, partition),
        }
        words = (receipt.parameters.get("contract"), receipt.parameters.get("contract_version"))
        return named == self._rules and words == (self._task.contract.name, self._task.contract.version)
