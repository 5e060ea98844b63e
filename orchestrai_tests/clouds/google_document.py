"""Google's discovery documents: which method a request is, and whether query, body and answer are what it says."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from orchestrai_tests.clouds.aws_model import OutsideModel

KINDS: Mapping[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "any": object,
}  # fmt: skip
# how JSON writes what is no JSON
FORMATS = {
    "google-duration": r"-?\d+(\.\d{1,9})?s",
    "google-datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)",
    "int64": r"-?\d+",
    "uint64": r"\d+",
}


@dataclass(frozen=True)
class Call:
    """A request of a method: what the path and the query give, and the body."""

    method: Mapping[str, Any]
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    url: str

    @property
    def verb(self) -> str:
        """The method's own name: create, get, list, delete, cancel."""
        return str(self.method["id"]).rpartition(".")[2]


class GoogleDocument:
    """One discovery document (`aiplatform.v1`), as the package google-api-python-client carries it."""

    def __init__(self, name: str) -> None:
        folder = Path(str(pytest.importorskip("googleapiclient.discovery_cache").__file__)).parent / "documents"
        self.document: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        self.schemas: dict[str, Any] = self.document["schemas"]
        self.common = set(self.document["parameters"])
        service = self.document["servicePath"]
        self._routes = [
            # older documents have no flat paths, and their names may hold a colon
            (
                m["httpMethod"],
                _pattern(m["flatPath"], "[^/:]+") if "flatPath" in m else _pattern(service + m["path"], "[^/]+"),
                m,
            )
            for m in _methods(self.document)
        ]

    def request(self, verb: str, url: str, body: Any) -> Call:
        """The method that is asked; raises OutsideModel."""
        parts = urlsplit(url)
        for wanted, pattern, method in self._routes:
            match = pattern.fullmatch(parts.path.lstrip("/"))
            if wanted == verb and match is not None:
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                self._check_query(method, query)
                reference = method.get("request", {}).get("$ref")
                if body is not None and reference is None and body != {}:
                    raise OutsideModel(f"{method['id']} takes no body, found {sorted(body)}")
                if reference is not None:
                    self.check(body or {}, reference, f"request of {method['id']}", writing=True)
                return Call(
                    method, {k: unquote(v) for k, v in match.groupdict().items()}, query, body, parts.path.lstrip("/")
                )
        raise OutsideModel(f"expected a method of {self.document['id']}, found {verb} {parts.path}")

    def answer(self, call: Call, answer: Any) -> Any:
        """The answer, when it is what the method gives."""
        if "response" not in call.method:
            return answer
        self.check(answer, call.method["response"]["$ref"], f"answer of {call.method['id']}", writing=False)
        return answer

    def _check_query(self, method: Mapping[str, Any], query: Mapping[str, str]) -> None:
        known = {name: one for name, one in method["parameters"].items() if one["location"] == "query"}
        unknown = sorted(set(query) - set(known) - self.common)
        if unknown:
            raise OutsideModel(f"{method['id']} takes no {', '.join(unknown)} in its query")
        for name in set(query) & set(known):
            value: Any = query[name]
            if known[name]["type"] in ("integer", "boolean"):
                # the client library of storage writes True
                value = json.loads(value.lower())
            for problem in _simple(value, known[name], name):
                raise OutsideModel(f"{method['id']}: {problem}")
        named = filter_names(known.get("filter", {}).get("description", ""))
        for field in filter_fields(query.get("filter", "")):
            if field not in named:
                raise OutsideModel(f"{method['id']} filters by {', '.join(sorted(named))}, found {field}")

    def check(self, value: Any, schema: str, what: str, *, writing: bool) -> None:
        """Raises OutsideModel for whatever the schema does not know; what is read only may not be sent."""
        for problem in self._problems(value, {"$ref": schema}, what, writing):
            raise OutsideModel(problem)

    def _problems(self, value: Any, schema: Mapping[str, Any], at: str, writing: bool) -> Iterator[str]:
        if "$ref" in schema:
            schema = {"type": "object", **self.schemas[schema["$ref"]]}
        if writing and schema.get("readOnly"):
            yield f"{at} cannot be set"
        wrong = list(_simple(value, schema, at))
        yield from wrong
        if wrong:
            return
        if schema.get("type") == "array":
            for place, one in enumerate(value):
                yield from self._problems(one, schema["items"], f"{at}[{place}]", writing)
        elif schema.get("type") == "object":
            yield from self._members(value, schema, at, writing)

    def _members(self, value: Mapping[str, Any], schema: Mapping[str, Any], at: str, writing: bool) -> Iterator[str]:
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name, one in value.items():
            if name in properties:
                member = properties[name]
                if writing and member.get("readOnly"):
                    yield f"{at}.{name} cannot be set"
                yield from self._problems(one, member, f"{at}.{name}", writing)
            elif rest is not None:
                yield from self._problems(one, rest, f"{at}.{name}", writing)
            else:
                yield f"{at} has no {name}"


@cache
def google_document(name: str) -> GoogleDocument:
    """A document, read once."""
    return GoogleDocument(name)


def filter_names(description: str) -> set[str]:
    """The fields that a filter takes, as the description of the parameter lists them."""
    supported = description.partition("upported fields")[2]
    return set(re.findall(r"\* `?([a-z_.]+)`?", supported.partition("Some examples")[0].partition(" e.g. ")[0]))


def filter_fields(text: str) -> list[str]:
    """The fields that a filter names."""
    unquoted = re.sub(r'"(\\.|[^"])*"', '""', text)
    return [name.partition(".")[0] for name in re.findall(r"([A-Za-z_][\w.]*)\s*(?:!=|<=|>=|=|<|>|:)", unquoted)]


def _simple(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    kind = KINDS[schema.get("type", "any")]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, (int, float))):
        yield f"{at}: expected {schema.get('type')}, found {value!r}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: expected one of {', '.join(schema['enum'])}, found {value!r}"
    elif isinstance(value, str) and schema.get("format") in FORMATS and not re.fullmatch(FORMATS[schema["format"]], value):
        yield f"{at}: expected a {schema['format']}, found {value!r}"
    elif isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: expected {schema['pattern']}, found {value!r}"


def _methods(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from _methods(child)


def _pattern(path: str, value: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{value})", re.escape(path)))
