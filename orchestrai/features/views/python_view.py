"""Feature functions in Python: declared beside SQL views, loaded without running them, run on this machine only.

The module is one file of the pipeline's folder whose text is part of the view's version. It is read as text until a run needs it.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from orchestrai.errors import FeatureViewError
from orchestrai.features.views.portable_types import from_spark

_OUTSIDE = {
    "asyncio", "builtins", "ctypes", "ftplib", "glob", "http", "importlib", "io", "multiprocessing", "os", "pathlib", "random",
    "requests", "secrets", "shutil", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
_CALLS = {"open", "eval", "exec", "compile", "input", "__import__", "globals", "id", "hash"}


@dataclass(frozen=True)
class PythonFunction:
    """A function over tables: `path:name`, its module's text, and whether it takes Arrow or pandas tables."""

    path: Path
    name: str
    text: str
    over: Literal["arrow", "pandas"]

    def load(self) -> Callable[..., Any]:
        """The function; runs the module. Raises FeatureViewError where the file is no longer the one that was loaded."""
        if self.path.read_text(encoding="utf-8") != self.text:
            raise FeatureViewError(f"expected {self.path.name} as it was loaded, found it changed: start the run again")
        name = f"orchestrai_features_{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        function: Callable[..., Any] = getattr(module, self.name)
        return function


def find_function(
    declared: str, folder: Path, view: str, tables: tuple[str, ...], over: Literal["arrow", "pandas"]
) -> PythonFunction:
    """Find `module:function` in a pipeline's folder and judge its text; raises FeatureViewError, one line."""
    module, _, name = declared.partition(":")
    if not module.isidentifier() or not name.isidentifier():
        raise FeatureViewError(f"{view}: expected python: module:function, found {declared!r}")
    path = (folder / f"{module}.py").resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise FeatureViewError(
            f"{view}: expected {module}.py in the pipeline's folder {folder.name}/, found none: create it"
        )
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as exc:
        raise FeatureViewError(f"{path.name}:{exc.lineno}: expected Python, found {exc.msg}") from exc
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if not functions:
        raise FeatureViewError(f"{path.name}:1: expected a function {name}, found none")
    given = [argument.arg for argument in (*functions[0].args.args, *functions[0].args.kwonlyargs)]
    if sorted(given) != sorted(tables):
        raise FeatureViewError(
            f"{path.name}:{functions[0].lineno}: expected {name}({', '.join(tables)}), found {name}({', '.join(given)})"
        )
    _check_purity(tree, path, folder)
    return PythonFunction(path, name, text, over)


def output_schema(outputs: Mapping[str, str], view: str) -> pa.Schema:
    """The declared output columns; raises FeatureViewError."""
    fields = []
    for name, kind in outputs.items():
        arrow_type = from_spark(kind)
        if arrow_type is None:
            raise FeatureViewError(f"{view}: expected a type such as BIGINT, DOUBLE or STRING for {name}, found {kind!r}")
        fields.append(pa.field(name, arrow_type))
    return pa.schema(fields)


def _check_purity(tree: ast.Module, path: Path, folder: Path) -> None:
    """Refuse what reads anything but the tables given: the same rows must give the same features."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or ".").split(".")[0] if not node.level else "."]
        for name in names:
            if name in _OUTSIDE:
                raise FeatureViewError(
                    f"{path.name}:{node.lineno}: expected a function of its tables alone, found import {name}: "  # type: ignore[attr-defined]
                    "take what it needs from a dataset"
                )
            if name == "." or (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists():
                raise FeatureViewError(
                    f"{path.name}:{node.lineno}: expected one file, found import {name} from the folder: "  # type: ignore[attr-defined]
                    "its text would not be part of the version"
                )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            raise FeatureViewError(
                f"{path.name}:{node.lineno}: expected a function of its tables alone, found {node.func.id}(): "
                "its result is not decided by the tables"
            )
