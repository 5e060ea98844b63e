"""Whether the rows that a run looks back at are those that a view's windows count.

A run over new rows reads each entity's last `lookback.rows` moments before them. Rows that a WHERE leaves out below a frame of rows would
be counted among them, and the frame would come out short. Views whose rows are made moment by moment tell which rows are left out
(`one_sort`); any other is refused.
"""

from sqlglot import exp

from orchestrai.errors import FeatureViewError
from orchestrai.features.incremental import one_sort
from orchestrai.features.views.view import FeatureView


def require_counted_rows(view: FeatureView) -> FeatureView:
    """The view; raises FeatureViewError for one whose look-back in rows would count rows that its windows never see."""
    if view.kind != "row" or view.tree is None or not view.lookback.rows:
        return view
    if not any(_filtered_below(window) for window in view.tree.find_all(exp.Window) if _over_rows(window)):
        return view
    plan = one_sort.plan(view)
    if plan is None or (plan.filtered and not plan.by_moment):
        raise FeatureViewError(
            f"{view.name}: expected no WHERE, HAVING or QUALIFY below a frame of ROWS, found one in a view whose rows are not made moment "
            "by moment: put the condition into the aggregate (CASE WHEN ... END), or use a frame of RANGE"
        )
    return view


def _over_rows(window: exp.Window) -> bool:
    spec = window.args.get("spec")
    return spec is not None and spec.args.get("kind") == "ROWS"


def _filtered_below(window: exp.Window) -> bool:
    """True where rows are left out before the window sees them: by its own SELECT, or by one that is not around it."""
    own = window.find_ancestor(exp.Select)
    around = set()
    outer = own.find_ancestor(exp.Select) if own is not None else None
    while outer is not None:
        around.add(id(outer))
        outer = outer.find_ancestor(exp.Select)
    root = window.root()
    return any(
        id(clause.find_ancestor(exp.Select)) not in around
        for clause in (*root.find_all(exp.Where), *root.find_all(exp.Having), *root.find_all(exp.Qualify))
    )
