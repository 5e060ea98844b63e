-- Per reading: the device's last 10 readings and its last 10 minutes. Duplicate deliveries are removed first.
WITH dedup AS (
  SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS t, {{ fixed(vibration, 10000) }} AS v
  FROM (SELECT device_id, ts, temperature, vibration, ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq) AS rn
        FROM readings) AS numbered
  WHERE rn = 1)
SELECT device_id, ts,
  {{ rolling_avg(t, 1000, last10) }} AS temp_avg_10,
  {{ rolling_std(t, 1000, last10) }} AS temp_std_10,
  {{ rolling_avg(v, 10000, last10) }} AS vib_avg_10,
  {{ rolling_std(v, 10000, last10) }} AS vib_std_10,
  {{ spike(v, last10) }} AS vib_spike,
  {{ rolling_avg(t, 1000, minutes10) }} AS temp_avg_10m,
  CAST(MAX(t) OVER minutes10 - MIN(t) OVER minutes10 AS DOUBLE) / CAST(1000 AS DOUBLE) AS temp_range_10m,
  CAST(MAX(v) OVER minutes10 - MIN(v) OVER minutes10 AS DOUBLE) / CAST(10000 AS DOUBLE) AS vib_range_10m,
  COUNT(t) OVER minutes10 AS temp_n_10m
FROM dedup
WINDOW last10 AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
  minutes10 AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW)
