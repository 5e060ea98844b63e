"""`orchestrai.yaml`: the file beside a project's pipelines that says where they and its stores are, and how its clouds are reached.

    pipelines: [pipelines]                  # folders, from where this file lies
    home: .orchestrai
    vault: s3://acme-vault/vault
    replica: s3://acme-replica/vault
    instance: {database: env://DAGSTER_PG_URL, run_launcher: local}
    connections:
      here: {cloud: aws, region: eu-west-1, default: true}
      replica: {cloud: aws, region: eu-central-1, identity: {profile: replica}, covers: ["s3://acme-replica"]}

`${NAME}` and `${NAME:-default}` are filled from the environment. A variable ORCHESTRAI_<SETTING> comes before the file.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from orchestrai.core.yaml.declaration import (
    Declaration,
    LineOf,
    Location,
    explain,
    field_name,
    field_reader,
    load_yaml,
    mistake,
)
from orchestrai.core.yaml.variables import expand
from orchestrai.errors import ConfigError
from orchestrai.project.connection_spec import CONNECTION_NAME, RESERVED, Connection
from orchestrai.project.identity_spec import Secret
from orchestrai.project.url_cover import segments
from orchestrai.secrets.url_credentials import refuse_credentials

NAME = "orchestrai.yaml"
PlainUrl = Annotated[str, AfterValidator(field_reader(refuse_credentials)), Field(min_length=1)]
Folder = Annotated[str, Field(min_length=1, pattern=r"^[^:]+$")]


class InstanceSpec(Declaration):
    """The Dagster instance: where its records and logs lie, who starts runs and how; each is the setting of that name."""

    database: Secret | None = None
    compute_logs: PlainUrl | None = None
    run_launcher: str | None = None
    executor: Literal["in_process", "multiprocess"] | None = None
    log_format: Literal["text", "json"] | None = None


class ProjectFile(Declaration):
    """The whole file; every part may be left out. Relative folders lie where the file lies."""

    pipelines: Annotated[tuple[Folder, ...], Field(min_length=1)] | None = None
    home: Folder | None = None
    lake: PlainUrl | None = None
    vault: PlainUrl | None = None
    replica: PlainUrl | None = None
    instance: InstanceSpec = InstanceSpec()
    connections: dict[str, Connection] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Each connection knows its name."""
        declared = value.get("connections") if isinstance(value, dict) else None
        if not isinstance(declared, dict):
            return value
        named = {name: {**one, "name": name} if isinstance(one, dict) else one for name, one in declared.items()}
        return {**value, "connections": named}

    @model_validator(mode="after")
    def _one_for_each(self) -> Self:
        covered: dict[tuple[str, ...], str] = {}
        defaults: dict[str, str] = {}
        for name, one in self.connections.items():
            for url in one.covers:
                other = covered.setdefault(segments(url), name)
                if other != name:
                    raise ValueError(
                        f"connections.{name}.covers: expected URLs that no other connection covers, found {url!r}, like {other}"
                    )
            if one.default and defaults.setdefault(one.cloud, name) != name:
                raise ValueError(
                    f"connections.{name}.default: expected one default for {one.cloud}, found {defaults[one.cloud]} and {name}"
                )
        return self

    def settings(self, folder: Path) -> dict[str, str]:
        """What the file sets, by the names of the settings; `folder` is where it lies."""
        instance = self.instance
        given = {
            "pipelines": ":".join(str(folder / Path(one).expanduser()) for one in self.pipelines or ()),
            "home": str(folder / Path(self.home).expanduser()) if self.home else None,
            "lake_url": _placed(self.lake, folder),
            "vault_url": _placed(self.vault, folder),
            "replica_url": _placed(self.replica, folder),
            "instance_db": instance.database,
            "compute_logs": instance.compute_logs,
            "run_launcher": instance.run_launcher,
            "executor": instance.executor,
            "log_format": instance.log_format,
        }
        return {name: value for name, value in given.items() if value}


def _placed(url: str | None, folder: Path) -> str | None:
    return str(folder / Path(url).expanduser()) if url and ":" not in url else url


def read_project(path: Path, environment: Mapping[str, str] | None = None) -> ProjectFile:
    """Read and check a project file; raises DeclarationError with file, line and field."""
    document, line_of = load_yaml(path)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise mistake(path, 1, "", "a mapping with pipelines, home or connections", f"a {type(document).__name__}")
    filled = _filled(path, document, os.environ if environment is None else environment, (), line_of)
    _check_names(path, filled.get("connections"), line_of)
    try:
        return ProjectFile.model_validate(filled)
    except ValidationError as exc:
        raise explain(path, exc, line_of, model=ProjectFile) from exc


def _check_names(path: Path, connections: Any, line_of: LineOf) -> None:
    for name, one in connections.items() if isinstance(connections, dict) else ():
        at: Location = ("connections", name)
        if name in RESERVED or not re.fullmatch(CONNECTION_NAME, name):
            raise mistake(
                path,
                line_of(at),
                field_name(at),
                f"a name of lower case letters, digits and dashes, none of {', '.join(RESERVED)}",
                repr(name),
            )
        if isinstance(one, dict) and "name" in one:
            at = (*at, "name")
            raise mistake(path, line_of(at), field_name(at), "the name before the colon alone", "a name within")


def _filled(path: Path, value: Any, environment: Mapping[str, str], at: Location, line_of: LineOf) -> Any:
    if isinstance(value, dict):
        return {key: _filled(path, item, environment, (*at, key), line_of) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(path, item, environment, (*at, index), line_of) for index, item in enumerate(value)]
    try:
        return expand(value, environment)
    except ConfigError as exc:
        expected, _, found = exc.message.removeprefix("expected ").partition(", found ")
        raise mistake(path, line_of(at), field_name(at), expected, found) from exc
