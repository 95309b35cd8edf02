SELECT
    toStartOfMonth(day) AS month,
    least(sender, recipient) AS one,
    greatest(sender, recipient) AS other,
    sum(pairs.messages) AS messages
FROM {table}_pairs AS pairs
WHERE {months}
GROUP BY month, one, other
