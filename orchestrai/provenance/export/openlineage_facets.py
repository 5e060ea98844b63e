"""Official OpenLineage facets of datasets, from verified records: schema, column lineage, quality, version, storage, ownership, lifecycle.

A facet says what a record says. Columns are those of the contract that data was judged by, or those that the receipt of features or of a
training set names; where a record names none, the facet is not there.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrai.core.verdict import Verdict
from orchestrai.errors import MissingObject
from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.verified_records import Records

PRODUCER = "urn:orchestrai"
NAMESPACE = "orchestrai"
_FACETS = "https://openlineage.io/spec/facets/"
# the formats that the storage facet knows, by the end of a file's name
_FORMATS = ("parquet", "json", "csv")
_MODELS = ("candidate", "champion")


def facet(schema: str, **values: Any) -> dict[str, Any]:
    """One facet by the path of its schema."""
    name = schema.rpartition("/")[2].removesuffix(".json")
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}{schema}#/$defs/{name}", **values}


def landed(uri: str) -> dict[str, str]:
    """The namespace and name of a landed object."""
    return {"namespace": uri.rpartition("/")[0] or uri, "name": uri}


def version_facet(version: str) -> dict[str, Any]:
    """Which version of a dataset it is."""
    return {"version": facet("1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=version)}


class DatasetFacets:
    """The facets of what receipts publish; contracts are read once."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self._contracts: dict[str, list[dict[str, Any]]] = {}

    def of(self, receipt: Receipt, entries: Mapping[str, PartitionEntry], seq: int) -> dict[str, Any]:
        """The facets of the partitions that a receipt published as entry `seq` of its asset's log."""
        facets = version_facet(receipt.version)
        columns = list(self._columns(receipt))
        if columns:
            facets["schema"] = facet("1-2-0/SchemaDatasetFacet.json", fields=columns)
        fields, whole = self._lineage(receipt)
        if fields or whole:
            facets["columnLineage"] = facet(
                "1-2-0/ColumnLineageDatasetFacet.json", fields=fields, **({"dataset": whole} if whole else {})
            )
        facets["dataQualityMetrics"] = facet(
            "1-0-0/DataQualityMetricsDatasetFacet.json",
            rowCount=sum(entry.rows for entry in entries.values()),
            bytes=sum(entry.size for entry in entries.values()),
            fileCount=sum(entry.files for entry in entries.values()),
            columnMetrics={},
        )
        storage: dict[str, Any] = {"storageLayer": "vault" if receipt.stage == "snapshot" else "lake"}
        names = {
            file.path.rpartition(".")[2]
            for key, entry in sorted(entries.items())
            for file in self.records.files(receipt.asset, entry).files
            if file.role == "data"
        }
        if len(names) == 1 and names <= set(_FORMATS):
            storage["fileFormat"] = names.pop()
        facets["storage"] = facet("1-0-1/StorageDatasetFacet.json", **storage)
        card = receipt.facts.get("card")
        if isinstance(card, Mapping) and isinstance(card.get("owner"), str):
            owners = [{"name": card["owner"], "type": "OWNER"}]
            facets["ownership"] = facet("1-0-1/OwnershipDatasetFacet.json", owners=owners)
        change = "CREATE" if seq == 1 else "OVERWRITE" if list(receipt.partitions) == ["all"] else "ALTER"
        facets["lifecycleStateChange"] = facet("1-0-1/LifecycleStateChangeDatasetFacet.json", lifecycleStateChange=change)
        return facets

    def _columns(self, receipt: Receipt) -> Iterator[dict[str, Any]]:
        for place, column in enumerate(self.contract(receipt), 1):
            yield {"name": column["name"], "type": column["type"], "ordinal_position": place}
        for place, (name, column) in enumerate(_recorded(receipt).items(), 1):
            yield {"name": name, "type": str(column.get("type", "")), "ordinal_position": place}

    def _lineage(self, receipt: Receipt) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Where each column comes from, and the columns that decide on the whole."""
        if receipt.stage == "raw_events":
            return {column["name"]: _landed_column(receipt, column) for column in self.contract(receipt)}, []
        if receipt.stage in ("snapshot", "restored"):
            (above,) = {ref.asset for ref in receipt.inputs} or {""}
            return {column["name"]: _from([[above, column["name"]]], "IDENTITY") for column in self.contract(receipt)}, []
        columns = _recorded(receipt)
        how = "IDENTITY" if receipt.stage == "training_set" else "TRANSFORMATION"
        fields = {name: _from(column["from"], how) for name, column in columns.items() if column.get("from")}
        if receipt.stage in _MODELS:
            return {}, self._learned(receipt)
        return fields, []

    def _learned(self, receipt: Receipt) -> list[dict[str, Any]]:
        """A model as a whole depends on each column of its training set."""
        for ref in receipt.inputs:
            if ref.asset.endswith("/training_set"):
                head = self.records.before(ref.asset, ref.version, receipt.finished)
                columns = _recorded(self.records.receipt(head.receipt))
                return [_input(ref.asset, name, "INDIRECT", "") for name in columns]
        return []

    def contract(self, receipt: Receipt) -> list[dict[str, Any]]:
        """The columns of the contract that data was judged by, as it is kept; of several the last partition's."""
        if receipt.stage not in ("raw_events", "snapshot", "restored"):
            return []
        named = receipt.parameters.get("contract_rules")
        digest = named[max(named)] if isinstance(named, Mapping) and named else named
        if not isinstance(digest, str):
            return []
        if digest not in self._contracts:
            try:
                self._contracts[digest] = json.loads(self.records.blob("contracts", digest))["columns"]
            except MissingObject:
                self._contracts[digest] = []
        return self._contracts[digest]


