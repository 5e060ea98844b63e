"""One reading of durations for every declaration."""

import importlib
import pkgutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

import orchestrai
from orchestrai.contracts.contract_file import ContractFile
from orchestrai.core.time.duration_cron import LONGEST, UNITS, Duration, DurationOrZero, format_duration, parse_duration
from orchestrai.core.yaml.declaration import Declaration, models_in
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.pipeline.declarations import PipelineSpec

READERS = [TypeAdapter(Duration), TypeAdapter(DurationOrZero)]


def in_contract(value: object, unit: object = None) -> timedelta:
    return ContractFile(Path("orders/c.yaml"), {}, lambda _: 1).span(("slaProperties", 0, "value"), value, unit)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("26h", 93_600), ("30d", 2_592_000), ("2 w", 1_209_600), ("0d", 0)]
)
def test_a_duration_means_the_same_wherever_it_is_declared(text: str, seconds: int) -> None:
    spans = {parse_duration(text, zero=True), in_contract(text), READERS[1].validate_python(text)}
    if seconds:
        spans |= {parse_duration(text), READERS[0].validate_python(text)}
    assert spans == {timedelta(seconds=seconds)}


@pytest.mark.parametrize("text", ["", "5", "m", "-1d", "1.5h", "1y", "P1D", "1d2h", "99999999999d", "999999999w", "36526d"])
def test_what_is_no_duration_is_refused_wherever_it_is_declared(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a duration"):
        parse_duration(text)
    for reader in READERS:
        with pytest.raises(ValidationError, match="expected a duration"):
            reader.validate_python(text)


@pytest.mark.parametrize("value", [60, 1.5, True, timedelta(seconds=-1), None])
def test_a_number_without_a_unit_is_no_duration(value: object) -> None:
    for reader in READERS:
        with pytest.raises(ValidationError, match="90s, 15m, 26h"):
            reader.validate_python(value)


def test_nought_is_a_duration_only_where_the_field_says_so() -> None:
    assert READERS[1].validate_python("0d") == timedelta(0) == READERS[1].validate_python(timedelta(0))
    for value in ("0d", timedelta(0)):
        with pytest.raises(ValidationError, match="90s, 15m, 26h"):
            READERS[0].validate_python(value)


@given(span=st.timedeltas(timedelta(seconds=1), LONGEST))
def test_what_is_written_reads_back(span: timedelta) -> None:
    whole = timedelta(seconds=int(span.total_seconds()))
    if len(str(int(whole.total_seconds()))) <= 9 or whole % UNITS["m"] == timedelta(0):
        assert parse_duration(format_duration(whole)) == whole
    # a recipe in JSON has ISO 8601
    for reader in READERS:
        assert reader.validate_json(reader.dump_json(whole)) == whole


def test_a_duration_is_told_in_the_largest_unit_that_divides_it() -> None:
    shown = [format_duration(parse_duration(text)) for text in ("90s", "120s", "26h", "48h", "2w")]
    assert shown == ["90s", "2m", "26h", "2d", "14d"]


@pytest.mark.parametrize(
    ("value", "unit", "span"),
    [
        (1, "y", timedelta(days=365)),
        (1.5, "hours", timedelta(minutes=90)),
        (30, None, timedelta(days=30)),
        ("2", "min", timedelta(minutes=2)),
    ],
)
def test_a_contract_also_reads_the_spellings_of_its_standard(value: object, unit: str | None, span: timedelta) -> None:
    assert in_contract(value, unit) == span


@pytest.mark.parametrize(("value", "unit"), [(-1, "d"), (1, "fortnight"), ("nan", "d"), (101, "years"), ("", None)])
def test_a_contract_refuses_what_is_no_span(value: object, unit: str | None) -> None:
    with pytest.raises(DeclarationError):
        in_contract(value, unit)


def test_every_model_that_a_pipeline_declares_is_a_strict_declaration() -> None:
    seen: set[type[BaseModel]] = set()
    waiting = [PipelineSpec]
    while waiting:
        model = waiting.pop()
        seen.add(model)
        waiting += [
            inner for field in model.model_fields.values() for inner in models_in(field.annotation) if inner not in seen
        ]
    assert len(seen) > 30
    assert not [model.__name__ for model in seen if not issubclass(model, Declaration)]
    assert not [
        model.__name__ for model in seen if (model.model_config["extra"], model.model_config["frozen"]) != ("forbid", True)
    ]


def test_there_is_one_strict_base_and_one_type_for_durations() -> None:
    strict: list[str] = []
    for module in pkgutil.walk_packages(orchestrai.__path__, "orchestrai."):
        if module.name.endswith(("spec", "declarations", "space", "odcs", "cluster_job")):
            values: dict[str, Any] = vars(importlib.import_module(module.name))
            strict += [
                f"{module.name}.{name}"
                for name, value in values.items()
                if isinstance(value, type) and issubclass(value, BaseModel) and not issubclass(value, Declaration)
            ]
            if "Duration" in values:
                assert values["Duration"] is Duration, module.name
    assert not strict
