"""Published files as Delta and Iceberg tables for other tools: the very bytes that were proven, no second copy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import MissingExtra
from orchestrai.features.table_formats import register_delta, register_iceberg
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport

Format = Literal["delta", "iceberg"]


def delta_place(tables: Path, asset: str) -> Path:
    """The folder of an asset's Delta table."""
    return tables / "delta" / asset


def iceberg_name(asset: str) -> str:
    """The identifier of an asset's table in the catalog at `iceberg.db`."""
    return asset.replace("/", ".")


def shared(ledger: Ledger, report: StageReport, formats: Sequence[Format], tables: Path) -> StageReport:
    """Register what a stage published in each format asked for, and say in its facts where to read it.

    Idempotent; also for a version published before. Raises MissingExtra without the packages of the format.
    """
    if not formats or report.version is None:
        return report
    facts: dict[str, JsonValue] = dict(report.facts)
    if "delta" in formats:
        place = delta_place(tables, report.asset)
        register_delta(ledger, asset=report.asset, table=place)
        facts["delta_table"] = str(place)
    if "iceberg" in formats:
        facts["iceberg_table"] = _iceberg(ledger, report.asset, tables)
    return replace(report, facts=facts)


def _iceberg(ledger: Ledger, asset: str, tables: Path) -> str:
    try:
        from pyiceberg.catalog.sql import SqlCatalog
    except ImportError as exc:
        raise MissingExtra(
            "expected the packages pyiceberg and sqlalchemy, found none: install orchestrai[iceberg]"
        ) from exc
    (tables / "iceberg").mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{tables}/iceberg.db", warehouse=(tables / "iceberg").as_uri())
    register_iceberg(ledger, asset=asset, catalog=catalog, identifier=iceberg_name(asset))
    return f"{iceberg_name(asset)} in sqlite:///{tables}/iceberg.db"