def assertions(receipt: Receipt) -> list[dict[str, Any]]:
    """The verdicts of a receipt, partition by partition."""
    return [
        _assertion(key, verdict, receipt.override(key) is not None)
        for key, verdicts in sorted(receipt.verdicts.items())
        for verdict in verdicts
    ]


def _assertion(partition: str, verdict: Verdict, waived: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "assertion": verdict.check,
        "success": verdict.passed,
        "severity": verdict.severity,
        "name": f"{verdict.check}@{partition}",
        "params": {"partition": partition, **({"overridden": True} if waived and verdict.closes_gate else {})},
    }
    return found | ({"description": verdict.message} if verdict.message else {})


def _recorded(receipt: Receipt) -> dict[str, dict[str, Any]]:
    """The columns that a receipt of features or of a training set names."""
    columns = receipt.facts.get("columns")
    if not isinstance(columns, Mapping):
        return {}
    return {str(name): dict(column) for name, column in columns.items() if isinstance(column, Mapping)}


def _landed_column(receipt: Receipt, column: Mapping[str, Any]) -> dict[str, Any]:
    """A raw column comes from the one of its name at the source; a token, from a value that it hides."""
    source = str(column.get("source") or column["name"])
    how = {"type": "DIRECT", "subtype": "TRANSFORMATION" if column.get("derive") else "IDENTITY"}
    masked = bool(column.get("tokenise"))
    fields = [
        {**landed(uri), "field": source, "transformations": [{**how, "masking": masked}]}
        for uri in sorted({material.uri for material in receipt.materials})
    ]
    return {"inputFields": fields}


def _from(sources: Any, how: str) -> dict[str, Any]:
    return {"inputFields": [_input(asset, column, "DIRECT", how) for asset, column in sources]}


def _input(asset: str, column: str, kind: str, how: str) -> dict[str, Any]:
    transformation = {"type": kind, **({"subtype": how} if how else {}), "masking": False}
    return {"namespace": NAMESPACE, "name": asset, "field": column, "transformations": [transformation]}
