"""Where Dagster's own database is, read from its dagster.yaml, without Dagster.

DAGSTER_HOME names the folder of dagster.yaml; without it, it is <home>/dagster, or the working directory where the home lies in it, as
`dagster dev` has it. SQLite storages are folders, PostgreSQL is one database.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from orchestrai.errors import ConfigError

STORAGES = ("run_storage", "event_log_storage", "schedule_storage")
FIELDS = {"username": "user", "password": "password", "hostname": "host", "db_name": "dbname", "port": "port"}


@dataclass(frozen=True)
class InstanceDatabase:
    """Either folders of SQLite databases by name, or the text or variable of a PostgreSQL URL."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    postgres_env: str = ""
    postgres: str = field(default="", repr=False)


def find_instance(home: Path, environment: Mapping[str, str] | None = None) -> InstanceDatabase:
    """Where Dagster keeps its records; raises ConfigError for a dagster.yaml that says nothing usable."""
    environment = os.environ if environment is None else environment
    named = environment.get("DAGSTER_HOME", "")
    base = Path(named).expanduser() if named else home / "dagster"
    places = [base / "dagster.yaml"]
    if not named and home.is_relative_to(Path.cwd()):
        places.append(Path("dagster.yaml").absolute())
    config = next((_read(path) for path in places if path.is_file()), {})
    database = _postgres(config, environment)
    if database is not None:
        return database
    folders = {"": base} if base.is_dir() else {}
    for name, folder in _sqlite_folders(config, environment):
        if folder.is_dir() and not any(folder.resolve().is_relative_to(known.resolve()) for known in folders.values()):
            folders[name] = folder
    if not folders:
        raise ConfigError(
            f"expected Dagster's records in {base}, found no such folder: set DAGSTER_HOME, or run Dagster once"
        )
    return InstanceDatabase(folders)


@contextmanager
def postgres_reference(database: InstanceDatabase) -> Iterator[str]:
    """A secret reference to the PostgreSQL URL, for the length of a block."""
    if database.postgres_env:
        yield f"env://{database.postgres_env}"
        return
    with secret_file(database.postgres) as reference:
        yield reference


@contextmanager
def secret_file(text: str) -> Iterator[str]:
    """A reference to a secret that is known only here: a file that nobody else can read, gone after the block."""
    with TemporaryDirectory(prefix="orchestrai-secret-") as folder:
        path = Path(folder) / "url"
        path.touch(mode=0o600)
        path.write_text(text)
        yield f"file://{path}"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigError(f"expected YAML in {path}, found {type(exc).__name__}: correct it") from exc
    return document if isinstance(document, dict) else {}


def _postgres(config: Mapping[str, Any], environment: Mapping[str, str]) -> InstanceDatabase | None:
    given = (config.get("storage") or {}).get("postgres")
    if given is None:
        storages = [config.get(name) or {} for name in STORAGES]
        given = next((s.get("config") for s in storages if str(s.get("module", "")).startswith("dagster_postgres")), None)
    if not isinstance(given, dict):
        return None
    url = given.get("postgres_url")
    if isinstance(url, dict) and url.get("env"):
        return InstanceDatabase(postgres_env=str(url["env"]))
    if isinstance(url, str):
        return InstanceDatabase(postgres=url)
    parts = given.get("postgres_db") or {}
    words = {FIELDS[name]: _text(value, environment) for name, value in parts.items() if name in FIELDS}
    if not words:
        raise ConfigError("expected postgres_url or postgres_db in dagster.yaml, found neither: name the database")
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in words.items()}
    return InstanceDatabase(postgres=" ".join(f"{name}='{value}'" for name, value in quoted.items()))


def _sqlite_folders(config: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    whole = (config.get("storage") or {}).get("sqlite")
    given = {"storage": whole} if isinstance(whole, dict) else {}
    given |= {name: (config.get(name) or {}).get("config") or {} for name in STORAGES}
    for name, settings in given.items():
        folder = settings.get("base_dir") if isinstance(settings, dict) else None
        if folder:
            yield name, Path(_text(folder, environment)).expanduser().absolute()


def _text(value: Any, environment: Mapping[str, str]) -> str:
    if isinstance(value, dict):
        name = str(value.get("env", ""))
        if name not in environment:
            raise ConfigError(f"expected the variable {name} that dagster.yaml names, found it unset: set it")
        return environment[name]
    return str(value)
