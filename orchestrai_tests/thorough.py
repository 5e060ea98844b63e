"""Tests that say again, longer or in one more place, what a shorter one says: CI runs all of them, a person who waits need not.

`@pytest.mark.thorough("what says it sooner")` marks one; those of a slow server or tier are picked here. They run when
ORCHESTRAI_TEST_THOROUGH is set (`make test-all`, `.ci/run`); otherwise each is skipped with its reason, shown at the end of the run.
"""

import os
import time

import pytest

VARIABLE = "ORCHESTRAI_TEST_THOROUGH"
# minutes after which no thorough test is begun: a run that the machine around it ends by force says nothing at all
MINUTES = "ORCHESTRAI_TEST_MINUTES"
_BEGAN = time.monotonic()
# servers beside the first of their kind: moto, PostgreSQL and Spark's typing stay in every run
SERVERS = {
    "rgw": "Ceph RGW, after moto",
    "s3-rgw": "Ceph RGW, after moto",
    "azurite": "Azurite, after moto",
    "azure-azurite": "Azurite, after moto",
    "gcs": "the shim of Google's API, after moto",
    "gcs-shim": "the shim of Google's API, after moto",
    "mlflow_url": "MLflow's server",
    "sail_url": "Sail, after Spark",
}
TIERS = {
    "e2e": "whole pipelines in processes of their own, after those in one process",
    "spark": "Spark, after the typing of its rows",
    "browser": "a browser",
}
ALWAYS = ("ingest/test_spark_typing.py", "e2e/test_rehearsal.py")


def pick(items: list[pytest.Item]) -> None:
    """Mark the thorough ones, and skip them unless they were asked for; raises UsageError for a mark without a reason."""
    for item in items:
        reason = _reason(item)
        if not reason:
            continue
        item.add_marker(pytest.mark.thorough(reason))
        if not os.environ.get(VARIABLE):
            item.add_marker(pytest.mark.skip(reason=f"thorough, run by `make test-all`: {reason}"))


def begin(item: pytest.Item) -> None:
    """Skip a thorough test, with its reason, once the minutes for them are over."""
    minutes = os.environ.get(MINUTES)
    mark = item.get_closest_marker("thorough")
    if minutes and mark is not None and time.monotonic() - _BEGAN > 60 * float(minutes):
        pytest.skip(f"thorough, and the {minutes} minutes of {MINUTES} were over: {mark.args[0]}")


def _reason(item: pytest.Item) -> str:
    mark = item.get_closest_marker("thorough")
    if mark is not None:
        if len(mark.args) != 1 or not isinstance(mark.args[0], str):
            raise pytest.UsageError(f"expected a reason in thorough(...) of {item.nodeid}, found {mark.args!r}")
        return mark.args[0]
    if any(name in item.nodeid for name in ALWAYS):
        return ""
    callspec = getattr(item, "callspec", None)
    parameters = [value for value in callspec.params.values() if isinstance(value, str)] if callspec else []
    used = {*getattr(item, "fixturenames", ()), *parameters}
    servers = [reason for name, reason in SERVERS.items() if name in used]
    tiers = [reason for name, reason in TIERS.items() if item.get_closest_marker(name)]
    return next(iter([*servers, *tiers]), "")
