"""One pipeline.yaml as it was read: the declaration when all of it is sound, else its sound parts, and every mistake.

A part that is sound is looked at further although another is not, so that all is told at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrai.backup.subjects import HOUSE
from orchestrai.core.yaml.declaration import Location, explain_all, load_yaml
from orchestrai.core.yaml.variables import expand
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.pipeline.check.mistake import Mistakes
from orchestrai.pipeline.declarations import (
    AnyDataset,
    DatasetRef,
    DatasetSpec,
    PipelineModelSpec,
    PipelineSpec,
    PipelineViewSpec,
)
from orchestrai.secrets.url_credentials import refuse_credentials, withheld
from orchestrai.warehouse.spec import LoadSpec
from orchestrai.warehouse.tables.share_spec import ShareSpec

Part = TypeVar("Part")
# a declared part and where it lies in the file
Placed = list[tuple[Location, Part]]
LISTS = ("datasets", "features", "models", "load", "share", "databases", "managed_backups", "pulled_vaults")


@dataclass
class PipelineFile:
    """`spec` is None where the file has a mistake of its own; the lists then hold the parts that have none."""

    folder: Path
    name: str
    mistakes: Mistakes
    spec: PipelineSpec | None = None
    datasets: Placed[DatasetSpec | DatasetRef] = field(default_factory=list)
    views: Placed[PipelineViewSpec] = field(default_factory=list)
    models: Placed[PipelineModelSpec] = field(default_factory=list)
    loads: Placed[LoadSpec] = field(default_factory=list)
    shares: Placed[ShareSpec] = field(default_factory=list)
    # every name that is given, sound or not
    names: Placed[str] = field(default_factory=list)
    # former name -> the name that it has now
    renamed: dict[str, str] = field(default_factory=dict)
    # the names of parts that are not sound: what refers to them is no mistake of its own
    unsound: frozenset[str] = frozenset()

    def missing(self, name: str) -> str:
        """What was found where a name is given that nothing has, with what it is called now."""
        new = self.renamed.get(name.split("/")[-1])
        return f"{name!r}, which is called {new} now" if new else repr(name)


def read_pipeline(folder: Path, environment: Mapping[str, str]) -> PipelineFile:
    """Read `folder`/pipeline.yaml; mistakes are in the result."""
    path = folder / "pipeline.yaml"
    mistakes = Mistakes(path)
    read = PipelineFile(folder, folder.name, mistakes)
    try:
        document, mistakes.line_of = load_yaml(path)
    except DeclarationError as exc:
        mistakes.take(exc, ())
        return read
    if not isinstance(document, dict):
        shown = "an empty file" if document is None else f"a {type(document).__name__}"
        mistakes.wrong((), "a mapping with pipeline and datasets", shown)
        return read
    document = _filled(document, environment, (), mistakes)
    if isinstance(document.get("pipeline"), str) and document["pipeline"]:
        read.name = document["pipeline"]
    try:
        read.spec = PipelineSpec.model_validate(document)
    except ValidationError as exc:
        for error in explain_all(path, exc, mistakes.line_of, model=PipelineSpec):
            mistakes.take(error, ())
    former = list(_former(document))
    read.names = [(at, name) for at, name in _named(document) if at[-1] == "name"] + [(at, old) for at, old, _ in former]
    read.renamed = {old: new for _, old, new in former}
    _take_parts(read, document)
    _check_names(read, document)
    if mistakes.all:
        read.spec = None
    return read


def _filled(value: Any, environment: Mapping[str, str], at: Location, mistakes: Mistakes) -> Any:
    """The document with its variables filled in; one that is not set, or a URL with a credential, is a mistake where it stands."""
    if isinstance(value, dict):
        return {key: _filled(item, environment, (*at, key), mistakes) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment, (*at, index), mistakes) for index, item in enumerate(value)]
    try:
        value = expand(value, environment)
    except ConfigError as exc:
        mistakes.take(exc, at)
        return value
    try:
        return refuse_credentials(value) if isinstance(value, str) else value
    except ConfigError as exc:
        mistakes.take(exc, at)
        # what is said of the field after this quotes it
        return withheld(value)


def _take_parts(read: PipelineFile, document: Mapping[str, Any]) -> None:
    unsound: set[str] = set()
    read.datasets = list(_sound(TypeAdapter(AnyDataset), document, "datasets", unsound))
    read.views = list(_sound(TypeAdapter(PipelineViewSpec), document, "features", unsound))
    read.models = list(_sound(TypeAdapter(PipelineModelSpec), document, "models", unsound))
    read.loads = list(_sound(TypeAdapter(LoadSpec), document, "load", unsound))
    read.shares = list(_sound(TypeAdapter(ShareSpec), document, "share", unsound))
    read.unsound = frozenset(unsound)


def _sound(adapter: TypeAdapter[Any], document: Mapping[str, Any], name: str, unsound: set[str]) -> Iterator[Any]:
    for index, item in enumerate(_items(document, name)):
        try:
            yield (name, index), adapter.validate_python(item)
        except ValidationError:
            if isinstance(item, dict):
                unsound.add(str(item.get("name", item.get("ref", ""))).split("/")[-1])


def _items(document: Mapping[str, Any], name: str) -> Sequence[Any]:
    items = document.get(name)
    return items if isinstance(items, list) else ()


def _named(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Every name that the pipeline gives or borrows, in the order of the file's parts."""
    for part in LISTS:
        for index, item in enumerate(_items(document, part)):
            key = "ref" if isinstance(item, dict) and "ref" in item else "name"
            if isinstance(item, dict) and isinstance(item.get(key), str):
                yield (part, index, key), item[key].split("/")[-1]


