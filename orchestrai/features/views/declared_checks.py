"""The checks that a feature table has by its view's declaration."""

from orchestrai.core.verdict import CheckInfo
from orchestrai.features.completeness.incomplete_windows import WINDOWS_COMPLETE
from orchestrai.features.ports import DeclaredView
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView


def declared_checks(subject: DeclaredView) -> list[CheckInfo]:
    """Those of every view, and those that this one declares."""
    return checks_of(subject.view)


def checks_of(view: FeatureView) -> list[CheckInfo]:
    """The same, of a view as it was read."""
    checks = [
        CheckInfo("entity_not_null", True, "No row without its entity."),
        CheckInfo("unique_key", True, "One row per entity and moment: no join multiplied rows."),
    ]
    spec = view.spec
    limited = isinstance(spec, FeatureViewSpec) and spec.checks.incomplete is not None
    checks.append(CheckInfo(WINDOWS_COMPLETE, limited, "No window lacks a partition in which data was due."))
    if isinstance(spec, FeatureViewSpec):
        if spec.checks.null_rate:
            checks.append(CheckInfo("null_rate", True, "Shares of nulls within their declared limits."))
        if spec.checks.ranges:
            checks.append(CheckInfo("value_range", True, "Values within their declared ranges."))
        if spec.checks.coverage is not None:
            checks.append(CheckInfo("coverage", False, "Enough of the entities in the input have features."))
        if spec.checks.freshness is not None:
            checks.append(CheckInfo("freshness", False, "The newest features are young enough."))
    return checks
