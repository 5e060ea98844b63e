"""Where things are: one immutable value, defaults fully local, every field settable by environment or `.env`.

Only definitions.py and the command line build it, after they read `.env` of the working directory, as Dagster does; nothing else
reads the environment at import.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

from orchestrai.core.transfer_rate import parse_rate
from orchestrai.errors import ConfigError
from orchestrai.project.project_place import project_path
from orchestrai.secrets.url_credentials import refuse_credentials

PREFIX = "ORCHESTRAI_"
ENV_FILE = Path(".env")
ENV_BYTES = 1024 * 1024
RUN_LIMITS = ("keep_runs", "most_runs", "max_runs", "store_runs")


@dataclass(frozen=True)
class Settings:
    """All settings; `load_settings` takes each from `ORCHESTRAI_<FIELD>` where that is set. Raises ConfigError for a wrong value."""

    # a plain dataclass: every command reads its settings, and pydantic takes longer to load than most of them to run
    project: Annotated[
        str,
        "project file with pipelines, stores and connections; empty means orchestrai.yaml of the working directory, if it is there",
    ] = ""
    connections: Annotated[
        str, "connections as JSON, in place of those of the project file: what a job on another machine is given"
    ] = ""
    home: Annotated[Path, "folder of the embedded default: landing, lake, vault and keys"] = Path(".orchestrai")
    lake_url: Annotated[str, "working store; empty means <home>/lake"] = ""
    vault_url: Annotated[str, "backup store; empty means <home>/vault"] = ""
    replica_url: Annotated[str, "second copy of the vault; empty means none"] = ""
    anchor: Annotated[str, "file outside the vault that remembers its newest commit"] = ""
    witness: Annotated[
        str,
        "store outside the vault that gets where each chain stands after each snapshot; empty means <home>/witness, `none` none",
    ] = ""
    timestamp_url: Annotated[str, "RFC 3161 authority that stamps the witness's records; empty means none"] = ""
    timestamp_roots: Annotated[str, "file of the certificates (PEM) that its stamps are verified by"] = ""
    keys: Annotated[str, "folder of signing and trusted keys; empty means <home>/keys"] = ""
    transfer_limit: Annotated[
        str, "bytes a second to and from each of vault and replicas at most, e.g. 20MB/s; empty means no limit"
    ] = ""
    transfer_at_once: Annotated[
        int, "calls to each of vault and replicas that run at once at most, and threads that copy; 0 means two threads"
    ] = 0
    pipelines: Annotated[str, "folders of pipelines, ':'-separated; empty means those that ship"] = ""
    environment: Annotated[str, "name shown in metadata and alerts"] = "local"
    identity: Annotated[
        str,
        "who acts, for signed records: os for the user of the process, or aws, azure, google for the holder of its credentials",
    ] = "os"
    traces_url: Annotated[
        str, "where spans of runs go by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; empty means none"
    ] = ""
    traces_headers: Annotated[
        str, "where the headers lie that go with spans (env://NAME), as name=value, comma-separated; empty means none"
    ] = ""
    alert_url: Annotated[
        str, "where the URL of a webhook lies (env://NAME) that is told of all alerts; empty means none"
    ] = ""
    alerts: Annotated[
        str, "YAML file that declares who is told of alerts; empty means <home>/alerts.yaml, if it is there"
    ] = ""
    prices: Annotated[str, "YAML file of the prices that apply here; empty means <home>/prices.yaml, if it is there"] = ""
    memory_limit: Annotated[str, "memory DuckDB may use, e.g. 1500MB"] = "1500MB"
    sealed_memory_bytes: Annotated[
        int, "memory that verified inputs may take at once; beyond it they are copied to files without a name"
    ] = 256 * 1024 * 1024
    engine: Annotated[str, "feature engine: auto, duckdb, spark, or one that a plug-in adds"] = "auto"
    spark_threshold_bytes: Annotated[int, "input size from which 'auto' means spark"] = 0
    step_seconds: Annotated[
        int,
        "seconds a step of features should take at most: 'auto' takes Spark, and Spark jobs as many workers, as earlier runs tell; "
        "0 leaves it to what is declared",
    ] = 0
    spark_url: Annotated[
        str,
        "Spark for views: a master such as local[2], sc://host:port (Connect), or a job: subprocess:, databricks:FILE, "
        "dataproc:FILE, synapse:FILE, emr:FILE, emr-serverless:FILE",
    ] = ""
    spark_exchange: Annotated[str, "store that this machine and Spark jobs both reach; jobs need it"] = ""
    executor: Annotated[str, "in_process or multiprocess"] = "in_process"
    instance_db: Annotated[
        str, "where the URL of the PostgreSQL database of Dagster's runs lies (env://NAME); empty means SQLite under home"
    ] = ""
    keep_runs: Annotated[int, "days that finished runs stay in Dagster's database; 0 is for ever"] = 90
    most_runs: Annotated[int, "runs that stay in Dagster's database at most, the oldest finished ones go; 0 is no limit"] = (
        20_000
    )
    max_runs: Annotated[int, "runs at once at most, by Dagster's queue"] = 2
    store_runs: Annotated[int, "runs at once at most that read one source's store; 0 is as many as there are runs"] = 0
    compute_logs: Annotated[
        str,
        "where Dagster puts what runs print: s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix; empty: home",
    ] = ""
    run_launcher: Annotated[str, "who starts runs: local, docker:IMAGE, k8s:IMAGE or ecs"] = "local"
    user_header: Annotated[
        str,
        "header by which the proxy in front of Dagster names people, such as X-Forwarded-User; empty where there is none",
    ] = ""
    log_format: Annotated[
        str, "how a run's log is written to stdout: text, or json for lines with run, asset, partition"
    ] = "text"

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", Path(os.path.abspath(Path(self.home).expanduser())))
        for name in ("spark_threshold_bytes", "sealed_memory_bytes", "transfer_at_once", "step_seconds", *RUN_LIMITS):
            object.__setattr__(self, name, _count(name, getattr(self, name)))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                try:
                    refuse_credentials(value)
                except ConfigError as exc:
                    raise ConfigError(f"{PREFIX}{field.name.upper()}: {exc.message}") from None
        try:
            parse_rate(self.transfer_limit)
        except ConfigError as exc:
            raise ConfigError(f"{PREFIX}TRANSFER_LIMIT: {exc.message}") from None
        if self.max_runs < 1:
            raise _wrong("max_runs", "a number of at least 1", self.max_runs)
        if self.executor not in ("in_process", "multiprocess"):
            raise _wrong("executor", "in_process or multiprocess", self.executor)
        if self.identity not in ("os", "aws", "azure", "google"):
            raise _wrong("identity", "os, aws, azure or google", self.identity)

    @property
    def lake(self) -> str:
        """URL of the working store."""
        return self.lake_url or str(self.home / "lake")

    @property
    def vault(self) -> str:
        """URL of the backup store."""
        return self.vault_url or str(self.home / "vault")

    @property
    def limited(self) -> bool:
        """True where transfers to and from vault and replicas have a limit."""
        return bool(self.transfer_limit or self.transfer_at_once)

    @property
    def witness_url(self) -> str:
        """URL of the witness; empty for none."""
        return "" if self.witness == "none" else self.witness or str(self.home / "witness")

    @property
    def key_folder(self) -> Path:
        """Folder of signing and trusted keys."""
        return Path(self.keys).expanduser() if self.keys else self.home / "keys"


def _wrong(name: str, expected: str, found: object) -> ConfigError:
    return ConfigError(f"{PREFIX}{name.upper()}: expected {expected}, found {found!r}")


def _count(name: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError as exc:
        raise _wrong(name, "a whole number", value) from exc
    if number < 0:
        raise _wrong(name, "a number of at least 0", value)
    return number


def _from_environment(names: Mapping[str, str]) -> dict[str, Any]:
    """What the environment sets, by field; an empty value sets nothing."""
    given = {name.upper(): value for name, value in os.environ.items() if value}
    return {field: given[key] for key, field in names.items() if key in given}


def _from_project() -> dict[str, Any]:
    """What the project file sets, by field. Raises DeclarationError with file, line and field."""
    path = project_path()
    if path is None:
        return {}
    # here, because most folders have no such file
    from orchestrai.project.project_file import read_project

    return {**read_project(path).settings(path.parent), "project": str(path)}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, then from the project file; raises ConfigError with one line per mistake."""
    names = variables()
    unknown = unknown_names() + sorted(name for name in overrides if name not in names.values())
    if unknown:
        raise ConfigError(
            f"expected one of {', '.join(names)}, found {', '.join(unknown)} in the environment: rename or unset it"
        )
    return Settings(**(_from_project() | _from_environment(names) | overrides))


