"""Azure ML's interface as the package azure-ai-ml carries it: paths of its request builders, fields and words of its models.

The package knows one version of the interface, its default; a request of another one is outside the model.
"""

import enum
import importlib
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from orchestrai_tests.clouds.aws_model import OutsideModel

# the generated package alone, under a name of its own: all of azure.ai.ml takes ten seconds of a processor to import
PACKAGE = "azure_machine_learning_rest"
_URL = re.compile(r'_url = "([^"]+)"')
_METHOD = re.compile(r'method="(\w+)"')
# what each operation that writes is given
WRITES = {"jobs_create_or_update": "JobBase", "model_versions_create_or_update": "ModelVersion"}
_QUERY = re.compile(r'_params\["([^"]+)"\]')


class AzureMachineLearning:
    """Which operation a request is, and whether its body is one of the models."""

    def __init__(self) -> None:
        _load()
        self.models = importlib.import_module(f"{PACKAGE}.models._models")
        self.base = importlib.import_module(f"{PACKAGE}._utils.model_base").Model
        operations = importlib.import_module(f"{PACKAGE}.operations._operations")
        configuration = importlib.import_module(f"{PACKAGE}._configuration")
        found = re.search(r'kwargs.pop\("api_version", "([\d-]+)"\)', inspect.getsource(configuration))
        assert found is not None
        self.version = found[1]
        self.routes = []
        for name, builder in inspect.getmembers(operations, inspect.isfunction):
            if name.startswith(("build_jobs_", "build_model_versions_")):
                text = inspect.getsource(builder)
                url, method = _URL.search(text), _METHOD.search(text)
                assert url is not None and method is not None
                pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(url[1])))
                self.routes.append(
                    (method[1], pattern, set(_QUERY.findall(text)), name.removeprefix("build_").removesuffix("_request"))
                )

    def request(self, method: str, url: str, body: Any) -> tuple[str, str]:
        """The operation (`jobs_get`) and the name of the job or version; raises OutsideModel."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        for wanted, pattern, known, name in self.routes:
            match = pattern.fullmatch(parts.path)
            if wanted == method and match is not None:
                if set(query) - known:
                    raise OutsideModel(f"{name} takes no {sorted(set(query) - known)}")
                if query.get("api-version") != self.version:
                    raise OutsideModel(f"{name}: expected api-version {self.version}, found {query.get('api-version')}")
                if name in WRITES:
                    self.check(body, WRITES[name], writing=True)
                elif body not in (None, {}):
                    raise OutsideModel(f"{name} takes no body")
                named = match.groupdict()
                return name, named.get("id") or named.get("version", "")
        raise OutsideModel(f"expected an operation on jobs or versions of models, found {method} {parts.path}")

    def words(self, name: str) -> set[str]:
        """The words of an enumeration."""
        return {one.value for one in getattr(importlib.import_module(f"{PACKAGE}.models"), name)}

    def check(self, value: Any, model: str, *, writing: bool = False) -> None:
        """Raises OutsideModel for what a model does not know."""
        for problem in self._problems(value, getattr(self.models, model), model, writing):
            raise OutsideModel(problem)

    def _problems(self, value: Any, kind: Any, at: str, writing: bool) -> Iterator[str]:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            # an enumeration that may grow is one: of words that the model does not have we send none
            closed = [one for one in arguments if inspect.isclass(one) and issubclass(one, enum.Enum)]
            arguments = tuple(one for one in arguments if not (closed and one is str))
            found = [list(self._problems(value, one, at, writing)) for one in arguments]
            if all(found):
                yield found[0][0]
        elif origin is dict and isinstance(value, dict):
            for key, one in value.items():
                yield from self._problems(one, arguments[1], f"{at}.{key}", writing)
        elif origin is list and isinstance(value, list):
            for place, one in enumerate(value):
                yield from self._problems(one, arguments[0], f"{at}[{place}]", writing)
        elif inspect.isclass(kind) and issubclass(kind, self.base):
            yield from self._members(value, kind, at, writing)
        else:
            yield from _simple(value, kind, at)

    def _members(self, value: Any, kind: Any, at: str, writing: bool) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: expected an object, found {value!r}"
            return
        kind = _narrowed(kind, value)
        fields = dict(_fields(kind))
        for name, one in value.items():
            if name not in fields:
                yield f"{at}: {kind.__name__} has no {name}"
                continue
            annotation, visibility = fields[name]
            if writing and visibility == ["read"]:
                yield f"{at}.{name} cannot be set"
            yield from self._problems(one, annotation, f"{at}.{name}", writing)
        for name, (annotation, visibility) in fields.items():
            needed = type(None) not in typing.get_args(annotation) and visibility != ["read"]
            if needed and name not in value:
                yield f"{at}: {kind.__name__} needs {name}"


def _load() -> None:
    """Import the generated package without its parents; skips the test where it is absent."""
    if PACKAGE in sys.modules:
        return
    parent = importlib.util.find_spec("azure")
    folders = (
        [Path(where) / "ai" / "ml" / "_restclient" / "arm_ml_service" for where in (parent.submodule_search_locations or ())]
        if parent
        else []
    )
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        pytest.skip("azure-ai-ml is not installed")
    models = ModuleType(PACKAGE)
    models.__path__ = [str(folder)]
    sys.modules[PACKAGE] = models


@cache
def azure_machine_learning() -> AzureMachineLearning:
    """The model, read once."""
    return AzureMachineLearning()


def _narrowed(kind: Any, value: Mapping[str, Any]) -> Any:
    """The kind that the discriminator names, however deep."""
    while mapping := kind.__dict__.get("__mapping__"):
        named = next((mapping[str(one)] for one in value.values() if isinstance(one, str) and str(one) in mapping), None)
        if named is None or named is kind:
            return kind
        kind = named
    return kind


@cache
def _fields(kind: Any) -> tuple[tuple[str, tuple[Any, list[str]]], ...]:
    module = importlib.import_module(f"{PACKAGE}.models._models")
    names = {**vars(module), "_models": importlib.import_module(f"{PACKAGE}.models")}
    hints = typing.get_type_hints(kind, globalns=names)
    found: dict[str, tuple[Any, list[str]]] = {}
    for owner in reversed(kind.__mro__):
        for name, field in vars(owner).items():
            if type(field).__name__ == "_RestField":
                wire = field._rest_name_input or name
                found[wire] = (hints[name], list(field._visibility or []))
    return tuple(found.items())


def _simple(value: Any, kind: Any, at: str) -> Iterator[str]:
    if typing.get_origin(kind) is typing.Literal:
        allowed = [getattr(one, "value", one) for one in typing.get_args(kind)]
        if value not in allowed:
            yield f"{at}: expected {allowed[0]}, found {value!r}"
    elif inspect.isclass(kind) and issubclass(kind, enum.Enum):
        if value not in [one.value for one in kind]:
            yield f"{at}: expected one of {', '.join(str(one.value) for one in kind)}, found {value!r}"
    elif kind in (str, int, bool, float) and not isinstance(value, kind):
        yield f"{at}: expected {kind.__name__}, found {value!r}"
    elif kind is type(None) and value is not None:
        yield f"{at}: expected nothing, found {value!r}"
    elif (
        inspect.isclass(kind)
        and kind.__name__ == "timedelta"
        and not re.fullmatch(r"P(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?", str(value))
    ):
        yield f"{at}: expected a duration, found {value!r}"
