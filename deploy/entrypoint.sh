#!/bin/sh
# Writes dagster.yaml from the settings and goes on with the command. Nobody makes tables beside another: one process at a time does.
set -eu
DAGSTER_HOME="$(orchestrai instance)"
export DAGSTER_HOME
exec "$@"
