-- 1 where the customer buys nothing in [as_of, as_of + 60 days): the customer has left.
SELECT s.customer_id, s.as_of, CASE WHEN COUNT(o.invoice_no) = 0 THEN 1 ELSE 0 END AS label
FROM spine AS s
LEFT JOIN orders AS o ON o.customer_id = s.customer_id AND NOT o.invoice_no LIKE 'C%'
  AND o.invoice_date >= s.as_of AND o.invoice_date < s.as_of + INTERVAL 60 DAYS
GROUP BY s.customer_id, s.as_of
