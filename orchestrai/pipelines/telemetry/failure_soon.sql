-- 1 where the device fails after this reading, within the next 30 minutes.
SELECT device_id, ts, COALESCE(MAX(stopped) OVER soon, 0) AS label
FROM (SELECT device_id, ts, MAX(CASE WHEN failed THEN 1 ELSE 0 END) AS stopped FROM readings GROUP BY device_id, ts) AS moments
WINDOW soon AS (PARTITION BY device_id ORDER BY ts
                RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND INTERVAL 1800 SECONDS FOLLOWING)
