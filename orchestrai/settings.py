"""Where things are: one immutable value, defaults fully local, every field settable by environment or `.env`.

Only definitions.py and the command line build it; nothing reads the environment at import.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from orchestrai.errors import ConfigError

PREFIX = "ORCHESTRAI_"


class Settings(BaseModel):
    """All settings; `load_settings` takes each from `ORCHESTRAI_<FIELD>` where that is set."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Annotated[Path, Field(description="folder of the embedded default: landing, lake, vault and keys")] = Path(
        ".orchestrai"
    )
    lake_url: Annotated[str, Field(description="working store; empty means <home>/lake")] = ""
    vault_url: Annotated[str, Field(description="backup store; empty means <home>/vault")] = ""
    replica_url: Annotated[str, Field(description="second copy of the vault; empty means none")] = ""
    anchor: Annotated[str, Field(description="file outside the vault that remembers its newest commit")] = ""
    keys: Annotated[str, Field(description="folder of signing and trusted keys; empty means <home>/keys")] = ""
    pipelines: Annotated[str, Field(description="folders of pipelines, ':'-separated; empty means those that ship")] = ""
    environment: Annotated[str, Field(description="name shown in metadata and alerts")] = "local"
    alert_url: Annotated[
        str, Field(description="where the URL of a webhook lies (env://NAME) that is told of failed runs; empty means none")
    ] = ""
    memory_limit: Annotated[str, Field(description="memory DuckDB may use, e.g. 1500MB")] = "1500MB"
    engine: Annotated[str, Field(description="feature engine: auto, duckdb or spark")] = "auto"
    spark_threshold_bytes: Annotated[int, Field(description="input size from which 'auto' means spark", ge=0)] = 0
    spark_url: Annotated[
        str,
        Field(
            description="Spark for views: a master such as local[2], sc://host:port (Connect), or a job: subprocess:, emr:FILE, "
            "emr-serverless:FILE"
        ),
    ] = ""
    spark_exchange: Annotated[str, Field(description="store that this machine and Spark jobs both reach; jobs need it")] = ""
    executor: Annotated[str, Field(description="in_process or multiprocess")] = "in_process"

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))

    @field_validator("executor")
    @classmethod
    def _known_executor(cls, value: str) -> str:
        if value not in ("in_process", "multiprocess"):
            raise ValueError("expected in_process or multiprocess")
        return value

    @property
    def lake(self) -> str:
        """URL of the working store."""
        return self.lake_url or str(self.home / "lake")

    @property
    def vault(self) -> str:
        """URL of the backup store."""
        return self.vault_url or str(self.home / "vault")

    @property
    def key_folder(self) -> Path:
        """Folder of signing and trusted keys."""
        return Path(self.keys).expanduser() if self.keys else self.home / "keys"


def _from_environment() -> dict[str, object]:
    """What the environment sets, by field; an empty value sets nothing."""
    given = {name.upper(): value for name, value in os.environ.items() if value}
    return {field: given[key] for field in Settings.model_fields if (key := PREFIX + field.upper()) in given}


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; raises ConfigError with one line per mistake."""
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX)
        and not name.startswith(f"{PREFIX}TEST_")
        and name[len(PREFIX) :].lower() not in Settings.model_fields
    )
    if unknown:
        known = ", ".join(PREFIX + name.upper() for name in Settings.model_fields)
        raise ConfigError(f"expected one of {known}, found {', '.join(unknown)} in the environment: rename or unset it")
    try:
        return Settings(**(_from_environment() | overrides))  # type: ignore[arg-type]
    except ValidationError as exc:
        first = exc.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['msg']}, found {first['input']!r}") from exc
