"""Every key that may be declared, worked out from the models that `check` reads by."""

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrai.core.time.duration_cron import format_duration
from orchestrai.pipeline.reference.declared_schema import Declared, model_of
from orchestrai.pipeline.reference.key_words import words_of
from orchestrai.pipeline.reference.value_form import value_form

# text that is shown as a default is short enough for a cell of a table
_SHOWN = 60


@dataclass(frozen=True)
class DeclaredKey:
    """One key: `path` as people write it (`datasets[].source.url`), `block` the class that it stands in and `inner` those of its value.

    `default` is empty where there is none worth a word, `example` is a value that the key takes.
    """

    path: str
    block: str
    form: str
    default: str
    required: bool
    says: str
    example: Any
    inner: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2].removesuffix("[]").removesuffix("{}")

    def as_json(self) -> dict[str, Any]:
        """What programs are told."""
        facts = {"key": self.path, "takes": self.form, "required": self.required, "says": self.says}
        return {**facts, "default": self.default or None, "example": self.example, "block": self.block}


def declared_keys(of: Declared) -> tuple[DeclaredKey, ...]:
    """All keys of a kind of file, in the order of the models; a block that stands in several places is listed in each."""
    return tuple(_keys(model_of(of), ""))


def _keys(model: type[BaseModel], above: str) -> Iterator[DeclaredKey]:
    properties = _properties(model)
    for name, field in model.model_fields.items():
        alias = str(field.alias or name)
        inner = tuple(models_in(field.annotation))
        path = f"{above}{alias}"
        words = words_of(model, name)
        form = value_form(properties[alias])
        example = words.example if words.example is not None else _example(properties[alias], field, inner)
        names = tuple(one.__name__ for one in inner)
        yield DeclaredKey(path, model.__name__, form, _default(field), field.is_required(), words.says, example, names)
        for one in inner:
            yield from _keys(one, f"{path}{_many(field.annotation)}.")


@cache
def _properties(model: type[BaseModel]) -> Mapping[str, Any]:
    """The schema of each field of a block, worked out once however often the block stands in a file; nobody changes it."""
    schema = model.model_json_schema(by_alias=True)
    # a class that stands in itself is a reference to its own definition
    whole = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return dict(whole["properties"])


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The classes of blocks that a value may be or hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from models_in(inner)


def _many(annotation: Any) -> str:
    """`[]` of a list of blocks, `{}` of blocks by name, nothing of a block itself."""
    origin = typing.get_origin(annotation)
    if origin in (tuple, list):
        return "[]"
    if isinstance(origin, type) and issubclass(origin, typing.Mapping):
        return "{}"
    return next((found for one in typing.get_args(annotation) if (found := _many(one))), "")


def _default(field: FieldInfo) -> str:
    value = None if field.is_required() else field.default
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return format_duration(value) if value else "0"
    if isinstance(value, tuple) and value and not isinstance(value[0], BaseModel):
        text = json.dumps(list(value), ensure_ascii=False)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rpartition(',')[0]}, ...]"
    return str(value) if isinstance(value, int | float) or (isinstance(value, str) and value) else ""


def _example(schema: dict[str, Any], field: FieldInfo, inner: tuple[type[BaseModel], ...]) -> Any:
    """What its type or its default tells; of a block nothing: its keys have examples."""
    if inner:
        return None
    choices = _choices(schema)
    if choices:
        return choices[-1]
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, timedelta):
        return _default(field)
    return field.default if isinstance(field.default, int | float | str) else None


def _choices(schema: dict[str, Any]) -> list[Any]:
    one = [schema, *schema.get("anyOf", ())]
    return [
        *(value for part in one for value in part.get("enum", ())),
        *(part["const"] for part in one if part.get("const")),
    ]
