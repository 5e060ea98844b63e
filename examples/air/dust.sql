-- The hour, and the worst of it and the three hours before.
SELECT
  station,
  at,
  pm25,
  MAX(pm25) OVER (PARTITION BY station ORDER BY at RANGE BETWEEN INTERVAL '3' HOUR PRECEDING AND CURRENT ROW) AS pm25_worst
FROM readings
