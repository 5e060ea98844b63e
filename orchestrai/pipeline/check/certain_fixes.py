"""What a declaration would have to say for its landing to be read, where the sample leaves no doubt: each fix was tried on it."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrai.contracts.contract import Contract
from orchestrai.core.yaml.declaration import Location, field_name, load_yaml
from orchestrai.core.yaml.yaml_edit import with_value
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.spec import SourceSpec
from orchestrai.pipeline.check.landing_sample import SampledRows, place_of
from orchestrai.pipeline.starter.column_guess import guess_column, number_marks
from orchestrai.pipeline.starter.look.csv_shape import csv_shape
from orchestrai.pipeline.starter.look.landing_look import Fetched, Look
from orchestrai.pipeline.starter.look.sample import read_texts
from orchestrai.storage.base import ObjectInfo


@dataclass(frozen=True)
class Fix:
    """A value for a field of a file, and what it mends."""

    path: Path
    at: Location
    value: Any
    why: str

    @property
    def message(self) -> str:
        """One line for people."""
        return f"{self.path.parent.name}/{self.path.name}: {field_name(self.at)}: {self.value!r}, {self.why}"


def certain_fixes(sampled: SampledRows) -> list[Fix]:
    """Fixes of a dataset's reading; none where nothing is refused, or where they would not let more rows through."""
    if not any(finding.weight == "refused" for finding in sampled.findings) or not sampled.paths:
        return []
    source, contract = sampled.node.spec.source, sampled.node.contract
    declared = before = _lost(source, contract, sampled.paths)
    fixes: list[Fix] = []
    for change in (_dialect, _names, _columns):
        try:
            proposed = list(change(sampled, source, contract))
        except (OrchestraiError, ValidationError):
            continue
        for one in proposed:
            try:
                new_source, new_contract = _applied(one, source, contract)
                lost = _lost(new_source, new_contract, sampled.paths)
            except (OrchestraiError, ValidationError):
                continue
            # several marks of a dialect help together only: what does no harm is taken, and the sum is judged in the end
            if lost <= before:
                source, contract, before = new_source, new_contract, lost
                fixes.append(one)
    return fixes if before < declared else []


def apply_fixes(fixes: Sequence[Fix]) -> None:
    """Write fixes into their files, all else unchanged. Raises ConfigError before any file was written."""
    texts: dict[Path, str] = {}
    for fix in fixes:
        # bytes, since a line's end is somebody's too
        text = texts.get(fix.path) or fix.path.read_bytes().decode("utf-8")
        texts[fix.path] = with_value(text, fix.at, fix.value)
    for path, text in texts.items():
        staged = path.resolve().with_name(f".{path.name}.{os.getpid()}.tmp")
        staged.write_bytes(text.encode())
        shutil.copymode(path, staged)
        # whole or not at all
        staged.replace(path.resolve())


def _lost(source: SourceSpec, contract: Contract, paths: Sequence[Path]) -> float:
    """The share of rows, of all objects, that reader and types refuse; an object that cannot be read counts whole."""
    lost = 0.0
    for path in paths:
        outcome = ObjectOutcome()
        list(Typing(source, contract).batches(path, outcome))
        lost += 1.0 if outcome.unreadable or not outcome.seen else outcome.set_aside / outcome.seen
    return lost / len(paths)


def _applied(fix: Fix, source: SourceSpec, contract: Contract) -> tuple[SourceSpec, Contract]:
    if fix.at[-1] == "physicalName":
        index = int(fix.at[-2])
        columns = tuple(replace(c, source=fix.value) if n == index else c for n, c in enumerate(contract.columns))
        return source, replace(contract, columns=columns)
    values: dict[str, Any] = {**source.model_dump(exclude_unset=True), str(fix.at[-1]): fix.value}
    return SourceSpec(**values), contract


def _dialect(sampled: SampledRows, source: SourceSpec, contract: Contract) -> Iterator[Fix]:
    """How the text is written."""
    if source.format != "csv":
        return
    found = csv_shape(sampled.paths, False).dialect
    found = {name: value for name, value in found.items() if name not in ("header", "columns")}
    for name in ("encoding", "delimiter", "quote", "escape", "skip_lines", "comment", "skip_leading_column"):
        plain = SourceSpec.model_fields[name].default
        wanted = found.get(name, plain)
        if wanted != getattr(source, name):
            yield _fix(sampled, name, wanted, "as the objects are written")


def _fix(sampled: SampledRows, name: str, value: Any, why: str) -> Fix:
    path = sampled.node.folder / "pipeline.yaml"
    document, _ = load_yaml(path)
    return Fix(path, (*place_of(document, "datasets", sampled.node.spec.name), "source", name), value, why)


def _names(sampled: SampledRows, source: SourceSpec, contract: Contract) -> Iterator[Fix]:
    """Columns that differ from the header by case and blanks alone."""
    look = _look(sampled)
    names = list(read_texts(look, source).columns)
    known = {_plain(name): name for name in names}
    for index, column in enumerate(contract.columns):
        other = known.get(_plain(column.source))
        if column.derive is None and column.source not in names and other is not None:
            path = sampled.node.folder / sampled.node.spec.contract
            yield Fix(path, ("schema", 0, "properties", index, "physicalName"), other, "as the header has it")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _columns(sampled: SampledRows, source: SourceSpec, contract: Contract) -> Iterator[Fix]:
    """How times, numbers and nothing are spelt."""
    if source.format != "csv":
        return
    sample = read_texts(_look(sampled), source)
    marks = number_marks(sample)
    for name in ("decimal", "thousands"):
        wanted = marks.get(name, "." if name == "decimal" else "")
        if wanted != getattr(source, name) and wanted:
            yield _fix(sampled, name, wanted, "as numbers are written")
    formats, nulls = list(source.timestamp_formats), list(source.null_values)
    for column in contract.landed:
        array = sample.columns.get(column.source)
        if array is None:
            continue
        guess = guess_column(column.source, column.name, array, marks)
        if column.type in ("TIMESTAMP", "DATE") and guess.timed:
            formats += [form for form in guess.formats if form not in formats]
        if column.type != "STRING" and guess.type != "STRING":
            nulls += [word for word in guess.nulls if word not in nulls]
    if nulls != list(source.null_values):
        yield _fix(sampled, "null_values", nulls, "words for nothing in columns of numbers and times")
    if formats != list(source.timestamp_formats):
        yield _fix(sampled, "timestamp_formats", formats, "as times are written")


def _look(sampled: SampledRows) -> Look:
    from datetime import UTC, datetime

    infos = [ObjectInfo(path.name, path.stat().st_size, "", datetime.now(UTC)) for path in sampled.paths]
    fetched = tuple(Fetched(info, path, False) for info, path in zip(infos, sampled.paths, strict=True))
    if not fetched:
        raise ConfigError("expected an object, found none")
    return Look("", "*", tuple(infos), fetched)
