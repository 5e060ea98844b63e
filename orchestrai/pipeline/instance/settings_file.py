"""`<home>/dagster/dagster.yaml`: written from one template, so that every way of starting Dagster runs on the same settings."""

import os
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.pipeline.instance.instance_options import InstanceOptions

TEMPLATE = Path(__file__).with_name("template.yaml")
NAME = "dagster.yaml"
HEADER = "# Written by orchestrai, and again when its settings change. Remove this line to keep settings of your own.\n"
# what earlier releases wrote there; nobody's own
_EARLIER = ("telemetry: {enabled: false}\nnux: {enabled: false}\n",)
EMBEDDED = InstanceOptions()


def settings_text(base: str, options: InstanceOptions = EMBEDDED) -> str:
    """The settings of an instance that keeps its records in the folder `base`, or where the options say."""
    quoted = base.replace("\\", "\\\\").replace('"', '\\"')
    text = TEMPLATE.read_text(encoding="utf-8")
    sections = {
        "storage": options.storage_section,
        "compute_logs": options.logs_section(),
        "run_launcher": options.launcher_section() + options.coordinator_section + options.log_section,
        "max_runs": str(options.max_runs),
        "store_runs": options.store_limit,
    }
    for name, section in sections.items():
        text = text.replace(f"{{{name}}}", section)
    return text.replace("{base}", quoted)


def instance_folder(home: Path) -> Path:
    """Where the instance in force has its dagster.yaml: the folder that DAGSTER_HOME names, else that under `home`.

    Raises ConfigError for a DAGSTER_HOME that is no folder; the one under `home` is made when it is first needed.
    """
    named, own = os.environ.get("DAGSTER_HOME"), home / "dagster"
    if not named or Path(named) == own:
        return own
    if not (os.path.isabs(named) and os.path.isdir(named)):
        raise ConfigError(f"expected DAGSTER_HOME to name a folder by its whole path, found {named!r}: make it, or unset it")
    return Path(named)


def write_settings(home: Path, options: InstanceOptions = EMBEDDED) -> Path:
    """Put dagster.yaml where the instance in force lies under `home`, and return its folder; somebody's own file stays."""
    folder = instance_folder(home)
    path = folder / NAME
    if folder != home / "dagster":
        return folder
    wanted = HEADER + settings_text(str(folder), options)
    current = path.read_text(encoding="utf-8") if path.is_file() else None
    if current is None or (current != wanted and (current.startswith(HEADER) or current in _EARLIER)):
        folder.mkdir(parents=True, exist_ok=True)
        # whoever reads meanwhile reads the old file or the new one
        scratch = folder / f".{NAME}.{os.getpid()}"
        scratch.write_text(wanted, encoding="utf-8")
        scratch.replace(path)
    return folder
