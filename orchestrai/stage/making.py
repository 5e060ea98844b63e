"""What decides all that a step makes of an asset, as one digest: where what is published was made of just that, it stands.

A step over a whole asset notes the digest in its receipt. The next one looks up the records that it would read, and no more: if the
digest is the same, the receipt is admitted, and the bytes of the asset and of its inputs are as recorded, making it again would publish
nothing. In doubt it is made again, and says itself what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from platform import machine, python_version
from typing import Any

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.core.code_identity import Producer
from orchestrai.errors import IntegrityError, StorageError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.publishing import confirm
from orchestrai.ledger.quarantine import standing_refusals
from orchestrai.ledger.receipt import Receipt
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.recorded_bytes import as_published, intact

# the fact of a receipt that holds the digest
FACT = "made_of"
# and the one that holds what is the same while data alone changes
WAY = "made_by"
# packages whose versions may decide bytes; of those with two names one is there
PACKAGES = (
    "duckdb",
    "lightgbm",
    "matplotlib",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "pyspark",
    "scikit-learn",
    "scipy",
    "skops",
    "sqlglot",
    "xgboost",
    "xgboost-cpu",
)


def _always(receipt: Receipt) -> bool:
    return True


@dataclass(frozen=True)
class Making:
    """What a step would make `partition` of `asset` of: who makes it, the versions that it reads, and whatever is declared that may
    show in bytes, verdicts or facts.

    Of `contents` the bytes alone count: not who published them again, from what. What was `judged` of the inputs beforehand shows in
    verdicts alone.
    `steady` tells of a receipt whether the same making has to come to the same: not where a clock or another record had a say.
    """

    asset: str
    producer: Producer
    inputs: Sequence[Dataset]
    declared: object
    partition: str = "all"
    contents: Sequence[Dataset] = ()
    steady: Callable[[Receipt], bool] = _always
    judged: object = None

    @cached_property
    def digest(self) -> str:
        """The same for the same making, on every machine of a kind; an input counts with all that is recorded of it."""
        return sha256_hex(
            canonical_json(
                {
                    "asset": f"{self.asset}@{self.partition}",
                    "code": self.producer.code,
                    "inputs": [[one.asset, one.version, one.head.manifest] for one in self.inputs],
                    "contents": [[one.asset, one.version] for one in self.contents],
                    "judged": plain(self.judged),
                    **self._how,
                }
            )
        )

    @cached_property
    def way(self) -> str:
        """A digest of how it is made, whatever the inputs hold: the same bytes come of the same inputs."""
        return sha256_hex(canonical_json({"code": self.producer.code, **self._how}))

    @cached_property
    def _how(self) -> dict[str, JsonValue]:
        return {"declared": plain(self.declared), "machine": [machine(), python_version(), *_versions()]}

    @property
    def read(self) -> tuple[Dataset, ...]:
        """All that it reads."""
        return (*self.inputs, *self.contents)

    @property
    def fact(self) -> dict[str, JsonValue]:
        """What a receipt is to carry."""
        return {FACT: self.digest, WAY: self.way}


def unless_it_stands(
    context: RunContext, making: Making | None, made: Callable[[Mapping[str, JsonValue]], StageReport]
) -> StageReport:
    """Make it, unless what is published was made of just the same; a run that is to prove something makes it again.

    `made` is given what its receipt is to carry.
    """
    standing = None if making is None or context.again else as_it_stands(context.ledger, making)
    if standing is not None:
        return standing
    context.begin(making.asset if making is not None else "a step that comes out of more than its inputs")
    return made(making.fact if making is not None else {})


def as_it_stands(ledger: Ledger, making: Making) -> StageReport | None:
    """The report of a step that would publish nothing; None where it has to be made, or nobody can tell.

    Every byte of the asset on this disk is hashed, and every byte of the inputs that its receipt names, for which full evidence is asked
    as for use. A copy in the vault that lacks something gets it.
    """
    with Meter() as meter:
        current = ledger.find(making.asset)
        if current is None or making.partition not in current.partitions:
            return None
        try:
            receipt = current.receipt(making.partition)
            if not _is_of(receipt, making) or making.partition in standing_refusals(ledger.lake, making.asset, current):
                return None
            if not intact(current, making.partition):
                return None
            outcome = as_published(current, making.partition)
            meter.read += sum(_read(one, receipt) for one in making.read)
            confirm(ledger, current, [making.partition])
        except (IntegrityError, StorageError):
            return None
        return StageReport(making.asset, current.version, (outcome,), meter.cost(), dict(receipt.facts))


def _is_of(receipt: Receipt, making: Making) -> bool:
    return (
        receipt.code_version == making.producer.code
        and receipt.facts.get(FACT) == making.digest
        and {(ref.asset, ref.version) for ref in receipt.inputs} <= {(one.asset, one.version) for one in making.read}
        and making.steady(receipt)
    )


def _read(dataset: Dataset, receipt: Receipt) -> int:
    """Hash what a receipt names of an input; raises IntegrityError where it may not be used, or is not what it was."""
    keys = sorted({key for ref in receipt.inputs if ref.asset == dataset.asset for key in ref.partitions})
    with dataset.fetched(keys) as files:
        return sum(file.entry.size for part in files.values() for file in part)


def plain(value: Any) -> JsonValue:
    """A declaration as JSON, the same in each process: what has no order of its own is sorted."""
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # YAML can say it, JSON cannot
    if value is None or isinstance(value, str | bool | int | float):
        return value
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return plain(dump(mode="json"))
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return [*sorted(str(one) for one in value)]
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    return str(value)


@cache
def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
