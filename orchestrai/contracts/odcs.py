"""Read a contract in the Open Data Contract Standard 3 (YAML, `kind: DataContract`, `apiVersion: v3.x`).

Rules are taken from `required`, `unique`, `primaryKey`, `enum`, `logicalTypeOptions`, `quality` (library metrics) and
`slaProperties`; what the standard has no field for is in `customProperties` (docs/gates.md lists them).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrai.contracts.anomaly.declared_hold import hold_rule
from orchestrai.contracts.columns.derivation import Derivation, derivation_fault, read_derivation
from orchestrai.contracts.columns.personal_columns import person_column
from orchestrai.contracts.contract import WEEKDAYS, ClosedDays, Column, Contract, VolumeRule, normal_type
from orchestrai.contracts.contract_file import ContractFile
from orchestrai.contracts.rules.column_rules import check_column
from orchestrai.core.sql.quoting import name_fault
from orchestrai.core.yaml.declaration import Declaration, Location, explain, load_yaml, refuse_unknown
from orchestrai.secrets.url_credentials import REMEDY, credentials_in

LOGICAL = {
    "string": "STRING",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
UNITS = ("s", "ms", "us", "ns", "days")


def load_contract(path: Path) -> Contract:
    """Read a contract; raises DeclarationError naming file, line and field."""
    from open_data_contract_standard.model import OpenDataContractStandard

    data, line_of = load_yaml(path)
    reader = ContractFile(path, data, line_of)
    if not isinstance(data, dict):
        raise reader.wrong((), "a mapping with kind: DataContract", type(data).__name__)
    for at, credential in credentials_in(data):
        raise reader.wrong(at, "a URL without credentials", f"{credential} in it: {REMEDY}")
    if data.get("kind") != "DataContract":
        raise reader.wrong(("kind",), "DataContract", repr(data.get("kind")))
    if not str(data.get("apiVersion", "")).startswith("v3."):
        raise reader.wrong(("apiVersion",), "v3.x of the Open Data Contract Standard", repr(data.get("apiVersion")))
    refuse_unknown(path, OpenDataContractStandard, data, line_of)
    try:
        document = OpenDataContractStandard(**data)
    except ValidationError as exc:
        raise explain(path, exc, line_of, model=OpenDataContractStandard) from exc
    return _contract(reader, document)


def _contract(reader: ContractFile, document: Any) -> Contract:
    schemas = document.schema_ or []
    if len(schemas) != 1 or not schemas[0].properties:
        raise reader.wrong(("schema",), "one schema object with properties", f"{len(schemas)} objects")
    if not document.version:
        raise reader.wrong(("version",), "a version such as 1.0.0", repr(document.version))
    table = schemas[0]
    columns = tuple(_column(reader, index, prop) for index, prop in enumerate(table.properties))
    _refuse_twins(reader, columns)
    custom = _custom(reader, ("customProperties",), document.customProperties)
    custom |= _custom(reader, ("schema", 0, "customProperties"), table.customProperties)
    promises = {str(sla.property): (index, sla) for index, sla in enumerate(document.slaProperties or ())}
    freshness, element = None, ""
    for name in ("latency", "freshness"):
        if name in promises:
            index, sla = promises[name]
            freshness = reader.span(("slaProperties", index, "value"), sla.value, sla.unit)
            element = str(sla.element or document.slaDefaultElement or "")
    retention = None
    if "retention" in promises:
        index, sla = promises["retention"]
        retention = reader.span(("slaProperties", index, "value"), sla.value, sla.unit)
    event_at, event_time = custom.pop("eventTime", (("slaProperties",), element.rpartition(".")[2] or None))
    _check_event_time(reader, event_at, event_time, columns)
    person = person_column(reader, custom, columns)
    _check_derived(reader, columns, person)
    contract = Contract(
        name=str(document.name or document.id or table.name or reader.path.name.split(".")[0]),
        version=str(document.version),
        columns=columns,
        event_time=event_time,
        freshness=freshness,
        volume=_volume(reader, custom, table.quality or []),
        hold=hold_rule(reader, custom),
        closed=_closed(reader, custom),
        person=person,
        retention=retention,
        description=str((document.description.purpose if document.description else None) or table.description or ""),
        owner=str(document.domain or ""),
        **_bounds(reader, custom),
    )
    if custom:
        name, (at, _) = next(iter(custom.items()))
        known = "eventTime, volume, hold, closedWeekdays, closedDates, earliest, tolerance, person, keyAcrossPartitions"
        raise reader.wrong(at, f"a custom property of {known}", repr(name))
    return contract


def _refuse_twins(reader: ContractFile, columns: tuple[Column, ...]) -> None:
    for index, column in enumerate(columns):
        for other in columns[:index]:
            landed_twice = column.source == other.source and column.derive is None and other.derive is None
            if column.name == other.name or landed_twice:
                raise reader.wrong(("schema", 0, "properties", index), "each column once", f"{column.name!r} twice")


def _check_derived(reader: ContractFile, columns: tuple[Column, ...], person: str | None) -> None:
    if all(column.derive is not None for column in columns):
        raise reader.wrong(("schema", 0, "properties"), "a column that its source sends", "derived ones only")
    for index, column in enumerate(columns):
        if column.derive is not None and (fault := derivation_fault(column, columns, person)):
            expected, _, actual = fault.removeprefix("expected ").partition(", found ")
            raise reader.wrong(("schema", 0, "properties", index), expected, actual)


def _check_event_time(reader: ContractFile, at: Location, name: object, columns: tuple[Column, ...]) -> None:
    timed = [column.name for column in columns if column.type in ("TIMESTAMP", "DATE")]
    if name is not None and name not in timed:
        raise reader.wrong(at, f"a TIMESTAMP or DATE column ({', '.join(timed) or 'there is none'})", repr(name))


def _custom(reader: ContractFile, at: tuple[str | int, ...], properties: Any) -> dict[str, tuple[Location, Any]]:
    return {str(item.property): ((*at, index, "value"), item.value) for index, item in enumerate(properties or ())}


def _column(reader: ContractFile, index: int, prop: Any) -> Column:
    at: tuple[str | int, ...] = ("schema", 0, "properties", index)
    if not prop.name:
        raise reader.wrong(at, "a name", "none")
    if (expected := name_fault(prop.name)) is not None:
        raise reader.wrong((*at, "name"), expected, repr(prop.name))
    if prop.properties or prop.items or prop.map:
        raise reader.wrong(at, "a column of plain values", "a nested one")
    rules: dict[str, Any] = {}
    options = prop.logicalTypeOptions or {}
    names = {"minimum": "minimum", "maximum": "maximum", "pattern": "pattern", "maxLength": "max_length"}
    for option, value in options.items():
        if option not in names:
            raise reader.wrong((*at, "logicalTypeOptions", option), f"one of {', '.join(names)}", repr(option))
        rules[names[option]] = value
    if prop.enum:
        rules["allowed"] = tuple(item.value for item in prop.enum)
    for number, rule in enumerate(prop.quality or ()):
        rules |= _quality(reader, (*at, "quality", number), rule)
    rules |= _column_custom(reader, at, prop)
    key = (prop.primaryKeyPosition or 1) if prop.primaryKey else None
    column = Column(
        name=prop.name,
        type=_type(reader, at, prop),
        source=prop.physicalName or prop.name,
        required=bool(prop.required or prop.primaryKey or rules.pop("required", False)),
        unique=bool(prop.unique or rules.pop("unique", False)),
        key=key,
        classification=prop.classification or "",
        description=prop.description or "",
        **rules,
    )
    try:
        check_column(column)
    except ValueError as exc:
        expected, _, actual = str(exc).removeprefix("expected ").partition(", found ")
        raise reader.wrong(at, expected, actual) from exc
    return column


def _column_custom(reader: ContractFile, at: tuple[str | int, ...], prop: Any) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    custom = _custom(reader, (*at, "customProperties"), prop.customProperties)
    words = {"canonical": ("integer", "trim"), "unit": UNITS}
    for name in [name for name in words if name in custom]:
        where, rules[name] = custom.pop(name)
        if rules[name] not in words[name]:
            raise reader.wrong(where, f"one of {', '.join(words[name])}", repr(rules[name]))
    if "tokenise" in custom:
        where, rules["tokenise"] = custom.pop("tokenise")
        if not isinstance(rules["tokenise"], bool):
            raise reader.wrong(where, "true or false", repr(rules["tokenise"]))
    if "derive" in custom:
        where, declared = custom.pop("derive")
        rules["derive"] = _derivation(reader, at, prop, where, declared)
    if custom:
        name, (where, _) = next(iter(custom.items()))
        raise reader.wrong(where, "a custom property of canonical, derive, tokenise, unit", repr(name))
    return rules


def _derivation(
    reader: ContractFile, at: tuple[str | int, ...], prop: Any, where: Sequence[str | int], declared: Any
) -> Derivation:
    if prop.physicalName:
        raise reader.wrong(
            (*at, "physicalName"), "none for a derived column, which no source sends", repr(prop.physicalName)
        )
    try:
        return read_derivation(declared)
    except ValueError as exc:
        expected, _, actual = str(exc).removeprefix("expected ").partition(", found ")
        raise reader.wrong(where, expected, actual) from exc


def _type(reader: ContractFile, at: tuple[str | int, ...], prop: Any) -> str:
    logical = prop.logicalType
    if logical is not None and logical not in LOGICAL:
        raise reader.wrong((*at, "logicalType"), f"one of {', '.join(LOGICAL)}", repr(logical))
    if prop.physicalType is None:
        if logical is None:
            raise reader.wrong(at, "logicalType or physicalType", "neither")
        return LOGICAL[logical]
    try:
        return normal_type(prop.physicalType)
    except ValueError as exc:
        expected, _, actual = str(exc).removeprefix("expected ").partition(", found ")
        raise reader.wrong((*at, "physicalType"), expected, actual) from exc


def _quality(reader: ContractFile, at: tuple[str | int, ...], rule: Any) -> dict[str, Any]:
    if rule.type == "text":
        return {}
    metric = rule.metric or rule.rule
    arguments = rule.arguments or {}
    constraints: dict[str, Any] = {}
    if metric == "nullValues":
        constraints["required"] = True
    elif metric == "duplicateValues":
        constraints["unique"] = True
    elif metric == "invalidValues" and arguments.keys() <= {"validValues", "pattern"} and arguments:
        if "validValues" in arguments:
            constraints["allowed"] = tuple(arguments["validValues"])
        if "pattern" in arguments:
            constraints["pattern"] = str(arguments["pattern"])
    else:
        expected = "nullValues, duplicateValues, or invalidValues with validValues or pattern"
        raise reader.wrong((*at, "metric"), expected, repr(metric))
    if rule.mustBe not in (0, None):
        raise reader.wrong((*at, "mustBe"), "0", repr(rule.mustBe))
    if rule.severity in ("warning", "warn", "info"):
        constraints["severity"] = "warn"
    elif rule.severity not in (None, "error", "critical"):
        raise reader.wrong((*at, "severity"), "error or warning", repr(rule.severity))
    return constraints


_DEFAULT = VolumeRule()


class _Volume(Declaration):
    method: str = "robust"
    threshold: float = _DEFAULT.threshold
    z: float = _DEFAULT.z
    gross_below: float = _DEFAULT.gross_below
    gross_above: float = _DEFAULT.gross_above
    period: int | None = None


def _volume(reader: ContractFile, custom: dict[str, tuple[Location, Any]], quality: list[Any]) -> VolumeRule:
    at, value = custom.pop("volume", ((), {}))
    value = {"method": value} if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise reader.wrong(at, "a method or a mapping", repr(value))
    try:
        fields = _Volume(**value).model_dump()
    except ValidationError as exc:
        raise explain(reader.path, exc, reader.line_of, model=_Volume, at=at) from exc
    if fields["method"] not in ("robust", "mean7d", "none"):
        raise reader.wrong(at, "robust, mean7d or none", repr(fields["method"]))
    for index, rule in enumerate(quality):
        where = ("schema", 0, "quality", index)
        if rule.type == "text":
            continue
        if (rule.metric or rule.rule) != "rowCount":
            raise reader.wrong(where, "the metric rowCount", repr(rule.metric))
        fields |= _row_count(reader, where, rule)
    return VolumeRule(**fields)


def _row_count(reader: ContractFile, at: tuple[str | int, ...], rule: Any) -> dict[str, int]:
    if rule.mustBeBetween is not None:
        return {"minimum": int(rule.mustBeBetween[0]), "maximum": int(rule.mustBeBetween[1])}
    bounds = {}
    for name, field, shift in (
        ("mustBeGreaterThan", "minimum", 1),
        ("mustBeGreaterOrEqualTo", "minimum", 0),
        ("mustBeLessThan", "maximum", -1),
        ("mustBeLessOrEqualTo", "maximum", 0),
    ):
        value = getattr(rule, name)
        if value is not None:
            bounds[field] = int(value) + shift
    if not bounds:
        raise reader.wrong(at, "mustBeBetween, mustBeGreaterThan or mustBeLessThan", "none")
    return bounds


def _closed(reader: ContractFile, custom: dict[str, tuple[Location, Any]]) -> ClosedDays:
    at, names = custom.pop("closedWeekdays", ((), []))
    weekdays = set()
    for name in names if isinstance(names, list) else [names]:
        if str(name).lower() not in WEEKDAYS:
            raise reader.wrong(at, f"weekdays of {', '.join(WEEKDAYS)}", repr(name))
        weekdays.add(WEEKDAYS.index(str(name).lower()))
    at, dates = custom.pop("closedDates", ((), []))
    spans = []
    for item in dates if isinstance(dates, list) else [dates]:
        first, _, last = str(item).partition("/")
        start = reader.moment(at, first).date()
        end = reader.moment(at, last).date() if last else start
        if end < start:
            raise reader.wrong(at, "a span first/last", repr(item))
        spans.append((start, end))
    return ClosedDays(frozenset(weekdays), tuple(spans))


def _bounds(reader: ContractFile, custom: dict[str, tuple[Location, Any]]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    if "earliest" in custom:
        bounds["earliest"] = reader.moment(*custom.pop("earliest"))
    if "keyAcrossPartitions" in custom:
        at, value = custom.pop("keyAcrossPartitions")
        # YAML reads a bare off as false
        value = "off" if value is False else value
        if value not in ("warn", "error", "off"):
            raise reader.wrong(at, "warn, error or off", repr(value))
        bounds["key_across_partitions"] = value
    if "tolerance" in custom:
        at, value = custom.pop("tolerance")
        bounds["tolerance"] = reader.span(at, value, None)
    return bounds
