-- Per user, item the user clicked, and as-of moment: affinity, recency, last touch, popularity, co-occurrence.
WITH seen AS (
  SELECT s.user_id, s.item_id, s.as_of, COUNT(c.event_id) AS clicks, MAX(UNIX_MICROS(c.ts)) AS last_us,
    COUNT(CASE WHEN c.ts >= s.as_of - INTERVAL 7 DAYS THEN 1 END) AS clicks_7d,
    MAX_BY(COALESCE(c.channel, ''), STRUCT(c.ts, c.event_id)) AS last_channel
  FROM spine AS s JOIN clicks AS c ON c.user_id = s.user_id AND c.item_id = s.item_id AND c.ts < s.as_of
  GROUP BY s.user_id, s.item_id, s.as_of),
bought AS (
  SELECT customer_id AS user_id, stock_code AS item_id, COUNT(invoice_no) AS buys,
    CAST(SUM(quantity * {{ fixed(unit_price, 1000) }}) AS BIGINT) AS milli
  FROM purchases WHERE customer_id IS NOT NULL AND NOT invoice_no LIKE 'C%' GROUP BY customer_id, stock_code),
popular AS (SELECT item_id, COUNT(user_id) AS users, CAST(SUM(buys) AS BIGINT) AS buys FROM bought GROUP BY item_id),
-- items that at least two users bought both of; who buys by the hundred says nothing of what goes together
baskets AS (SELECT user_id FROM bought GROUP BY user_id HAVING COUNT(item_id) <= 100),
pairs AS (
  SELECT a.item_id, b.item_id AS other_id, COUNT(a.user_id) AS users
  FROM baskets AS k JOIN bought AS a ON a.user_id = k.user_id JOIN bought AS b ON b.user_id = k.user_id
  WHERE a.item_id <> b.item_id GROUP BY a.item_id, b.item_id HAVING COUNT(a.user_id) > 1),
-- for an item that a user clicked: how many bought it together with something that this user bought
together AS (
  SELECT v.user_id, v.item_id, CAST(SUM(p.users) AS BIGINT) AS users
  FROM seen AS v JOIN bought AS o ON o.user_id = v.user_id JOIN pairs AS p ON p.item_id = v.item_id AND p.other_id = o.item_id
  GROUP BY v.user_id, v.item_id),
catalog AS (SELECT item_id, MAX_BY(COALESCE(category, ''), STRUCT(ts, COALESCE(category, ''))) AS category,
    MAX_BY(COALESCE({{ fixed(price, 100) }}, 0), STRUCT(ts, COALESCE({{ fixed(price, 100) }}, 0))) AS cents FROM items GROUP BY item_id)
SELECT v.user_id, v.item_id, v.as_of, v.clicks, v.clicks_7d, COALESCE(b.buys, 0) AS buys,
  v.clicks + 5 * COALESCE(b.buys, 0) AS affinity, COALESCE(b.milli, 0) AS spend_milli,
  CAST(FLOOR((UNIX_MICROS(v.as_of) - v.last_us) / 3600000000) AS BIGINT) AS hours_since_click,
  v.last_channel, k.category, k.cents AS price_cents, COALESCE(p.users, 0) AS item_buyers, COALESCE(p.buys, 0) AS item_buys,
  COALESCE(t.users, 0) AS bought_together
FROM seen AS v
LEFT JOIN bought AS b ON b.user_id = v.user_id AND b.item_id = v.item_id
LEFT JOIN popular AS p ON p.item_id = v.item_id
LEFT JOIN together AS t ON t.user_id = v.user_id AND t.item_id = v.item_id
LEFT JOIN catalog AS k ON k.item_id = v.item_id
