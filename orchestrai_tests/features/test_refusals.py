"""Everything outside the portable subset is refused when the view is loaded, with what to write instead."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrai.errors import FeatureViewError
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.views.view import FeatureView, load_label, load_view
from orchestrai_tests.features.conftest import ORDERS, READINGS, UTC_MICROS

AS_OF = {"entity": "customer_id", "as_of": {"every": "7d"}, "from": ["orders"]}
ROW = {"entity": "device_id", "event_time": "ts", "from": ["readings"]}
W = "PARTITION BY s.customer_id ORDER BY o.invoice_date"
N = "PARTITION BY s.customer_id ORDER BY o.quantity"
JOINED = "FROM spine AS s JOIN orders AS o ON o.customer_id = s.customer_id"
SCHEMAS = {"orders": ORDERS, "readings": READINGS}


def load(sql: str, **spec: Any) -> FeatureView:
    return load_view(FeatureViewSpec.model_validate({"name": "v", "sql": sql, **spec}), Path(), SCHEMAS)


def entity(expression: str, where: str = "") -> FeatureView:
    """A view of orders per customer with one expression."""
    return load(
        f"SELECT s.customer_id, s.as_of, {expression} AS f FROM spine AS s JOIN orders AS o ON o.customer_id = s.customer_id "
        f"{where} GROUP BY s.customer_id, s.as_of",
        **AS_OF,
    )


def row(expression: str, tail: str = "", **spec: Any) -> FeatureView:
    """A view of readings with one expression per row."""
    return load(f"SELECT device_id, ts, {expression} AS f FROM readings {tail}", **{**ROW, **spec})


@pytest.mark.parametrize(
    ("expression", "instead"),
    [
        ("AVG(o.quantity)", "avg_of"),
        ("SUM(o.quantity)", "CAST("),
        ("CAST(SUM(o.unit_price) AS BIGINT)", "fixed(x, scale)"),
        ("STDDEV(o.quantity)", "std_of"),
        ("VARIANCE(o.quantity)", "std_of"),
        ("CORR(o.quantity, o.quantity)", "std_of"),
        ("KURTOSIS(o.quantity)", "std_of"),
        ("MEDIAN(o.quantity)", "ROW_NUMBER"),
        ("PERCENTILE(o.quantity, 0.5)", "ROW_NUMBER"),
        ("PERCENTILE_APPROX(o.quantity, 0.5)", "exact aggregates"),
        ("APPROX_COUNT_DISTINCT(o.invoice_no)", "COUNT(DISTINCT x)"),
        ("MAX_BY(o.country, o.invoice_date)", "STRUCT(ts, id)"),
        ("MAX_BY(o.country, STRUCT(o.invoice_date, o.invoice_no))", "COALESCE"),
        ("MAX_BY(COALESCE(o.country, ''), STRUCT(o.invoice_date, s.customer_id))", "within the group"),
        ("COLLECT_LIST(o.country)", "order inside"),
        ("FIRST(o.country)", "order inside"),
        ("ANY_VALUE(o.country)", "order inside"),
        ("COUNT(DISTINCT o.country, o.invoice_no)", "one column"),
        ("CAST(SUM(DATEDIFF(DAY, o.invoice_date, s.as_of)) AS BIGINT)", "UNIX_MICROS"),
        ("MAX(TIMESTAMPDIFF(HOUR, o.invoice_date, s.as_of))", "UNIX_MICROS"),
        ("MAX(MONTHS_BETWEEN(o.invoice_date, s.as_of))", "UNIX_MICROS"),
        ("MAX(UNIX_TIMESTAMP(o.invoice_date))", "UNIX_MICROS"),
        ("CAST(MAX(o.invoice_date) AS BIGINT)", "UNIX_MICROS"),
        ("MAX(DAYOFWEEK(o.invoice_date))", "% 7"),
        ("MAX(WEEKDAY(o.invoice_date))", "% 7"),
        ("MAX(YEAR(o.invoice_date))", "DATE_TRUNC"),
        ("MAX(CURRENT_TIMESTAMP())", "as_of"),
        ("MAX(CURRENT_DATE())", "as_of"),
        ("MAX(NOW())", "as_of"),
        ("MAX(RAND())", "computed again"),
        ("MAX(UUID())", "computed again"),
        ("MAX(ROUND(o.quantity, 2))", "FLOOR"),
        ("MAX(LN(o.quantity))", "last bit"),
        ("MAX(POWER(o.quantity, 2))", "last bit"),
        ("MAX(EXP(o.quantity))", "last bit"),
        ("MAX(o.quantity / o.quantity)", "NULLIF"),
        ("MAX(o.quantity % o.quantity)", "NULLIF"),
        ("MAX(o.unit_price / 2)", "CAST(x AS DOUBLE)"),
        ("MAX(o.unit_price * o.unit_price)", "fixed(x, scale)"),
        ("MAX(o.quantity DIV 2)", "FLOOR"),
        ("MAX(FLOOR(o.unit_price))", "CAST(FLOOR(x) AS BIGINT)"),
        ("CAST(MAX(o.unit_price) AS BIGINT)", "FLOOR(x * scale + 0.5)"),
        ("CAST(MAX(CAST(o.quantity AS DOUBLE)) AS BIGINT)", "FLOOR(x + 0.5)"),
        ("MAX(CAST(o.invoice_no AS BIGINT))", "contract"),
        ("MAX(CAST(o.invoice_no AS DOUBLE))", "contract"),
        ("MAX(CAST(o.unit_price AS STRING))", "print it differently"),
        ("MAX(CAST(o.invoice_no AS TIMESTAMP))", "contract"),
        ("MAX(CAST(o.quantity AS FLOAT))", "BIGINT, INT, DOUBLE"),
        ("MAX(TRY_CAST(o.invoice_no AS BIGINT))", "silent NULL"),
        ("MAX(UPPER(o.country))", "ASCII"),
        ("MAX(TRIM(o.country))", "ASCII"),
        ("MAX(REGEXP_EXTRACT(o.country, 'a', 0))", "ASCII"),
        ("MAX(SUBSTRING(o.country, 0, 2))", "start of 1"),
        ("MAX(XXHASH64(o.country))", "MD5"),
        ("MAX(SHA2(o.country, 512))", "256"),
        ("MAX(no_such_function(o.country))", "docs/features.md"),
        ("MAX(CASE WHEN o.invoice_date > '2026-01-01' THEN 1 END)", "TIMESTAMP '"),
        ("MAX(CASE WHEN o.country = 1 THEN 1 END)", "one kind"),
        ("MAX(s.as_of - INTERVAL 1 MONTH)", "no fixed length"),
        ("MAX(DATE_TRUNC('WEEK', o.invoice_date))", "MINUTE, HOUR, DAY"),
        ("MAX(STRUCT(o.quantity, o.country))", "plain value"),
    ],
)
def test_an_expression_that_engines_read_differently_is_refused(expression: str, instead: str) -> None:
    with pytest.raises(FeatureViewError) as refused:
        entity(expression)
    assert instead in refused.value.message and refused.value.message.startswith("v:") and "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("sql", "instead"),
    [
        ("SELECT * FROM spine", "named columns"),
        ("SELECT s.* FROM spine AS s", "named columns"),
        ("SELECT DISTINCT customer_id, as_of FROM spine", "GROUP BY"),
        ("SELECT customer_id, as_of, 1 FROM spine", "AS name"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine ORDER BY customer_id", "sorted"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine LIMIT 5", "ROW_NUMBER"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine TABLESAMPLE (10 PERCENT)", "repeatable"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine QUALIFY ROW_NUMBER() OVER (ORDER BY customer_id) = 1", "QUALIFY"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine UNION SELECT customer_id, as_of, 2 AS f FROM spine", "UNION ALL"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s CROSS JOIN orders AS o", "ON a.key = b.key"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s, orders AS o", "ON a.key = b.key"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s JOIN orders AS o ON o.invoice_date < s.as_of", "multiplies"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s RIGHT JOIN orders AS o ON o.customer_id = s.customer_id", "RIGHT"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s FULL JOIN orders AS o ON o.customer_id = s.customer_id", "FULL"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s SEMI JOIN orders AS o ON o.customer_id = s.customer_id", "SEMI"),
        ("SELECT s.customer_id, s.as_of, 1 AS f FROM spine AS s NATURAL JOIN orders AS o", "NATURAL"),
        ("SELECT s.as_of FROM spine AS s ASOF JOIN orders AS o MATCH_CONDITION (s.as_of > o.ts) ON o.a = s.a", "LAST_VALUE"),
        ("SELECT customer_id, as_of, (SELECT MAX(quantity) AS q FROM orders) AS f FROM spine", "a JOIN"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine WHERE customer_id IN (SELECT customer_id FROM orders)", "a JOIN"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine AS s WHERE EXISTS (SELECT 1 AS x FROM orders AS o)", "a JOIN"),
        ("SELECT customer_id, as_of, COUNT(1) AS f FROM spine GROUP BY 1, 2", "column's name"),
        ("SELECT customer_id, as_of, COUNT(1) AS f FROM spine GROUP BY ROLLUP (customer_id, as_of)", "docs/features.md"),
        ("SELECT /*+ BROADCAST(spine) */ customer_id, as_of, 1 AS f FROM spine", "every engine"),
        ("SELECT customer_id, as_of, 1 AS f FROM spine; DROP TABLE orders", "one SELECT"),
        ("DELETE FROM orders", "one SELECT"),
        ("SELECT customer_id as_of FROM FROM", "Spark SQL"),
        ("SELECT customer_id, as_of, colour AS f FROM spine", "colour"),
        ("SELECT s.customer_id, s.as_of, MAX(o.quantty) AS f {J} GROUP BY s.customer_id, s.as_of", "did you mean quantity"),
        ("SELECT customer_id, as_of, 1 AS f FROM ordrs", "did you mean orders"),
        ("SELECT customer_id, 1 AS f FROM spine", "output columns as_of"),
        ("SELECT as_of, 1 AS f FROM spine", "output columns customer_id"),
        ("SELECT customer_id, as_of, 1 AS f, 2 AS f FROM spine", "twice"),
        ("SELECT customer_id, CAST('2026-01-01' AS DATE) AS as_of, 1 AS f FROM spine", "TIMESTAMP"),
        ("SELECT customer_id, as_of, {{ nosuch(a, b) }} AS f FROM spine", "snippets"),
        ("SELECT customer_id, as_of, {{ fixed(a) }} AS f FROM spine", "fixed"),
        ("SELECT customer_id, as_of, {{ fixed(a, 0) }} AS f FROM spine", "positive"),
        ("SELECT customer_id, as_of, {{ rolling_avg(a + 1, 10, w) }} AS f FROM spine", "a column"),
        ("SELECT customer_id, as_of, {{ spike(a, w, 2, mine) }} AS f FROM spine", "all or others"),
        ("SELECT customer_id, as_of, {{ a }} AS f FROM spine", "snippet(arguments)"),
        ("SELECT s.customer_id, s.as_of, ROW_NUMBER() OVER (PARTITION BY s.customer_id) AS f FROM spine AS s", "ORDER BY"),
        ("SELECT s.customer_id, s.as_of, LAG(o.quantity) OVER (PARTITION BY s.customer_id ORDER BY o.invoice_date) AS f {J}", "tie-break"),
        (f"SELECT s.customer_id, s.as_of, LAST_VALUE(o.quantity) OVER ({W}, o.invoice_no) AS f {{J}}", "frame"),
        ("SELECT s.customer_id, s.as_of, COUNT(DISTINCT o.country) OVER (PARTITION BY s.customer_id) AS f {J}", "GROUP BY"),
        (f"SELECT s.customer_id, s.as_of, COUNT(o.country) OVER ({N} RANGE BETWEEN 3 PRECEDING AND CURRENT ROW) AS f {{J}}", "INTERVAL"),
    ],
)  # fmt: skip
def test_a_text_outside_the_subset_is_refused(sql: str, instead: str) -> None:
    with pytest.raises(FeatureViewError) as refused:
        load(sql.replace("{J}", JOINED), **AS_OF)
    assert instead in refused.value.message and "\n" not in refused.value.message


TEN = "ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"


@pytest.mark.parametrize(
    ("expression", "tail", "spec", "instead"),
    [
        (f"COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts {TEN})", "", {}, "tie-break"),
        ("COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts, seq ROWS BETWEEN 9 PRECEDING AND 1 FOLLOWING)", "", {}, "later"),
        ("LEAD(seq) OVER (PARTITION BY device_id ORDER BY ts, seq)", "", {}, "later"),
        ("MAX(seq) OVER (PARTITION BY device_id)", "", {}, "later"),
        ("MAX(seq) OVER (PARTITION BY device_id ORDER BY ts DESC, seq)", "", {}, "later"),
        ("MAX(seq) OVER (PARTITION BY device_id ORDER BY seq, ts)", "", {}, "later"),
        (f"COUNT(seq) OVER (ORDER BY ts, seq {TEN})", "", {}, "PARTITION BY device_id"),
        ("MAX(seq)", "GROUP BY device_id", {}, "GROUP BY with ts"),
        ("MAX(seq) OVER (PARTITION BY device_id ORDER BY ts)", "", {}, "bounded frame"),
        (f"COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts, seq {TEN})", "", {"lookback": {"rows": 5}}, "lookback"),
        (
            "COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW)",
            "", {"lookback": {"time": "5m"}}, "lookback",
        ),
        (
            "COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 1 HOUR PRECEDING AND INTERVAL 5 MINUTES PRECEDING)",
            "", {}, "one unit",
        ),
    ],
)  # fmt: skip
def test_a_row_level_view_that_would_see_later_rows_is_refused(
    expression: str, tail: str, spec: dict[str, Any], instead: str
) -> None:
    with pytest.raises(FeatureViewError) as refused:
        row(expression, tail, **spec)
    assert instead in refused.value.message


@pytest.mark.parametrize(
    "bound",
    ["", " AND o.invoice_date >= r.ts", " AND NOT o.invoice_date <= r.ts", " AND (o.invoice_date <= r.ts OR r.seq = 1)"],
)
def test_a_row_level_join_without_a_bound_in_time_is_refused(bound: str) -> None:
    spec = {**ROW, "from": ["readings", "orders"], "lookback": {"time": "1h"}}
    text = (
        "SELECT r.device_id, r.ts, COUNT(o.invoice_no) AS f FROM readings AS r "
        "LEFT JOIN orders AS o ON o.customer_id = r.device_id{} GROUP BY r.device_id, r.ts"
    )
    load(text.format(" AND o.invoice_date <= r.ts"), **spec)
    with pytest.raises(FeatureViewError, match="later rows"):
        load(text.format(bound), **spec)


def test_windows_over_windows_add_up_to_the_lookback() -> None:
    view = load(
        "WITH a AS (SELECT device_id, ts, seq, COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts, seq "
        "ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS n FROM readings) "
        "SELECT device_id, ts, LAG(n, 3) OVER (PARTITION BY device_id ORDER BY ts, seq) AS f FROM a",
        **ROW,
    )
    assert view.lookback.rows == 7


def test_a_declared_key_makes_an_order_total() -> None:
    schema = READINGS.with_metadata({"primary_key": "device_id,ts"})
    spec = FeatureViewSpec.model_validate(
        {
            **ROW,
            "name": "v",
            "sql": f"SELECT device_id, ts, COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts {TEN}) AS f FROM readings",
        }
    )
    assert load_view(spec, Path(), {"readings": schema}).lookback.rows == 9
    wider = READINGS.with_metadata({"primary_key": "device_id,ts,seq"})
    with pytest.raises(FeatureViewError, match="tie-break"):
        load_view(spec, Path(), {"readings": wider})


@pytest.mark.parametrize(
    "frame",
    [
        "RANGE BETWEEN INTERVAL 5 MINUTES PRECEDING AND CURRENT ROW",
        "RANGE BETWEEN INTERVAL 1 MINUTE FOLLOWING AND INTERVAL 61 MINUTES FOLLOWING",
        "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "",
    ],
)
def test_a_row_label_looks_ahead_no_further_than_its_horizon(frame: str) -> None:
    spine = pa.schema([("device_id", pa.string()), ("as_of", UTC_MICROS)])
    text = "SELECT device_id, ts, MAX(seq) OVER (PARTITION BY device_id ORDER BY ts {}) AS label FROM readings"

    def label(chosen: str) -> FeatureView:
        return load_label(
            LabelSpec(sql=text.format(chosen), horizon="60m"), Path(), {"readings": READINGS}, ("device_id",), "ts", spine
        )

    label("RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND INTERVAL 3600 SECONDS FOLLOWING")
    with pytest.raises(FeatureViewError, match="looks ahead"):
        label(frame)


def test_the_message_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "v.sql").write_text("SELECT s.customer_id,\n  s.as_of,\n  MEDIAN(o.quantity) AS f\nFROM spine AS s\n"
                                    "JOIN orders AS o ON o.customer_id = s.customer_id\nGROUP BY s.customer_id, s.as_of")  # fmt: skip
    spec = FeatureViewSpec.model_validate({**AS_OF, "name": "v", "sql": "v.sql"})
    with pytest.raises(FeatureViewError, match=r"^v\.sql:3: expected a known function, found MEDIAN: write"):
        load_view(spec, tmp_path, SCHEMAS)
    with pytest.raises(FeatureViewError, match=r"expected the file gone\.sql"):
        load_view(spec.model_copy(update={"sql": "gone.sql"}), tmp_path, SCHEMAS)


def bounded(most: float, sql: str) -> FeatureView:
    field = READINGS.field("vibration").with_metadata({"minimum": str(-most), "maximum": "1"})
    schema = READINGS.set(READINGS.names.index("vibration"), field)
    spec = {"name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    return load_view(FeatureViewSpec.model_validate(spec), Path(), {"readings": schema})


SPIKE = (
    "SELECT device_id, ts, {{{{ {formula} }}}} AS f FROM (SELECT device_id, ts, seq, {{{{ fixed(vibration, {scale}) }}}} AS v "
    "FROM readings) AS q WINDOW w AS (PARTITION BY device_id ORDER BY ts, seq ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)"
)


@pytest.mark.parametrize(
    ("most", "scale", "formula", "fits"),
    [
        (100, 10_000, "rolling_std(v, 10000, w)", True),
        (100, 1_000_000_000, "rolling_std(v, 1000000000, w)", False),
        (1e6, 10_000, "rolling_avg(v, 10000, w)", True),
        (1e18, 10, "rolling_avg(v, 10, w)", False),
        (10_000, 10_000, "spike(v, w)", True),
        (1_000_000, 1_000, "spike(v, w)", False),
    ],
)
def test_a_scale_that_may_overflow_within_the_contracts_bounds_is_refused_when_loaded(
    most: float, scale: int, formula: str, fits: bool
) -> None:
    sql = SPIKE.format(formula=formula, scale=scale)
    if fits:
        assert bounded(most, sql).features == ("f",)
        return
    with pytest.raises(FeatureViewError, match="smaller scale in fixed") as told:
        bounded(most, sql)
    assert "2^63" in str(told.value)


def test_without_bounds_in_the_contract_or_a_count_of_rows_nothing_is_refused() -> None:
    sql = SPIKE.format(formula="spike(v, w)", scale=10**12)
    spec = {"name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    assert load_view(FeatureViewSpec.model_validate(spec), Path(), {"readings": READINGS}).features == ("f",)
    fine = SPIKE.format(formula="spike(v, w)", scale=1000)
    minutes = fine.replace("ORDER BY ts, seq ROWS BETWEEN 9", "ORDER BY ts RANGE BETWEEN INTERVAL 9 MINUTES")
    assert bounded(1e6, minutes).features == ("f",)


@pytest.mark.parametrize("text", ["'open", r"'it\'", "/* open"])
def test_a_text_that_does_not_end_is_told_in_one_line(text: str) -> None:
    with pytest.raises(FeatureViewError, match="expected Spark SQL, found"):
        row(f"CASE WHEN level = 1 THEN {text} END")
