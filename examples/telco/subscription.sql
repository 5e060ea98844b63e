-- Each customer as the file says it. The file has no clock, so every row is given the same moment.
SELECT customer_id, CAST('2020-01-01 00:00:00' AS TIMESTAMP) AS ts, gender, senior, partner, dependents, tenure, phone, lines,
  internet, security, backup, protection, support, tv, movies, contract, paperless, payment,
  CAST(monthly AS DOUBLE) AS monthly, CAST(total AS DOUBLE) AS total
FROM subscribers
