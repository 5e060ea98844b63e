"""The root: settings and every deployed pipeline become one `dagster.Definitions`."""

from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings, read_env_file

read_env_file()
defs = build_definitions(Runtime(load_settings()))