def _check_names(read: PipelineFile, document: Mapping[str, Any]) -> None:
    """Names are given once, and what is referred to within the file is there."""
    wrong = read.mistakes.wrong
    if read.name == HOUSE:
        wrong(("pipeline",), "another name", f"{HOUSE!r}, which is the group of what keeps the house")
    seen: set[str] = set()
    for at, name in _named(document):
        if name in seen:
            wrong(at, "distinct names", f"{name} more than once")
        seen.add(name)
    _check_former(read, document)
    views = _names(document, "features")
    for at, model in read.models:
        for number, name in enumerate(model.features):
            if name not in views:
                wrong((*at, "features", number), f"one of {', '.join(views) or '(none)'}", read.missing(name))
    own = [part.name for _, part in read.datasets if isinstance(part, DatasetSpec)]
    triggers = sorted({*own, *_names(document, "models"), *read.unsound})
    for index, item in enumerate(_items(document, "managed_backups")):
        after = item.get("after") if isinstance(item, dict) else None
        if isinstance(after, str) and after not in triggers:
            wrong(("managed_backups", index, "after"), f"one of {', '.join(triggers)}", read.missing(after))


def _former(document: Mapping[str, Any]) -> Iterator[tuple[Location, str, str]]:
    """Every former name with the one that its owner has now."""
    for part in LISTS:
        for index, item in enumerate(_items(document, part)):
            former = item.get("renamed_from") if isinstance(item, dict) else None
            listed = former if isinstance(former, list) else [former]
            for number, old in enumerate(listed):
                if isinstance(old, str):
                    at = (part, index, "renamed_from", number) if isinstance(former, list) else (part, index, "renamed_from")
                    yield at, old, str(item.get("name", ""))


def _check_former(read: PipelineFile, document: Mapping[str, Any]) -> None:
    """A former name has one successor, and nothing is called so any more: what was kept under it is the successor's."""
    owners: dict[str, str] = {}
    names = {name for at, name in _named(document) if at[-1] == "name"}
    for at, old, new in _former(document):
        if old == new:
            read.mistakes.wrong(at, f"a name that {new} had before", "its own")
        elif old in names:
            read.mistakes.wrong(at, "a name that nothing has any more", f"{old}, which is still declared")
        elif old in owners:
            other = f"{owners[old]} too" if owners[old] != new else "the list twice"
            read.mistakes.wrong(at, f"one successor of {old}, named once", f"it in {other}")
        owners.setdefault(old, new)


def _names(document: Mapping[str, Any], part: str) -> list[str]:
    items: Iterable[Any] = _items(document, part)
    return [str(item["name"]) for item in items if isinstance(item, dict) and "name" in item]
