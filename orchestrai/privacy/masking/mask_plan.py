"""Which method each column of a contract is masked by: what is not declared public is never copied as it is.

| column | method |
|---|---|
| `public`, or the declared dimension of the partitions | copy |
| person, key, unique, named like a key or an entity of another dataset: text, whole number | token |
| the same: time, date, decimal, boolean | permuted within its band, one to one |
| other text | token |
| other number, time, date | band |
| other boolean | synthetic |
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from orchestrai.contracts.contract import Column, Contract
from orchestrai.errors import ConfigError

PUBLIC = "public"
Method = Literal["copy", "token", "permute", "band", "synthetic"]
WHOLE_NUMBERS = ("BIGINT", "INT")
# what a method can be asked of
_FITS: dict[str, tuple[str, ...]] = {
    "token": ("STRING", *WHOLE_NUMBERS),
    "permute": ("TIMESTAMP", "DATE", "DECIMAL", "BOOLEAN"),
    "band": ("STRING", *WHOLE_NUMBERS, "DOUBLE", "DECIMAL", "TIMESTAMP", "DATE"),
    "synthetic": ("STRING", *WHOLE_NUMBERS, "DOUBLE", "DECIMAL", "TIMESTAMP", "DATE", "BOOLEAN"),
}


@dataclass(frozen=True)
class ColumnMask:
    """How one column is masked. `personal` ones are those that a copy must not tell of; `timed` is the event time of the partitions."""

    name: str
    type: str
    method: Method
    personal: bool
    required: bool
    timed: bool = False


@dataclass(frozen=True)
class MaskPlan:
    """How a dataset is masked, column by column, in the contract's order."""

    dataset: str
    columns: tuple[ColumnMask, ...]

    def by(self, *methods: Method) -> tuple[ColumnMask, ...]:
        """The columns of some methods."""
        return tuple(column for column in self.columns if column.method in methods)

    def as_json(self) -> dict[str, str]:
        """Column to method."""
        return {column.name: column.method for column in self.columns}


def identifying_names(contracts: Collection[Contract], entities: Collection[str]) -> frozenset[str]:
    """The names that rows are joined by: keys and persons of any dataset, entities of any view."""
    keys = {
        name for contract in contracts for name in (*contract.primary_key, *((contract.person,) if contract.person else ()))
    }
    return frozenset(keys | {*entities})


def mask_plan(
    dataset: str,
    contract: Contract,
    joined: Collection[str],
    asked: Mapping[str, str],
    dimension: str = "",
) -> MaskPlan:
    """The method of every column; `asked` are methods that a person chose, by column.

    Raises ConfigError for a column or a method that there is not, a personal column that is to be copied, a key of floating point, and a
    dimension of partitions that is personal or to be masked.
    """
    unknown = sorted({*asked} - {*contract.names})
    if unknown:
        raise ConfigError(f"expected columns of {dataset} ({', '.join(contract.names)}), found {', '.join(unknown)}")
    if dimension and (dimension in asked or dimension in {*contract.personal_columns, *contract.tokenised_columns}):
        # the partitions, and so the files of a copy, are named by its values
        raise ConfigError(
            f"expected {dataset}.{dimension}, whose values name partitions, to be copied as they are, found it personal or to be masked: "
            f"leave {dataset} out"
        )
    return MaskPlan(dataset, tuple(_columns(dataset, contract, frozenset(joined), asked, dimension)))


def _columns(
    dataset: str, contract: Contract, joined: frozenset[str], asked: Mapping[str, str], dimension: str
) -> Iterator[ColumnMask]:
    for column in contract.columns:
        personal = column.personal or column.name in contract.tokenised_columns
        unique = column.key is not None or column.unique
        if column.name in asked:
            method = _checked(dataset, column, asked[column.name], personal=personal, unique=unique)
        elif column.name == dimension:
            method = "copy"
        else:
            method = _default(dataset, column, personal, unique or column.name in joined)
        yield ColumnMask(
            column.name, column.type, method, personal, column.required or unique, column.name == contract.event_time
        )


def _default(dataset: str, column: Column, personal: bool, identifying: bool) -> Method:
    if column.classification.lower() == PUBLIC and not personal:
        return "copy"
    kind = _kind(column.type)
    if kind == "STRING" or (identifying and kind in WHOLE_NUMBERS):
        return "token"
    if identifying and kind == "DOUBLE":
        raise ConfigError(
            f"expected keys of whole numbers, text, time or decimals in {dataset}, found {column.name} of floating point: declare it "
            f"{PUBLIC}, or leave {dataset} out"
        )
    if identifying:
        return "permute"
    return "synthetic" if kind == "BOOLEAN" else "band"


def _checked(dataset: str, column: Column, asked: str, *, personal: bool, unique: bool) -> Method:
    where = f"{dataset}.{column.name}"
    if asked == "copy":
        raise ConfigError(
            f"expected {where} to be masked, found copy: what may be copied is declared {PUBLIC} in the contract"
        )
    if asked not in get_args(Method):
        raise ConfigError(f"expected token, permute, band or synthetic for {where}, found {asked!r}")
    if _kind(column.type) not in _FITS[asked]:
        raise ConfigError(
            f"expected a method for {column.type} in {where}, found {asked}, which takes {', '.join(_FITS[asked])}"
        )
    if unique and asked not in ("token", "permute"):
        raise ConfigError(
            f"expected token or permute for {where}, whose values are unique, found {asked}: rows would fall together"
        )
    method: Method = asked  # type: ignore[assignment]  # it is one of them
    return method


def _kind(physical: str) -> str:
    return "DECIMAL" if physical.startswith("DECIMAL") else physical
