"""What every declaration is (`Declaration`), and how it is read from YAML.

A mistake is told in one line: `file:line: field: expected ..., found ...`.

Bounded against hostile files: size, depth and aliases are limited, duplicate keys and merge keys are refused.
"""

import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orchestrai.errors import ConfigError, DeclarationError

MAX_BYTES = 1024 * 1024
MAX_ALIASES = 16
MAX_DEPTH = 50
# Python takes minutes for the digits of a hostile number, and refuses to print it
MAX_NUMBER = 400
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_FIELD = re.compile(r"([a-z_]\w*(?:\.[a-z_][\w-]*)*): ")
# libyaml reads a tenth as long; wheels for rare platforms come without it
PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Location = Sequence[str | int]
LineOf = Callable[[Location], int]
Value = TypeVar("Value")
Read = TypeVar("Read")


class Declaration(BaseModel):
    """Base of all that a user declares: immutable, and an unknown field is a mistake."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, populate_by_name=True)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


FormerNames = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")], ...],
    BeforeValidator(_listed),
    Field(description="the names that it had before, oldest first: all that was kept under them is its own"),
]


def field_reader(read: Callable[[Value], Read]) -> Callable[[Value], Read]:
    """`read` as a validator of a field: what it raises as ConfigError becomes the ValueError that pydantic tells of."""

    def reader(value: Value) -> Read:
        try:
            return read(value)
        except ConfigError as exc:
            raise ValueError(exc.message) from exc

    return reader


# what datasets and views said of tables for other tools
SHARED = "an entry {name, from, as} under share of the pipeline (docs/tables.md)"


def require_moved(value: Any, moved: Mapping[str, str]) -> Any:
    """What is to be validated, unchanged; raises ValueError for a field that is declared elsewhere now, with where."""
    for name, place in moved.items() if isinstance(value, Mapping) else ():
        if name in value:
            raise ValueError(f"{name}: expected {place}, found it here")
    return value


def mistake(path: Path, line: int, field: str, expected: str, actual: object) -> DeclarationError:
    """The error that tells one mistake in one line; the file is named with its folder, since all are called pipeline.yaml."""
    shown = actual if isinstance(actual, str) else repr(actual)
    shown = " ".join(shown.split())
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    place = f"{path.parent.name}/{path.name}:{line}: {field or '(top level)'}"
    fields: dict[str, object] = {"path": str(path), "line": line, "field": field, "expected": expected, "found": shown}
    return DeclarationError(f"{place}: expected {expected}, found {shown}", **fields)


def field_name(location: Location) -> str:
    """A location as people write it: `datasets[0].source.url`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def load_yaml(path: Path) -> tuple[Any, LineOf]:
    """Read one YAML document and a function from a location in it to its line; raises DeclarationError."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise mistake(path, 1, "", "a readable file", exc.strerror or type(exc).__name__) from exc
    if len(raw) > MAX_BYTES:
        raise mistake(path, 1, "", f"at most {MAX_BYTES} bytes", "more")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise mistake(path, 1, "", "UTF-8 text", f"byte {raw[exc.start]:#04x} at offset {exc.start}") from exc
    node = _compose(path, text)
    lines: dict[tuple[str | int, ...], int] = {(): 1}
    data = None if node is None else _build(path, node, (), lines, yaml.SafeLoader(""), frozenset())

    def line_of(location: Location) -> int:
        for end in range(len(location), -1, -1):
            line = lines.get(tuple(location[:end]))
            if line is not None:
                return line
        return 1

    return data, line_of


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        _refuse_bombs(path, text)
        return yaml.compose(text, Loader=PARSER)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = getattr(exc, "problem", None) or "text that does not parse"
        raise mistake(path, mark.line + 1 if mark else 1, "", "YAML", problem) from exc
    except RecursionError as exc:
        raise mistake(path, 1, "", f"at most {MAX_DEPTH} levels", "more") from exc


def _refuse_bombs(path: Path, text: str) -> None:
    aliases = depth = 0
    for event in yaml.parse(text, Loader=PARSER):
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if aliases > MAX_ALIASES or depth > MAX_DEPTH:
            limit = f"at most {MAX_ALIASES} aliases" if aliases > MAX_ALIASES else f"at most {MAX_DEPTH} levels"
            raise mistake(path, event.start_mark.line + 1 if event.start_mark else 1, "", limit, "more")


def _build(
    path: Path,
    node: yaml.Node,
    at: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    loader: yaml.SafeLoader,
    above: frozenset[int],
) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(at, line)
    if id(node) in above:
        raise mistake(path, line, field_name(at), "a value that does not contain itself", "a recursive alias")
    if isinstance(node, yaml.CollectionNode) and node.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        raise mistake(path, line, field_name(at), "plain YAML", f"the tag {node.tag}")
    above = above | {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_build(path, child, (*at, index), lines, loader, above) for index, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            raise mistake(
                path, line, field_name(at), f"a number of at most {MAX_NUMBER} digits", f"{len(node.value)} digits"
            )
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError) as exc:
            # a tag such as !!int on a text that is none breaks PyYAML in several ways
            raise mistake(path, line, field_name(at), "a plain value", node.value) from exc
    built: dict[str, Any] = {}
    for key_node, child in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        where = key_node.start_mark.line + 1
        if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
            raise mistake(path, where, field_name(at), "plain keys", key or "a nested key")
        if key in built:
            raise mistake(path, where, field_name((*at, key)), "each key once", "it twice")
        lines[(*at, key)] = where
        built[key] = _build(path, child, (*at, key), lines, loader, above)
    return built


def explain(
    path: Path, error: ValidationError, line_of: LineOf, *, model: type[BaseModel] | None = None, at: Location = ()
) -> DeclarationError:
    """Turn the first finding of a pydantic error into one line; `at` is where the validated part lies in the file."""
    return explain_all(path, error, line_of, model=model, at=at)[0]


def explain_all(
    path: Path, error: ValidationError, line_of: LineOf, *, model: type[BaseModel] | None = None, at: Location = ()
) -> list[DeclarationError]:
    """Turn the findings of a pydantic error into one line each; of a union, those of one branch."""
    lines: dict[str, DeclarationError] = {}
    for finding in _one_branch(error.errors(include_url=False)):
        inner = [part for part in finding["loc"] if not _is_branch(part)]
        expected, actual, field = _words(finding)
        location = [*at, *inner, *field]
        if finding["type"] == "extra_forbidden":
            actual = f"{inner[-1]!r}"
            expected = _known(model, inner) or "a known field"
        lines.setdefault(field_name(location), mistake(path, line_of(location), field_name(location), expected, actual))
    return list(lines.values())


def _one_branch(findings: Sequence[Any]) -> list[Any]:
    """The findings without those of the other branches of a union: a value is meant to be one thing."""
    taken: dict[tuple[str | int, ...], str | int] = {}
    chosen = []
    for finding in findings:
        location = finding["loc"]
        # a list whose items are all wrong is not too short
        within = [other["loc"] for other in findings if len(other["loc"]) > len(location)]
        if finding["type"] == "too_short" and any(other[: len(location)] == location for other in within):
            continue
        branches = [(location[:place], part) for place, part in enumerate(location) if _is_branch(part)]
        if all(taken.setdefault(before, part) == part for before, part in branches):
            chosen.append(finding)
    return chosen


def _is_branch(part: str | int) -> bool:
    # pydantic names the branch of a union in the location, such as "function-after[...]", "list[str]" or a class
    return isinstance(part, str) and (
        "[" in part or part[:1].isupper() or part in ("str", "int", "float", "bool", "dict", "none")
    )


def _words(error: Any) -> tuple[str, str, list[str]]:
    """What was expected, what was found, and the field below the location where the message names one."""
    message, kind = str(error["msg"]), error["type"]
    if kind == "missing":
        return "a value", "none", []
    cause = (error.get("ctx") or {}).get("error")
    if cause is not None:
        text = str(cause)
        named = _FIELD.match(text)
        expected, _, actual = text[named.end() if named else 0 :].removeprefix("expected ").partition(", found ")
        return expected, actual or repr(error["input"]), named[1].split(".") if named else []
    for start in ("Input should be ", "Value should have ", "String should have ", "List should have "):
        message = message.removeprefix(start)
    return message[:1].lower() + message[1:], repr(error["input"]), []


def _known(model: type[BaseModel] | None, location: Location) -> str:
    parent: type[BaseModel] | None = model
    named = False
    for part in location[:-1]:
        if parent is None or isinstance(part, int) or named:
            # the key of a mapping of models is a name and no field
            named = False
            continue
        field = parent.model_fields.get(part)
        named = field is not None and typing.get_origin(field.annotation) is dict
        parent = next(iter(models_in(field.annotation)), None) if field else None
    if parent is None:
        return ""
    names = [field.alias or name for name, field in parent.model_fields.items()]
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"{close[0]!r}" if close else f"one of {', '.join(names)}"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation may hold, looking through lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (list, tuple, dict, typing.Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in models_in(part)]
    return []


def refuse_unknown(path: Path, model: type[BaseModel], data: Any, line_of: LineOf, at: tuple[str | int, ...] = ()) -> None:
    """Raise DeclarationError for the first key that `model` does not know, at any depth.

    For models of other packages that ignore unknown keys, so that a misspelt rule is told and not dropped.
    """
    if not isinstance(data, Mapping):
        return
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in data.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            expected = repr(close[0]) if close else f"one of {', '.join(fields)}"
            raise mistake(path, line_of((*at, key)), field_name((*at, key)), expected, repr(key))
        for child in models_in(fields[key].annotation)[:1]:
            for index, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
                refuse_unknown(path, child, item, line_of, (*at, key) if index is None else (*at, key, index))