def known_settings() -> tuple[Settings, list[str]]:
    """The settings, and the names in the environment that are none: for whoever tells of them and goes on."""
    return Settings(**(_from_project() | _from_environment(variables()))), unknown_names()


def unknown_names() -> list[str]:
    """Variables that begin like a setting and are none."""
    names = variables()
    return sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}TEST_") and name.upper() not in names
    )


def variables() -> dict[str, str]:
    """The variables that are settings, with the field that each of them sets."""
    return {PREFIX + field.name.upper(): field.name for field in fields(Settings)}


def read_env_file(path: Path = ENV_FILE) -> None:
    """Put the variables of a `.env` file into the environment; what is set there already stays. No file is nothing to read.

    Read as Dagster reads it, by python-dotenv. Raises ConfigError with the line that is no NAME=value, and never with its text: it
    may be a secret.
    """
    if not path.is_file():
        return
    # here, because most folders have no such file
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as stream:
            text = stream.read(ENV_BYTES + 1)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"expected a text file in {path}, found {type(exc).__name__}: correct or remove it") from exc
    if len(text) > ENV_BYTES:
        raise ConfigError(f"expected at most {ENV_BYTES} characters in {path}, found more: correct or remove it")
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise ConfigError(f"{path}:{binding.original.line}: expected NAME=value, found something else: correct the line")
    for name, value in dotenv_values(stream=StringIO(text)).items():
        # a name alone sets nothing, for Dagster neither
        if value is not None:
            os.environ.setdefault(name, value)
