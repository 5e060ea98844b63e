"""botocore's model of a service: which operation a request is, and whether request and answer are what it says.

Checked beside what botocore itself checks before it sends: members that the model does not know, words outside an enumeration,
patterns and greatest lengths. Only the model of the service that is asked is read, once a process.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Given = dict[str, Any]


class OutsideModel(AssertionError):
    """A request or an answer that the published model does not know."""


class AwsModel:
    """The model of one service, of the protocols json and rest-json."""

    def __init__(self, service: str) -> None:
        import botocore.session
        from botocore.validate import ParamValidator

        session = botocore.session.get_session()
        self.service = service
        self.model = session.get_service_model(service)
        self.signed_for = str(self.model.signing_name)
        self.pages: Mapping[str, Any] = session.get_component("data_loader").load_service_model(service, "paginators-1")[
            "pagination"
        ]
        self._validator = ParamValidator()
        self._routes: list[tuple[str, re.Pattern[str], str]] = []
        if self.protocol == "rest-json":
            for name in self.model.operation_names:
                http = self.model.operation_model(name).http
                path = re.escape(http["requestUri"].split("?")[0])
                pattern = re.sub(r"\\\{(\w+)\\\+?\\?\}", r"(?P<\1>[^/]+)", path)
                self._routes.append((http["method"], re.compile(f"{pattern}/?"), name))

    @property
    def protocol(self) -> str:
        """How requests are written."""
        return str(self.model.metadata["protocol"])

    def operation(self, name: str) -> Any:
        """The model of an operation."""
        return self.model.operation_model(name)

    def request(self, method: str, url: str, target: str, body: bytes) -> tuple[Any, Given]:
        """The operation and its parameters; raises OutsideModel."""
        if self.protocol == "json":
            given: Given = json.loads(body) if body else {}
            prefix, _, name = target.rpartition(".")
            if prefix != self.model.metadata["targetPrefix"] or name not in self.model.operation_names:
                raise OutsideModel(f"{self.service} has no operation {target}")
            operation = self.operation(name)
        else:
            operation, given = self._routed(method, url, body)
        given = decoded(given, operation.input_shape)
        self.check(given, operation.input_shape, f"request of {operation.name}")
        return operation, given

    def _routed(self, method: str, url: str, body: bytes) -> tuple[Any, Given]:
        parts = urlsplit(url)
        matches = [
            (name, match)
            for verb, pattern, name in self._routes
            if verb == method and (match := pattern.fullmatch(parts.path)) is not None
        ]
        if not matches:
            raise OutsideModel(f"{self.service} has no operation {method} {parts.path}")
        # a path without parameters is meant where one with a parameter fits too
        name, match = min(matches, key=lambda found: len(found[1].groupdict()))
        operation, query = self.operation(name), parse_qs(parts.query, keep_blank_values=True)
        whole = raw_member(operation.input_shape)
        given: Given = {whole: body} if whole else json.loads(body) if body else {}
        known = set()
        for member, shape in operation.input_shape.members.items():
            wire = shape.serialization.get("name", member)
            if shape.serialization.get("location") == "uri":
                given[member] = unquote(match[wire])
            elif shape.serialization.get("location") == "querystring":
                known.add(wire)
                if wire in query:
                    values = [_typed(text, shape.member if shape.type_name == "list" else shape) for text in query[wire]]
                    given[member] = values if shape.type_name == "list" else values[0]
        if set(query) - known:
            raise OutsideModel(f"{name} takes no {sorted(set(query) - known)} in its query")
        return operation, given

    def check(self, value: Given, shape: Any, what: str) -> None:
        """Raises OutsideModel for whatever the model does not say."""
        if shape is None:
            problems = [f"no members, found {sorted(value)}"] if value else []
        else:
            report = self._validator.validate(value, shape)
            problems = [report.generate_report()] if report.has_errors() else list(_problems(value, shape, ""))
        if problems:
            raise OutsideModel(f"{what}: expected {'; '.join(problems)}")


@cache
def aws_model(service: str) -> AwsModel:
    """The model of a service, read once."""
    return AwsModel(service)


def raw_member(shape: Any) -> str:
    """The member whose bytes are the whole body, such as what a function is given; nothing where the members are its fields."""
    name = str(shape.serialization.get("payload", "")) if shape is not None else ""
    return name if name and shape.members[name].type_name == "blob" else ""


def encoded(value: Any, shape: Any) -> Any:
    """An answer as JSON has it: names on the wire, moments as seconds, bytes in base64."""
    if value is None or shape is None:
        return value
    if shape.type_name == "structure":
        return {shape.members[k].serialization.get("name", k): encoded(v, shape.members[k]) for k, v in value.items()}
    if shape.type_name == "list":
        return [encoded(one, shape.member) for one in value]
    if shape.type_name == "map":
        return {key: encoded(one, shape.value) for key, one in value.items()}
    if isinstance(value, datetime):
        return (
            value.astimezone(UTC).isoformat()
            if shape.serialization.get("timestampFormat") == "iso8601"
            else value.timestamp()
        )
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def decoded(value: Any, shape: Any) -> Any:
    """Parameters as the model names them; a name that it does not know stays as it is."""
    if shape is None or value is None:
        return value
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        return {
            names.get(key, key): decoded(one, shape.members[names[key]]) if key in names else one
            for key, one in value.items()
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [decoded(one, shape.member) for one in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: decoded(one, shape.value) for key, one in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if shape.type_name == "blob" and isinstance(value, str):
        # of a member; what is the whole body is bytes already
        return base64.b64decode(value)
    return value


def _typed(text: str, shape: Any) -> Any:
    if shape.type_name in ("integer", "long"):
        return int(text)
    return text == "true" if shape.type_name == "boolean" else text


def _problems(value: Any, shape: Any, at: str) -> Iterator[str]:
    """What botocore lets through: unknown members, enumerations, patterns and greatest sizes."""
    checks: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
        "structure": _structure, "list": _list, "map": _map, "string": _string, "integer": _number, "long": _number,
    }  # fmt: skip
    if shape.type_name in checks:
        yield from checks[shape.type_name](value, shape, at)


def _structure(value: Given, shape: Any, at: str) -> Iterator[str]:
    unknown = sorted(set(value) - set(shape.members))
    if unknown:
        yield f"no {', '.join(unknown)} in {at or 'it'}"
    for name in set(value) & set(shape.members):
        yield from _problems(value[name], shape.members[name], f"{at}.{name}".strip("."))


def _list(value: list[Any], shape: Any, at: str) -> Iterator[str]:
    yield from _too_long(value, shape, at)
    for place, one in enumerate(value):
        yield from _problems(one, shape.member, f"{at}[{place}]")


def _map(value: Given, shape: Any, at: str) -> Iterator[str]:
    yield from _too_long(value, shape, at)
    for key, one in value.items():
        yield from _problems(key, shape.key, f"{at} key")
        yield from _problems(one, shape.value, f"{at}.{key}")


def _string(value: Any, shape: Any, at: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{at} to be one of {', '.join(shape.enum)}, found {value!r}"
    yield from _too_long(value, shape, at)
    pattern = shape.metadata.get("pattern")
    if pattern and not _matches(pattern, value):
        yield f"{at} to match {pattern}, found {value!r}"


def _number(value: Any, shape: Any, at: str) -> Iterator[str]:
    if value > shape.metadata.get("max", value):
        yield f"{at} of at most {shape.metadata['max']}, found {value}"


def _too_long(value: Any, shape: Any, at: str) -> Iterator[str]:
    if len(value) > shape.metadata.get("max", len(value)):
        yield f"{at} of at most {shape.metadata['max']}, found {len(value)}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    # classes of Java's expressions that Python's have not
    if r"\p{" in pattern or "[:" in pattern:
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return (
        compiled is None
        or compiled.fullmatch(value) is not None
        or (pattern.startswith("^") and bool(compiled.search(value)))
    )
