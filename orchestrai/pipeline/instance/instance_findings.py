"""What `doctor` says of the Dagster instance in force: which settings its work needs and lacks, and what to do about it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrai.errors import ConfigError
from orchestrai.pipeline.instance.instance_options import InstanceOptions
from orchestrai.pipeline.instance.settings_file import EMBEDDED, NAME, instance_folder, settings_text

STORAGES = ("run_storage", "event_log_storage", "schedule_storage")
EVENT_LOG = {"module": "orchestrai.defs.event_log", "class": "EventLog"}


@dataclass(frozen=True)
class InstanceFinding:
    """One thing that an instance needs: whether it is there, and what it is or how to get it."""

    name: str
    ok: bool
    detail: str


def judge_instance(home: Path, options: InstanceOptions = EMBEDDED) -> list[InstanceFinding]:
    """Look at the settings of the instance that commands and `make dev` use; reads files only, makes nothing."""
    try:
        folder = instance_folder(home)
        path = folder / NAME
        # the file under the home is written on first use
        unborn = folder == home / "dagster" and not path.exists()
        config = _parsed(path, settings_text(str(folder), options) if unborn else None)
    except ConfigError as exc:
        return [InstanceFinding("instance", False, exc.message)]
    where = f"{path}, written on first use" if unborn else str(path)
    named = "named by DAGSTER_HOME" if os.environ.get("DAGSTER_HOME") else "under the home"
    return [
        InstanceFinding("instance", True, f"{where} ({named})"),
        _pools(config, path),
        _flag(config, path, "run_monitoring", "a run whose process died is never ended"),
        _flag(config, path, "run_retries", "a run whose process died is not tried again"),
        _retention(config, path),
        _storage(config, path),
        _event_log(config, path),
        *_started_here(folder),
    ]


def _parsed(path: Path, text: str | None) -> Mapping[str, Any]:
    try:
        # without a file Dagster takes its own defaults, which is what is judged then
        document = yaml.safe_load(text if text is not None else path.read_text(encoding="utf-8") if path.exists() else "")
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"expected YAML in {path}, found {type(exc).__name__}: correct it") from exc
    if document is not None and not isinstance(document, dict):
        raise ConfigError(f"expected a mapping in {path}, found a {type(document).__name__}: correct it")
    return document or {}


def _section(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    section: Any = config
    for name in names:
        section = section.get(name) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _wanted(name: str) -> str:
    """The line of the template that sets something, as one would write it by hand."""
    section = yaml.safe_load(settings_text(""))[name]
    return f"{name}: {yaml.safe_dump(section, default_flow_style=True, sort_keys=False, width=1000).strip()}"


def _pools(config: Mapping[str, Any], path: Path) -> InstanceFinding:
    pools = _section(config, "concurrency", "pools")
    limited = bool(pools.get("default_limit")) and pools.get("granularity", "op") == "op"
    if limited:
        return InstanceFinding("instance pools", True, f"{pools['default_limit']} step of an asset at a time")
    what = "two runs may write one asset at a time, and one of them fails"
    return InstanceFinding("instance pools", False, f"{what}: add {_wanted('concurrency')} to {path}")


def _flag(config: Mapping[str, Any], path: Path, name: str, what: str) -> InstanceFinding:
    title = f"instance {name.replace('_', ' ')}"
    enabled = _section(config, name).get("enabled")
    if enabled:
        return InstanceFinding(title, True, "enabled")
    return InstanceFinding(title, False, f"{what}: add {_wanted(name)} to {path}")


def _retention(config: Mapping[str, Any], path: Path) -> InstanceFinding:
    names = [name for name in ("sensor", "schedule") if _section(config, "retention", name).get("purge_after_days")]
    if len(names) == 2:
        return InstanceFinding("instance retention", True, "ticks of sensors and schedules are purged")
    what = "ticks of sensors and schedules are kept for ever"
    return InstanceFinding("instance retention", False, f"{what}: add {_wanted('retention')} to {path}")


def _storage(config: Mapping[str, Any], path: Path) -> InstanceFinding:
    """Where runs, events and ticks are kept; a relative folder is another one in each working directory."""
    sections = {name: _section(config, name, "config") for name in STORAGES}
    sections["storage"] = _section(config, "storage", "sqlite")
    for name, section in sections.items():
        base = section.get("base_dir")
        if isinstance(base, str) and not Path(base).is_absolute():
            what = f"{name}.base_dir {base} is another folder for each working directory"
            return InstanceFinding("instance storage", False, f"{what}: write the whole path in {path}")
    if _stock_postgres(config).startswith(("postgresql://", "postgres://")):
        # never the URL itself: it has a password
        what = "postgresql:// is spoken by a driver that Dagster cannot use, and each page is an error"
        remedy = "begin it with postgresql+psycopg2://, or name it by ORCHESTRAI_INSTANCE_DB"
        return InstanceFinding("instance storage", False, f"{what}: {remedy} in {path}")
    declared = next(iter(_section(config, "storage")), "") or _section(config, "run_storage").get("class")
    return InstanceFinding("instance storage", True, str(declared or f"SQLite in {path.parent}"))


def _stock_postgres(config: Mapping[str, Any]) -> str:
    """The URL of Dagster's own PostgreSQL storage, where it is told and can be read here."""
    for section in (_section(config, "storage", "postgres"), *(_section(config, name, "config") for name in STORAGES)):
        url = section.get("postgres_url")
        if isinstance(url, Mapping):
            url = os.environ.get(str(url.get("env")), "")
        if url:
            return str(url)
        if "postgres_db" in section:
            return f"{_section(section, 'postgres_db').get('scheme', 'postgresql')}://"
    return ""


def _event_log(config: Mapping[str, Any], path: Path) -> InstanceFinding:
    declared = _section(config, "event_log_storage")
    sqlite = not declared and (not _section(config, "storage") or "sqlite" in _section(config, "storage"))
    if sqlite or declared.get("class") == "SqliteEventLogStorage":
        remedy = f"event_log_storage: {{module: {EVENT_LOG['module']}, class: {EVENT_LOG['class']}}}"
        what = "Dagster's stock SQLite log opens its file three times an event, slow over hundreds of partitions"
        return InstanceFinding("instance event log", False, f"{what}: write {remedy} with its base_dir in {path}")
    return InstanceFinding("instance event log", True, str(declared.get("class") or "of the storage"))


def _started_here(folder: Path) -> list[InstanceFinding]:
    """Whether a plain `dagster dev` in this working directory would keep its records elsewhere."""
    here = Path(NAME).absolute()
    if os.environ.get("DAGSTER_HOME") or not here.is_file():
        return []
    base = _section(_parsed(here, None), "run_storage", "config").get("base_dir")
    if isinstance(base, str) and Path(base).absolute().is_relative_to(folder):
        return []
    remedy = "start with make dev, or export DAGSTER_HOME=$(orchestrai instance)"
    return [InstanceFinding("instance of dagster dev", False, f"{here} keeps its records elsewhere than {folder}: {remedy}")]
