"""The root: settings and every deployed pipeline become one `dagster.Definitions`."""

import gc

# loading makes hundreds of thousands of objects that all stay: looking for garbage among them is a fifth of its time
gc.disable()

from orchestrai.defs.build import build_definitions  # noqa: E402
from orchestrai.pipeline.runtime import Runtime  # noqa: E402
from orchestrai.settings import load_settings, read_env_file  # noqa: E402

read_env_file()
defs = build_definitions(Runtime(load_settings()))
gc.freeze()
gc.enable()
