"""Who made it: a stage, and a digest over the sources that decide what it makes.

The rule. What counts are the module that does a stage's work and every module of `orchestrai` that it imports, directly or through
others, at the top or inside a function, with the packages they lie in. Left out is what moves, names, shows or guards bytes and
cannot decide which bytes or verdicts come out: errors, settings, secrets, storage, observability, the command line, Dagster's side,
the demo, and of the ledger all but its manifests. A change there must not make a house of good data stale. What is
imported for types alone (`if TYPE_CHECKING`) counts no more than a comment.

The digest is over syntax trees without docstrings and positions, so that comments and formatting change nothing. Other libraries are
not in it. Sources are read once per process; what a source comes to is remembered by the digest of its bytes, where Python keeps its
compiled files, so that a process need not parse some sixty modules to name one stage.
"""

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import cache_from_source, resolve_name
from pathlib import Path

ROOT = "orchestrai"
# rooms that decide no byte and no verdict; a new room counts until it is named here
PLUMBING = tuple(
    f"{ROOT}.{room}"
    for room in (
        "errors", "settings", "secrets", "storage", "observability", "cli", "defs", "definitions", "demo", "pipelines", "ledger",
    )
)  # fmt: skip
DECIDING = (f"{ROOT}.ledger.manifest",)
DIGITS = 16
REMEMBERED = 4096


@dataclass(frozen=True)
class Producer:
    """A stage and the module that does its work; `also` are modules that another room hands to it, such as an engine."""

    stage: str
    module: str
    also: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """`<stage>:<16 hex digits>`, the same as long as the sources that decide are."""
        return f"{self.stage}:{identity((self.module, *self.also))}"


@dataclass(frozen=True)
class Source:
    """What one source comes to: the digest of its tree, and the names that it imports."""

    digest: str
    imports: tuple[str, ...]


@cache
def identity(modules: tuple[str, ...]) -> str:
    """The digest over some modules and everything they import that counts; raises ValueError for a module that is not there."""
    reached = _reached(modules)
    absent = sorted(set(modules) - set(reached))
    if absent:
        raise ValueError(
            f"expected a module of {ROOT} that counts, found none named {absent[0]}: name where the work is done"
        )
    lines = [f"{module} {source.digest}" for module, source in sorted(reached.items())]
    _memory().save()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGITS]


def modules_of(producer: Producer) -> list[str]:
    """The modules whose sources a producer's identity covers, sorted."""
    return sorted(_reached((producer.module, *producer.also)))


def read_source(module: str) -> bytes | None:
    """The source of a module or package of orchestrai; None for a name that is neither."""
    path = _file_of(module)
    return path.read_bytes() if path is not None else None


@cache
def _file_of(module: str) -> Path | None:
    above, _, name = module.rpartition(".")
    folder = Path(__file__).parents[1]
    if above:
        package = _file_of(above)
        if package is None or package.name != "__init__.py":
            return None  # a name that is defined in the module before the dot
        folder = package.parent / name
    file = folder.with_suffix(".py")
    return next((path for path in (file, folder / "__init__.py") if path.is_file()), None)


def _reached(modules: Sequence[str]) -> dict[str, Source]:
    reached: dict[str, Source] = {}
    ahead, seen = list(modules), set[str]()
    while ahead:
        module = ahead.pop()
        if module in seen:
            continue
        seen.add(module)
        source = _source_of(module) if _counts(module) else None
        if source is None:
            continue
        reached[module] = source
        package = module.rpartition(".")[0]
        ahead += [resolve_name(name, package) if name[0] == "." else name for name in source.imports]
        if package:
            ahead.append(package)
    return reached


@cache
def _source_of(module: str) -> Source | None:
    text = read_source(module)
    return None if text is None else _memory().source(text)


def _counts(module: str) -> bool:
    return module in DECIDING or not any(module == room or module.startswith(f"{room}.") for room in PLUMBING)


def analyse(text: bytes) -> Source:
    """A source's tree as a digest, and what it imports of orchestrai."""
    words: list[str] = []
    imports: set[str] = set()
    _spell(ast.parse(text), words, imports)
    return Source(hashlib.sha256("\n".join(words).encode()).hexdigest(), tuple(sorted(imports)))


_IGNORED = frozenset({"ctx", "type_comment", "kind", "type_ignores", "lineno", "col_offset"})
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _spell(node: ast.AST, words: list[str], imports: set[str]) -> None:
    """The tree as words; what is empty is left out, since each Python adds fields of its own."""
    if isinstance(node, ast.If) and _for_types_alone(node.test):
        for statement in node.orelse:
            _spell(statement, words, imports)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports.update(_imported(node))
    words.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _IGNORED or value is None or value == []:
            continue
        words.append(f".{name}")
        if isinstance(value, list):
            documented = name == "body" and isinstance(node, _DOCUMENTED) and _is_text(value[0])
            for part in value[1:] if documented else value:
                _spell(part, words, imports) if isinstance(part, ast.AST) else words.append(repr(part))
            words.append(";")
        elif isinstance(value, ast.AST):
            _spell(value, words, imports)
        else:
            words.append(repr(value))


def _for_types_alone(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Modules that may be meant: `from a import b` names `a`, and `a.b` where that is a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == ROOT)
        return
    base = "." * node.level + (node.module or "")
    if node.level or base.split(".")[0] == ROOT:
        dot = "" if base.endswith(".") else "."
        yield base
        yield from (f"{base}{dot}{alias.name}" for alias in node.names)


class _Memory:
    """What sources come to, by the digest of their bytes; lost or unwritable, it is worked out again.

    It is written also where Python is told to write no compiled files: without it each process parses for up to 0.2 s a stage.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rule = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        self.known = self._load()
        self.fresh = False

    def source(self, text: bytes) -> Source:
        key = hashlib.sha256(text).hexdigest()
        if key not in self.known:
            self.known[key] = analyse(text)
            self.fresh = True
        return self.known[key]

    def save(self) -> None:
        if not self.fresh:
            return
        self.fresh = False
        newest = dict(list((self._load() | self.known).items())[-REMEMBERED:])
        body = {"rule": self.rule, "sources": {key: [one.digest, *one.imports] for key, one in newest.items()}}
        try:
            self.path.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as sink:
                json.dump(body, sink)
                # as readable as the compiled files beside it: another user runs what an image was built with
                os.fchmod(sink.fileno(), 0o644)
            os.replace(sink.name, self.path)
        except OSError:
            return  # a package that nobody may write to: each process parses for itself

    def _load(self) -> dict[str, Source]:
        try:
            body = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(body, Mapping) or body.get("rule") != self.rule:
            return {}
        return {key: Source(digest, tuple(imports)) for key, (digest, *imports) in body["sources"].items()}


@cache
def _memory() -> _Memory:
    return _Memory(Path(cache_from_source(__file__)).with_suffix(".json"))
