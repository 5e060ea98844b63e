"""What was published under an older contract, judged by the one in force before a model learns from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrai.contracts.checks import check_partition
from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.features.ports import LabelledDataset, Learner
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.stage.contract_record import CONTRACT_RULES, REPRODUCED, rules_digest

CHECK = "contract_in_force"
INFO = CheckInfo(
    CHECK, True, "What was published under an older contract keeps the one in force, or was let through by a person."
)
# what a contract says of rows that are there; how many there are and how fresh is past
_OF_ROWS = ("schema", "values", "partition")
_TOLD = 5
_KEPT = 100


@dataclass
class _Findings:
    """What the partitions of all datasets came to."""

    audited: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    waived: list[str] = field(default_factory=list)


def contract_in_force(ledger: Ledger, model: Learner) -> Verdict:
    """Whether every restored partition that a model learns from keeps the contract of its dataset as it is declared now.

    A partition that was restored under it was judged then, and what the newest training set was made of was judged for that. Of others
    the footers tell nulls, ranges and times; keys, enumerations and patterns are read. An override that a partition was published
    under waives here what it waived there. What is made again to be compared is not judged: it was when it was made first.
    """
    datasets = {dataset.asset("restored"): dataset for dataset in model.label_inputs.values()}
    digests = {asset: rules_digest(dataset.contract) for asset, dataset in datasets.items()}
    judged = _judged_before(ledger, model, digests)
    findings = _Findings()
    for asset, dataset in datasets.items():
        restored = ledger.find(asset)
        if restored is not None:
            _audit(restored, dataset, digests[asset], judged.get(asset, {}), findings)
    details: dict[str, JsonValue] = {"contracts": dict(digests), "audited": findings.audited}
    if findings.waived:
        details["waived"] = [*findings.waived[:_KEPT]]
    if not findings.failed:
        return Verdict(CHECK, True, f"{findings.audited} older partitions judged again", details=details)
    details["failed"] = [*sorted(findings.failed)[:_KEPT]]
    told = "; ".join(f"{place}: {message}" for place, message in sorted(findings.failed.items())[:_TOLD])
    more = f" and {len(findings.failed) - _TOLD} more" if len(findings.failed) > _TOLD else ""
    message = (
        f"expected data that keeps the contract in force, found {told}{more}: send or type it again, or restore it again, whose gate "
        "then judges it by that contract, and let it through by `orchestrai gate override`"
    )
    return Verdict(CHECK, False, message, details=details)


def _judged_before(ledger: Ledger, model: Learner, digests: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """The roots by partition and asset that the newest training set was made of, where the same contract was in force."""
    newest = ledger.find(model.asset("training_set"))
    if newest is None or not newest.partitions:
        return {}
    receipt = ledger.receipt(newest.head.receipt)
    verdicts = [verdict for part in receipt.verdicts.values() for verdict in part if verdict.check == CHECK]
    contracts = verdicts[0].details.get("contracts") if verdicts and verdicts[0].passed else None
    if not isinstance(contracts, Mapping):
        return {}
    return {ref.asset: ref.partitions for ref in receipt.inputs if contracts.get(ref.asset) == digests.get(ref.asset, "")}


def _audit(restored: Dataset, dataset: LabelledDataset, digest: str, judged: Mapping[str, str], findings: _Findings) -> None:
    for key, entry in sorted(restored.partitions.items()):
        if judged.get(key) == entry.root:
            continue
        receipt = restored.receipt(key)
        if receipt.parameters.get(CONTRACT_RULES) == digest or REPRODUCED in receipt.parameters:
            continue
        findings.audited += 1
        with restored.fetched([key]) as files:
            closed = _closed(restored, dataset, key, [file.path for file in files[key]])
        override = receipt.override(key)
        if closed and override is not None and set(closed) <= set(override.checks):
            findings.waived.append(f"{restored.asset}@{key}")
        elif closed:
            findings.failed[f"{restored.asset}@{key}"] = ", ".join(
                f"{check}: {message}" for check, message in closed.items()
            )


def _closed(restored: Dataset, dataset: LabelledDataset, key: str, files: list[Path]) -> dict[str, str]:
    """The checks that would close the gate, and what they say."""
    verdicts = check_partition(
        dataset.contract, files, partition=key, grain=dataset.grain, history={}, now=restored.ledger.clock(), whole=False
    )
    return {verdict.check: verdict.message for verdict in verdicts if verdict.check in _OF_ROWS and verdict.closes_gate}
