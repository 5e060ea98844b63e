-- 1 where the entity is seen in [as_of, as_of + 7 days).
SELECT s.entity_id, s.as_of, CASE WHEN COUNT(e.happened_at) > 0 THEN 1 ELSE 0 END AS label
FROM spine AS s
LEFT JOIN __NAME___events AS e ON e.entity_id = s.entity_id
  AND e.happened_at >= s.as_of AND e.happened_at < s.as_of + INTERVAL 7 DAYS
GROUP BY s.entity_id, s.as_of
