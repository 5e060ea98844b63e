"""A landing, and contracts of the kinds of data that land."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.odcs import load_contract
from orchestrai.ingest.readers import object_reader
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.local import LocalStore

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

RETAIL = """\
kind: DataContract
apiVersion: v3.0.2
id: orders
name: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - {name: invoice_no, physicalName: InvoiceNo, physicalType: STRING, required: true}
      - {name: stock_code, physicalName: StockCode, physicalType: STRING, required: true}
      - {name: description, physicalName: Description, physicalType: STRING}
      - {name: quantity, physicalName: Quantity, physicalType: BIGINT, required: true}
      - {name: invoice_date, physicalName: InvoiceDate, physicalType: TIMESTAMP, required: true}
      - {name: unit_price, physicalName: UnitPrice, physicalType: "DECIMAL(12,3)", required: true}
      - name: customer_id
        physicalName: CustomerID
        physicalType: STRING
        classification: pii
        customProperties: [{property: canonical, value: integer}]
      - {name: country, physicalName: Country, physicalType: STRING}
slaProperties:
  - {property: latency, value: 24, unit: h, element: orders.invoice_date}
customProperties:
  - {property: closedWeekdays, value: [saturday]}
  - {property: closedDates, value: [2010-12-24/2011-01-03, 2011-04-22/2011-04-25, 2011-05-02, 2011-05-30]}
"""

CLICKS = """\
kind: DataContract
apiVersion: v3.0.2
name: clicks
version: 1.0.0
schema:
  - name: clicks
    properties:
      - {name: user_id, physicalType: STRING, required: true}
      - {name: item, physicalType: BIGINT, required: true}
      - {name: at, physicalName: ts, physicalType: TIMESTAMP, required: true}
      - {name: weight, physicalType: DOUBLE}
customProperties:
  - {property: eventTime, value: at}
"""


def contract_of(text: str, folder: Path, name: str = "x.contract.yaml") -> Contract:
    """A contract from its text."""
    path = folder / name
    path.write_text(text)
    return load_contract(path)


@pytest.fixture
def by_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny objects of a test are tried by Arrow's readers first, as large ones are."""
    monkeypatch.setattr(object_reader, "TINY_BYTES", 0)


@pytest.fixture
def orders(tmp_path: Path) -> Contract:
    """The contract of the retail files."""
    return contract_of(RETAIL, tmp_path, "orders.contract.yaml")


@pytest.fixture
def clicks(tmp_path: Path) -> Contract:
    """The contract of a JSON Lines source."""
    return contract_of(CLICKS, tmp_path, "clicks.contract.yaml")


@pytest.fixture
def landing(tmp_path: Path) -> LocalStore:
    """An empty landing."""
    return LocalStore(tmp_path / "landing")


@pytest.fixture
def csv_source() -> SourceSpec:
    """A CSV source partitioned by file name."""
    return SourceSpec(url="landing", format="csv")
