-- 1 where the user buys the item in [as_of, as_of + 14 days).
SELECT s.user_id, s.item_id, s.as_of, CASE WHEN COUNT(o.invoice_no) > 0 THEN 1 ELSE 0 END AS label
FROM spine AS s
LEFT JOIN purchases AS o ON o.customer_id = s.user_id AND o.stock_code = s.item_id AND NOT o.invoice_no LIKE 'C%'
  AND o.invoice_date >= s.as_of AND o.invoice_date < s.as_of + INTERVAL 14 DAYS
GROUP BY s.user_id, s.item_id, s.as_of
