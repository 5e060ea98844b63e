"""Contracts: what data must look like, and what the audit says of it."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.contracts.calendar import Grain
    from orchestrai.contracts.changes import SchemaChange, compare_contracts, compare_schemas
    from orchestrai.contracts.checks import CheckInfo, check_names, check_partition
    from orchestrai.contracts.contract import ClosedDays, Column, Contract, VolumeRule
    from orchestrai.contracts.odcs import load_contract
    from orchestrai.contracts.verdict import Verdict, gate_open
    from orchestrai.contracts.volume import VolumeFinding, judge_volume

__all__ = [
    "CheckInfo",
    "ClosedDays",
    "Column",
    "Contract",
    "Grain",
    "SchemaChange",
    "Verdict",
    "VolumeFinding",
    "VolumeRule",
    "check_names",
    "check_partition",
    "compare_contracts",
    "compare_schemas",
    "gate_open",
    "judge_volume",
    "load_contract",
]

lazily(
    __name__,
    {
        "calendar": ("Grain",),
        "changes": ("SchemaChange", "compare_contracts", "compare_schemas"),
        "checks": ("CheckInfo", "check_names", "check_partition"),
        "contract": ("ClosedDays", "Column", "Contract", "VolumeRule"),
        "odcs": ("load_contract",),
        "verdict": ("Verdict", "gate_open"),
        "volume": ("VolumeFinding", "judge_volume"),
    },
)
