SELECT
    toStartOfMonth(day) AS month,
    host,
    owner_hash,
    sum(owners.sent) AS sent,
    sum(owners.received) AS received
FROM {table}_owners AS owners
WHERE {months}
GROUP BY month, host, owner_hash
