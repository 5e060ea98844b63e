-- Per entity and as-of moment: what happened in the last four weeks. Sums are of whole numbers, so they are the same on every engine.
SELECT s.entity_id, s.as_of,
  COUNT(e.happened_at) AS events_28d,
  COUNT(CASE WHEN e.happened_at >= s.as_of - INTERVAL 7 DAYS THEN 1 END) AS events_7d,
  COALESCE(CAST(SUM({{ fixed(e.amount, 100) }}) AS BIGINT), 0) AS cents_28d
FROM spine AS s JOIN __NAME___events AS e ON e.entity_id = s.entity_id AND e.happened_at < s.as_of
GROUP BY s.entity_id, s.as_of
