"""The custom property `hold` of a contract: how often an ordinary partition may be held, and for how long."""

from typing import Any

from pydantic import Field, ValidationError

from orchestrai.contracts.contract import HoldRule
from orchestrai.contracts.contract_file import ContractFile
from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.yaml.declaration import Declaration, Location, explain

MOST = 0.2


class _Hold(Declaration):
    ordinary_days: float | str = HoldRule().ordinary_days
    release_after: Duration | None = Field(default=None, description="publish what nobody decided on for so long")


def hold_rule(reader: ContractFile, custom: dict[str, tuple[Location, Any]]) -> HoldRule:
    """Take `hold` out of the custom properties; raises DeclarationError. Without it the default holds, `off` judges nothing."""
    at, value = custom.pop("hold", ((), {}))
    # YAML reads a bare off as false
    if value is False or value == "off":
        return HoldRule(ordinary_days=0.0)
    if not isinstance(value, dict):
        raise reader.wrong(at, "off, or a mapping of ordinary_days and release_after", repr(value))
    try:
        declared = _Hold(**value)
    except ValidationError as exc:
        raise explain(reader.path, exc, reader.line_of, model=_Hold, at=at) from exc
    return HoldRule(_share(reader, (*at, "ordinary_days"), declared.ordinary_days), declared.release_after)


def _share(reader: ContractFile, at: Location, value: float | str) -> float:
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= MOST:
        raise reader.wrong(at, f"a share such as 1%, above 0 and at most {MOST:.0%}", repr(value))
    return share
