"""Declarations -> Dagster objects. Thin: config, one core call, report."""

import warnings

from dagster import BetaWarning, PreviewWarning

# partitioned checks, code references, column lineage and explicit data versions are marked preview or beta in Dagster 1.13;
# the lock file pins that release, the tests hold what is used of it, and a person need not read it on every event
for category in (BetaWarning, PreviewWarning):
    warnings.filterwarnings("ignore", category=category, module=r"orchestrai\.")
