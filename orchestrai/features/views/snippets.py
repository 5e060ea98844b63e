"""Snippets: fixed-point formulas written as `{{ name(arguments) }}` in a view's text, expanded before anything reads it.

    fixed(x, scale)                 a DOUBLE or DECIMAL as BIGINT thousandths (or other parts): rounds half up
    rolling_avg(v, scale, window)   average over a named window, DOUBLE
    rolling_std(v, scale, window)   sample standard deviation over a named window, DOUBLE; NULL for fewer than two values
    spike(v, window, k)             1 where v > average + k standard deviations of the window (k = 2), else 0
    spike(v, window, k, others)     the same over the window's other rows, without the row itself
    avg_of(v, scale)                average within a group, DOUBLE
    std_of(v, scale)                sample standard deviation within a group, DOUBLE

`v` is a BIGINT made by `fixed`. Only integers are summed, so results do not depend on the order of rows; the DOUBLE comes last.
`others` needs a window that ends at the CURRENT ROW, and a v that is in it once.
"""

import re
from collections.abc import Callable

_CALL = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\(([^{}]*)\)\s*\}\}")
_COLUMN = re.compile(r"[A-Za-z_][\w.]*")


def _integer(value: str) -> int:
    number = int(value.replace("_", ""))
    if number < 1:
        raise ValueError(f"expected a positive whole number, found {value}")
    return number


def _moments(value: str, over: str) -> tuple[str, str, str]:
    if not _COLUMN.fullmatch(value):
        raise ValueError(f"expected a column, found {value!r}: compute it in a WITH step first")
    return f"COUNT({value}){over}", f"CAST(SUM({value}){over} AS BIGINT)", f"CAST(SUM({value} * {value}){over} AS BIGINT)"


def _average(value: str, scale: str, over: str) -> str:
    n, s1, _ = _moments(value, over)
    return f"CAST({s1} AS DOUBLE) / CAST(NULLIF({n}, 0) * {_integer(scale)} AS DOUBLE)"


def _deviation(value: str, scale: str, over: str) -> str:
    n, s1, s2 = _moments(value, over)
    variance = f"CAST({n} * {s2} - {s1} * {s1} AS DOUBLE) / CAST(NULLIF({n} * ({n} - 1), 0) AS DOUBLE)"
    return f"CASE WHEN {n} > 1 THEN SQRT({variance}) / CAST({_integer(scale)} AS DOUBLE) END"


def fixed(value: str, scale: str) -> str:
    """`value` in units of 1/scale, rounded half up, BIGINT."""
    return f"CAST(FLOOR({value} * {_integer(scale)} + 0.5) AS BIGINT)"


def rolling_avg(value: str, scale: str, window: str) -> str:
    """Average of `value` over `window`."""
    return _average(value, scale, f" OVER {window}")


def rolling_std(value: str, scale: str, window: str) -> str:
    """Sample standard deviation of `value` over `window`."""
    return _deviation(value, scale, f" OVER {window}")


def spike(value: str, window: str, k: str = "2", rows: str = "all") -> str:
    """1 where `value` is above average + k deviations: (v n - s1)^2 (n - 1) > k^2 n (n s2 - s1^2), without a root.

    Over the `others`, the row's own part is taken from n, s1 and s2.
    """
    n, s1, s2 = _moments(value, f" OVER {window}")
    if rows not in ("all", "others"):
        raise ValueError(f"expected all or others, found {rows!r}")
    if rows == "others":
        n, s1, s2 = f"({n} - 1)", f"({s1} - {value})", f"({s2} - {value} * {value})"
    above = f"({value} * {n} - {s1})"
    return (
        f"CASE WHEN {n} > 1 AND {value} * {n} > {s1} AND CAST({above} * {above} AS DOUBLE) * CAST({n} - 1 AS DOUBLE) > "
        f"CAST({_integer(k) ** 2} * {n} AS DOUBLE) * CAST({n} * {s2} - {s1} * {s1} AS DOUBLE) THEN 1 ELSE 0 END"
    )


def avg_of(value: str, scale: str) -> str:
    """Average of `value` within a group."""
    return _average(value, scale, "")


def std_of(value: str, scale: str) -> str:
    """Sample standard deviation of `value` within a group."""
    return _deviation(value, scale, "")


SNIPPETS: dict[str, Callable[..., str]] = {
    function.__name__: function for function in (fixed, rolling_avg, rolling_std, spike, avg_of, std_of)
}


def expand(text: str) -> str:
    """Replace every snippet by its SQL; raises ValueError naming the line."""

    def replaced(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        function = SNIPPETS.get(match[1])
        if function is None:
            raise ValueError(f"{line}: expected one of the snippets {', '.join(SNIPPETS)}, found {match[1]}")
        try:
            return "(" + function(*(part.strip().strip("'\"") for part in match[2].split(","))) + ")"
        except (TypeError, ValueError) as exc:
            raise ValueError(f"{line}: {{{{ {match[1]}({match[2]}) }}}}: {exc}") from exc

    expanded = _CALL.sub(replaced, text)
    if "{{" in expanded:
        line = text[: text.index("{{")].count("\n") + 1 if "{{" in text else 1
        raise ValueError(f"{line}: expected {{{{ snippet(arguments) }}}}, found something else between the braces")
    return expanded
