"""The contract of a first dataset, in the Open Data Contract Standard, with what was seen beside each column."""

import json
from collections.abc import Iterator

from orchestrai.contracts.odcs import LOGICAL
from orchestrai.core.yaml.yaml_text import flow_value, one_line
from orchestrai.pipeline.starter.column_guess import Guess
from orchestrai.pipeline.starter.cut_guess import earliest
from orchestrai.pipeline.starter.roles import is_person
from orchestrai.pipeline.starter.starter import Findings

_LOGICAL = {ours: logical for logical, ours in LOGICAL.items()}


def contract_text(findings: Findings) -> str:
    """The text of the contract file."""
    return "\n".join(_lines(findings)) + "\n"


def person_of(findings: Findings) -> str:
    """The column that names whose row it is, where others are tokenised under it; nothing where none are."""
    person = next(
        (g for g in findings.columns if g.name in findings.personal and g.type == "STRING" and _names_person(findings, g)),
        None,
    )
    return person.name if person is not None and tokenised(findings, person.name) else ""


def _names_person(findings: Findings, guess: Guess) -> bool:
    return is_person(guess) and guess.present == findings.sample.rows


def tokenised(findings: Findings, person: str) -> list[str]:
    """The personal columns besides the person's own that are kept as tokens."""
    return [
        g.name
        for g in findings.columns
        if g.name in findings.personal and g.name != person and g.type == "STRING" and not _names_person(findings, g)
    ]


def _lines(findings: Findings) -> Iterator[str]:
    name, shape, cut = findings.dataset, findings.shape, findings.cut
    yield f"# Written by `orchestrai init` from {findings.sample.rows:,} rows; what is unsure says so."
    yield "kind: DataContract"
    yield "apiVersion: v3.0.2"
    yield f"id: {findings.name}-{name}"
    yield f"name: {name}"
    yield "version: 1.0.0"
    yield "status: draft"
    yield "description:"
    yield "  purpose: Say here what a row is and who needs it."
    yield "schema:"
    yield f"  - name: {name}"
    yield "    physicalType: table"
    yield "    quality:"
    yield "      - {metric: rowCount, mustBeGreaterThan: 0}"
    yield "    properties:"
    yield "      # physicalName is the column's name in the files, name what SQL calls it"
    person = person_of(findings)
    hidden = tokenised(findings, person) if person else []
    for guess in findings.columns:
        if guess.derive:
            continue
        yield from _column(findings, guess, guess.name in hidden)
    yield from _derived(findings)
    if shape.time is not None and cut.latency_hours:
        yield "slaProperties:"
        yield f"  # {one_line(cut.notes[0])}" if cut.notes else "  # as the history had it"
        yield f"  - {{property: latency, value: {cut.latency_hours}, unit: h, element: {name}.{shape.time.name}}}"
    yield from _custom(findings, person)


def _column(findings: Findings, guess: Guess, token: bool) -> Iterator[str]:
    shape = findings.shape
    seen = [f"{guess.present:,} of {findings.sample.rows:,} rows, {guess.distinct:,} values", *guess.notes]
    why = findings.personal.get(guess.name)
    if why:
        seen.append(f"personal, guessed by {why}" + ("; kept as a token under the person's key" if token else ""))
    yield f"      # {one_line('; '.join(seen))}"
    kind = f"logicalType: {_LOGICAL[guess.type]}" if guess.type in _LOGICAL else f'physicalType: "{guess.type}"'
    parts = [f"name: {guess.name}", f"physicalName: {flow_value(guess.source)}", kind]
    if guess is shape.key and findings.sample.whole:
        parts.append("primaryKey: true, primaryKeyPosition: 1")
    elif guess is shape.time and guess.present == findings.sample.rows:
        parts.append("required: true")
    if why:
        parts.append("classification: pii")
    custom = [("unit", guess.unit)] if guess.unit else []
    custom += [("canonical", guess.canonical)] if guess.canonical else []
    custom += [("tokenise", "true")] if token else []
    if custom:
        parts.append("customProperties: [" + ", ".join(f"{{property: {p}, value: {v}}}" for p, v in custom) + "]")
    yield f"      - {{{', '.join(parts)}}}"


def _derived(findings: Findings) -> Iterator[str]:
    shape = findings.shape
    for guess in findings.columns:
        if guess.derive:
            yield f"      # {one_line('; '.join(guess.notes))}"
            yield from _made(guess.name, "TIMESTAMP", guess.derive, required=guess.present == findings.sample.rows)
    if shape.numbered:
        yield "      # no column tells rows apart: what no file sends tells them"
        yield from _made("row_no", "BIGINT", "{row: number}")
    if shape.series_of_file or (shape.numbered and several(findings)):
        yield from _made("object_name", "STRING", "{name: '^(.*)$'}")
    if shape.numbered and several(findings):
        yield from _made("row_id", "STRING", "{key: [object_name, row_no]}")


def several(findings: Findings) -> bool:
    """Whether rows come in more than one object, by name or by how they are cut."""
    return len(findings.look.objects) > 1 or findings.look.pattern.startswith("*")


def _made(name: str, kind: str, derive: str, *, required: bool = False) -> Iterator[str]:
    yield f"      - name: {name}"
    yield f"        physicalType: {kind}"
    if required:
        yield "        required: true"
    yield f"        customProperties: [{{property: derive, value: {derive}}}]"


def _custom(findings: Findings, person: str) -> Iterator[str]:
    shape, cut = findings.shape, findings.cut
    lines = []
    if shape.time is not None and not cut.latency_hours:
        lines.append(f"  - {{property: eventTime, value: {shape.time.name}}}")
    if cut.grain != "all":
        lines.append("  # partitions are held against those before them; plain bounds: {method: robust, gross_below: 0.12}")
        lines.append("  - {property: volume, value: {method: robust}}")
    if cut.closed_weekdays:
        lines.append(f"  - {{property: closedWeekdays, value: [{', '.join(cut.closed_weekdays)}]}}")
    if cut.closed_dates:
        lines.append("  # days without a file in the history; of a day that was lost, delete it here and land it (unsure)")
        lines.append(f"  - {{property: closedDates, value: [{', '.join(json.dumps(day) for day in cut.closed_dates)}]}}")
    first = earliest(shape.time) if shape.time is not None else None
    if first is not None:
        lines.append(f'  - {{property: earliest, value: "{first}"}}')
    if person:
        lines.append("  # whose row it is: what is tokenised can be erased person by person")
        lines.append(f"  - {{property: person, value: {person}}}")
    if lines:
        yield "customProperties:"
        yield from lines
