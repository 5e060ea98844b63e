-- Per customer who bought or returned something in the last 90 days, and as-of moment: recency, frequency, money, returns, basket
-- breadth, country, trends and tenure. Tenure and the *_all columns reach back to the customer's first order.
WITH lines AS (
  SELECT s.customer_id, s.as_of, o.invoice_no, o.stock_code, o.country, o.invoice_date AS ts,
    o.invoice_no LIKE 'C%' AS returned, o.quantity * {{ fixed(o.unit_price, 1000) }} AS milli,
    o.invoice_date >= s.as_of - INTERVAL 30 DAYS AS in30, o.invoice_date >= s.as_of - INTERVAL 60 DAYS AS in60,
    o.invoice_date >= s.as_of - INTERVAL 90 DAYS AS in90
  FROM spine AS s JOIN orders AS o ON o.customer_id = s.customer_id AND o.invoice_date < s.as_of)
SELECT customer_id, as_of,
  CAST(FLOOR((UNIX_MICROS(as_of) - MAX(CASE WHEN NOT returned THEN UNIX_MICROS(ts) END)) / 86400000000) AS BIGINT) AS recency_days,
  CAST(FLOOR((UNIX_MICROS(as_of) - MIN(UNIX_MICROS(ts))) / 86400000000) AS BIGINT) AS tenure_days,
  COUNT(DISTINCT CASE WHEN NOT returned THEN invoice_no END) AS orders_all,
  COUNT(DISTINCT CASE WHEN NOT returned AND in30 THEN invoice_no END) AS orders_30d,
  COUNT(DISTINCT CASE WHEN NOT returned AND in60 THEN invoice_no END) AS orders_60d,
  COUNT(DISTINCT CASE WHEN NOT returned AND in90 THEN invoice_no END) AS orders_90d,
  CAST(COALESCE(CAST(SUM(CASE WHEN NOT returned THEN milli END) AS BIGINT), 0) AS DOUBLE) / CAST(1000 AS DOUBLE) AS money_all,
  CAST(COALESCE(CAST(SUM(CASE WHEN NOT returned AND in30 THEN milli END) AS BIGINT), 0) AS DOUBLE) / CAST(1000 AS DOUBLE) AS money_30d,
  CAST(COALESCE(CAST(SUM(CASE WHEN NOT returned AND in60 THEN milli END) AS BIGINT), 0) AS DOUBLE) / CAST(1000 AS DOUBLE) AS money_60d,
  CAST(COALESCE(CAST(SUM(CASE WHEN NOT returned AND in90 THEN milli END) AS BIGINT), 0) AS DOUBLE) / CAST(1000 AS DOUBLE) AS money_90d,
  COUNT(DISTINCT CASE WHEN returned THEN invoice_no END) AS returns_all,
  CAST(COUNT(CASE WHEN returned THEN 1 END) AS DOUBLE) / CAST(NULLIF(COUNT(invoice_no), 0) AS DOUBLE) AS return_rate,
  COUNT(DISTINCT CASE WHEN NOT returned THEN stock_code END) AS products_all,
  COUNT(DISTINCT CASE WHEN NOT returned AND in90 THEN stock_code END) AS products_90d,
  CAST(COUNT(CASE WHEN in30 THEN 1 END) AS DOUBLE) / CAST(NULLIF(COUNT(CASE WHEN in90 THEN 1 END), 0) AS DOUBLE) AS trend_30_90,
  CAST(COUNT(CASE WHEN in60 THEN 1 END) AS DOUBLE) / CAST(NULLIF(COUNT(CASE WHEN in90 THEN 1 END), 0) AS DOUBLE) AS trend_60_90,
  MAX(CASE WHEN country = 'United Kingdom' THEN 1 ELSE 0 END) AS is_uk
FROM lines
GROUP BY customer_id, as_of
HAVING COUNT(CASE WHEN in90 THEN 1 END) > 0
