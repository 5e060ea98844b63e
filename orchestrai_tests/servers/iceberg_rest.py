"""A catalog by Iceberg's REST protocol: its requirements and updates are pyiceberg's own, over a catalog in SQLite.

Where ORCHESTRAI_TEST_ICEBERG_OPENAPI names Iceberg's OpenAPI document, each request and answer is held against it too. The document is no
part of any package, and nothing of it is kept here.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from orchestrai_tests.clouds.loopback import Reply, serving

DOCUMENT = "ORCHESTRAI_TEST_ICEBERG_OPENAPI"
PREFIX, CLIENT, SECRET, SCOPE = "shop", "orchestrai", "s3cret/of+app", "catalog"
_TABLE = re.compile(rf"/v1/{PREFIX}/namespaces/([^/]+)(?:/tables(?:/([^/]+))?)?")
_STATES = {
    "NoSuchTableError": 404, "NoSuchNamespaceError": 404, "TableAlreadyExistsError": 409, "NamespaceAlreadyExistsError": 409,
    "CommitFailedException": 409,
}  # fmt: skip


def _refusals() -> tuple[type[Exception], ...]:
    import pyiceberg.exceptions as errors

    return tuple(getattr(errors, name) for name in _STATES)


@dataclass
class IcebergRest:
    """The service: who may call it by which tokens, and what it was asked."""

    catalog: Any
    url: str = ""
    tokens: list[str] = field(default_factory=lambda: ["given"])
    asked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    # answers to give before any other, and what the configuration adds
    answers: list[Reply] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, verb: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = urlsplit(url)
        self.asked.append(f"{verb} {parts.path}")
        if parts.path.endswith("/oauth/tokens"):
            return self._token(body)
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {}, _error(401, "NotAuthorizedException", "no such token")
        self.headers = dict(headers)
        if self.answers and verb == "POST":
            return self.answers.pop(0)
        try:
            told = self._answer(verb, parts.path, parse_qs(parts.query), json.loads(body) if body else None)
        except (*_refusals(), ValueError, AssertionError) as exc:
            status = _STATES.get(type(exc).__name__, 400)
            return status, {}, _error(status, type(exc).__name__, str(exc))
        return (204, {}, None) if told is None else (200, {}, told)

    def _token(self, body: bytes) -> Reply:
        given = dict(parse_qsl(body.decode()))
        wanted = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET, "scope": SCOPE}
        if given != wanted:
            return 401, {}, {"error": "invalid_client", "error_description": "no such application"}
        self.tokens.append(f"token-{len(self.tokens)}")
        return 200, {}, {"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 3600}

    def _answer(self, verb: str, path: str, query: Mapping[str, list[str]], body: Any) -> Any:
        from pyiceberg.catalog.rest import CreateTableRequest
        from pyiceberg.table import CommitTableRequest

        if path == "/v1/config":
            assert query.get("warehouse") == ["shop"], query
            told = self._held("CatalogConfig", {"defaults": {}, "overrides": {"prefix": PREFIX}})
            return {**told, "overrides": {**told["overrides"], **self.overrides}}
        if path == f"/v1/{PREFIX}/namespaces" and verb == "POST":
            self._held("CreateNamespaceRequest", body)
            self.catalog.create_namespace(tuple(body["namespace"]), body["properties"])
            return self._held("CreateNamespaceResponse", body)
        match = _TABLE.fullmatch(path)
        assert match is not None, f"nobody answers {verb} {path}"
        namespace, name = tuple(unquote(match[1]).split("\x1f")), unquote(match[2] or "")
        if verb == "GET" and not name:
            return {"namespace": list(namespace), "properties": self.catalog.load_namespace_properties(namespace)}
        if verb == "GET":
            return self._loaded(self.catalog.load_table((*namespace, name)))
        if not name:
            self._held("CreateTableRequest", body)
            wanted = CreateTableRequest.model_validate(body)
            made = self.catalog.create_table(
                (*namespace, wanted.name), wanted.table_schema, location=wanted.location, properties=wanted.properties
            )
            return self._loaded(made)
        self._held("CommitTableRequest", body)
        request = CommitTableRequest.model_validate(body)
        table = self.catalog.load_table((*namespace, name))
        done = self.catalog.commit_table(table, request.requirements, request.updates)
        return self._held("CommitTableResponse", json.loads(done.model_dump_json()))

    def _loaded(self, table: Any) -> Any:
        metadata = json.loads(table.metadata.model_dump_json())
        return self._held(
            "LoadTableResult", {"metadata-location": table.metadata_location, "metadata": metadata, "config": {}}
        )

    def _held(self, schema: str, value: Any) -> Any:
        """A value, held against the document where there is one."""
        if os.environ.get(DOCUMENT):
            self.faults += [f"{schema}: {problem}" for problem in _problems(schema, value)]
        return value


def _error(status: int, kind: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": status}}


@cache
def _document() -> Any:
    import yaml

    return yaml.safe_load(Path(os.environ[DOCUMENT]).read_text())


def _problems(schema: str, value: Any) -> list[str]:
    from jsonschema import Draft202012Validator

    document = _document()
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": document["components"]})
    return [f"{'/'.join(map(str, one.absolute_path))} {one.message[:200]}" for one in validator.iter_errors(value)]


@contextlib.contextmanager
def iceberg_rest(folder: Path) -> Iterator[IcebergRest]:
    """Run it over a catalog in a folder; it writes metadata of tables wherever they say, on this disk."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("served", uri=f"sqlite:///{folder}/served.db?check_same_thread=false")
    served = IcebergRest(catalog)
    try:
        with serving(served.ask) as served.url:
            yield served
    finally:
        catalog.close()
    assert served.faults == []
