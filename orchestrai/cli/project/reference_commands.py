"""`explain` and `schema`: what may be declared, key by key; `plugins`: what other packages add."""

import difflib
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrai.pipeline.reference.declared_keys import DeclaredKey


class Declared(StrEnum):
    """Files that have a schema."""

    pipeline = "pipeline"
    project = "project"


def explain(
    key: Annotated[str, typer.Argument(help="a key, such as timezone, or where it stands, such as datasets.source")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what a key of pipeline.yaml or orchestrai.yaml means: what it takes, its default, an example, and the keys below it.

    Without a key, the first level of both files. Numbers of lists and names may stay: `datasets[0].source.url` is found too.

    Example: orchestrai explain datasets.source.timezone
    """
    from orchestrai.pipeline.reference.declared_keys import declared_keys

    keys = [*declared_keys("pipeline"), *declared_keys("project")]
    asked = _plain(key)
    found = [one for one in keys if _names(one, asked)] if asked else []
    if asked and not found:
        raise ConfigError(f"expected a key of pipeline.yaml or orchestrai.yaml, found {key!r}{_near(asked, keys)}")
    below = [one for one in keys if _parent(one) in {_plain(each.path) for each in found}] if asked else _top(keys)
    if as_json:
        emit({"found": [one.as_json() for one in found], "below": [one.as_json() for one in below]})
        return
    for said in dict.fromkeys((one.block, one.name) for one in found):
        _tell([one for one in found if (one.block, one.name) == said])
    if below:
        rows = {
            (one.block, one.name): (escape(one.name), escape(one.says), escape(one.form), escape(one.default))
            for one in below
        }
        table("Keys below it" if asked else "Keys", ("key", "says", "takes", "default"), list(rows.values()))


def _names(key: "DeclaredKey", asked: str) -> bool:
    """Whether a key is what was asked for: its whole path, or the end of it."""
    return f".{_plain(key.path)}".endswith(f".{asked}")


def _plain(path: str) -> str:
    """A path without the marks and numbers of lists and the marks of names."""
    from re import sub

    return sub(r"\[\d*\]|\{\}", "", path.strip())


def _parent(key: "DeclaredKey") -> str:
    return _plain(key.path).rpartition(".")[0]


def _top(keys: "Sequence[DeclaredKey]") -> "list[DeclaredKey]":
    return [one for one in keys if not _parent(one)]


def _near(asked: str, keys: "Sequence[DeclaredKey]") -> str:
    names = sorted({one.name for one in keys} | {_plain(one.path) for one in keys})
    close = difflib.get_close_matches(asked, names, 3) or difflib.get_close_matches(asked.rpartition(".")[2], names, 3)
    return f": did you mean {' or '.join(close)}?" if close else ": `orchestrai explain` lists the first level"


def _tell(alike: "Sequence[DeclaredKey]") -> None:
    """One key that stands in one or several places."""
    from orchestrai.pipeline.reference.reference_page import written

    one = alike[0]
    for place in alike:
        out.print(f"[bold]{escape(place.path)}[/bold]", soft_wrap=True)
    lines = [one.says, f"takes: {one.form}" + ("; required" if one.required else "")]
    lines += [f"default: {one.default}"] if one.default else []
    lines += [f"example: {one.name}: {written(one.example)}"] if one.example is not None else []
    for line in lines:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def schema(
    of: Annotated[
        Declared, typer.Argument(help="pipeline (pipeline.yaml) or project (orchestrai.yaml)")
    ] = Declared.pipeline,
) -> None:
    """Print the JSON Schema of a file, for editors that complete its keys; generated from what `check` reads by.

    Example: orchestrai schema project
    """
    from orchestrai.pipeline.reference.declared_schema import declared_schema

    emit(declared_schema(of.value))


def plugins(as_json: AsJson = False) -> None:
    """List what installed packages add: stores, sources, engines, notifiers, estimators, each with its package and version.

    Nothing of them is loaded. Example: orchestrai plugins --json
    """
    from orchestrai.core.plugins import installed

    found = installed()
    if as_json:
        emit({"plugins": [asdict(one) for one in found]})
        return
    if not found:
        out.print("no installed package adds anything to orchestrai")
        return
    rows = [(one.kind, escape(one.name), escape(one.origin), escape(one.target)) for one in found]
    table("Plug-ins", ("kind", "name", "package", "code"), rows)
