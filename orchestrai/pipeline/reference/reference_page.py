"""docs/declarations.md, written from the models: a table of keys for each block."""

import json
import re
from collections.abc import Iterator
from typing import Any

from orchestrai.pipeline.reference.declared_keys import DeclaredKey, declared_keys
from orchestrai.pipeline.reference.declared_schema import Declared

PAGE = "docs/declarations.md"
_HEAD = """# Keys of the files

Every key of `pipeline.yaml` and `orchestrai.yaml`, as `orchestrai check` reads it. This page is written from the models by
`python docs/write_declarations.py`. In a terminal, `orchestrai explain datasets.source` or `orchestrai explain timezone` says the
same. An editor that knows YAML completes the keys: `orchestrai init` writes the line that names the schema, and `orchestrai schema`
prints it.

A **length of time** is a number and a unit: `30s`, `15m`, `26h`, `3d`, `2w`. **Cron** has five fields, in UTC, or is `@daily` and the
like. Any value may be a variable, `${NAME}` or `${NAME:-otherwise}`. A **secret reference** says where a secret lies: `env://NAME`,
`file:///PATH` and those of [secret stores](keys.md). A list of one may be written as its one value. Bold keys are required.

The contract is a file of the Open Data Contract Standard: [gates](gates.md) says what is read from it.
"""
_TITLES: dict[Declared, str] = {"pipeline": "pipeline.yaml", "project": "orchestrai.yaml"}


def reference_page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for of, title in _TITLES.items():
        keys = declared_keys(of)
        parts.append(f"\n## {title}\n")
        parts.extend(_block(name, keys) for name in dict.fromkeys(key.block for key in keys))
    return "".join(parts)


def _block(name: str, keys: tuple[DeclaredKey, ...]) -> str:
    """The table of one block; what it is called is where it stands."""
    places = dict.fromkeys(key.path.rpartition(".")[0] for key in keys if key.block == name)
    first = next(iter(places))
    rows = [key for key in keys if key.block == name and key.path.rpartition(".")[0] == first]
    shown = [f"`{_plain(place)}`" for place in places]
    head = f"\n### {', '.join(shown)}\n" if first else ""
    table = "\n| Key | What it says | Takes | Default | Example |\n|---|---|---|---|---|\n"
    return head + table + "".join(_rows(rows))


def _rows(keys: list[DeclaredKey]) -> Iterator[str]:
    for key in keys:
        name = f"**`{key.name}`**" if key.required else f"`{key.name}`"
        default = f"`{_cell(key.default)}`" if key.default else ""
        example = "" if key.example is None else f"`{_cell(written(key.example))}`"
        cells = (name, _cell(key.says), _cell(key.form), default, example)
        yield f"| {' | '.join(cells)} |\n"


def written(value: Any) -> str:
    """A value as it stands in YAML, on one line."""
    if (
        isinstance(value, str)
        and value
        and not any(mark in value for mark in "#,[]{}\"'\\&*!|>%@`")
        and value.strip() == value
    ):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _plain(place: str) -> str:
    return place.replace("[]", "").replace("{}", ".NAME")


def _cell(text: str) -> str:
    """Text in a cell: a bar in it ends no cell."""
    return re.sub(r"([|])", r"\\\1", text)
