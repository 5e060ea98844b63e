#!/bin/sh
# Writes dagster.yaml from the settings and goes on with the command; where DAGSTER_HOME is set, as by Dagster's chart, that one is used.
set -eu
if [ -z "${DAGSTER_HOME:-}" ]; then
  DAGSTER_HOME="$(orchestrai instance)"
  export DAGSTER_HOME
fi
exec "$@"
