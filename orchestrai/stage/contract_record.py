"""The contract that data was judged by, kept in lake and vault: a receipt names it by digest.

Raw events and restored data are judged by the contract in force, and so does their receipt say. A snapshot judges no row: its receipt
hands on what those of its raw events say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from orchestrai.contracts.contract import Column, Contract
from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.errors import MissingObject
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.log import Log
from orchestrai.ledger.receipt import Receipt

# the parameter of a receipt that names the contract
CONTRACT_RULES = "contract_rules"
# the parameter of a receipt of data that is made again to compare it: it was judged when it was made first
REPRODUCED = "reproduced"
_KIND = "contracts"
FORMAT = 1


def rules_digest(contract: Contract) -> str:
    """The digest of what a contract says of rows; its name, version and words do not count."""
    return sha256_hex(_encoded(contract))


def keep_contract(ledger: Ledger, contract: Contract) -> str:
    """Keep the rules of a contract (idempotent); returns their digest."""
    return ledger.put_blob(_KIND, _encoded(contract), witness=True)


def judged_by(ledger: Ledger, contract: Contract) -> dict[str, JsonValue]:
    """Keep a contract, and the parameter by which a receipt names it."""
    return {CONTRACT_RULES: keep_contract(ledger, contract)}


def handed_on(dataset: Dataset, partitions: Sequence[str]) -> dict[str, JsonValue]:
    """The parameter by which a receipt names the contract that some partitions were judged by: by partition where there were several.

    Nothing where their receipts name none.
    """
    named = {key: digest for key in partitions if (digest := rules_named(dataset.receipt(key), key))}
    digests = set(named.values())
    if not digests:
        return {}
    return {CONTRACT_RULES: digests.pop() if len(digests) == 1 and len(named) == len(partitions) else dict(named)}


def rules_named(receipt: Receipt, partition: str) -> str | None:
    """The digest of the contract that a receipt names for a partition."""
    named = receipt.parameters.get(CONTRACT_RULES)
    digest = named.get(partition) if isinstance(named, Mapping) else named
    return digest if isinstance(digest, str) else None


def contract_of(ledger: Log, receipt: Receipt, partition: str = "") -> Contract | None:
    """The contract that a receipt names for a partition; None where it names none, or one that is not kept here."""
    digest = rules_named(receipt, partition)
    if digest is None:
        return None
    try:
        body = json.loads(ledger.blob(_KIND, digest))
    except MissingObject:
        return None
    return _decoded(body) if body.get("format") == FORMAT else None


def as_kept(contract: Contract) -> Contract:
    """A contract as it would be read back, so that it compares with one that was."""
    return _decoded(json.loads(_encoded(contract)))


def _encoded(contract: Contract) -> bytes:
    columns = []
    for column in contract.columns:
        body = {name: _plain(value) for name, value in asdict(column).items() if name != "description"}
        columns.append(body)
    return canonical_json(
        {
            "format": FORMAT,
            "columns": columns,
            "event_time": contract.event_time,
            "tolerance_seconds": contract.tolerance.total_seconds(),
            "person": contract.person,
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _decoded(body: dict[str, Any]) -> Contract:
    columns = []
    for column in body["columns"]:
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in column.items()
            if name in Column.__dataclass_fields__
        }
        columns.append(Column(**known))
    return Contract(
        "",
        "",
        tuple(columns),
        event_time=body["event_time"],
        tolerance=timedelta(seconds=body["tolerance_seconds"]),
        person=body["person"],
    )
