SELECT
    day,
    host,
    uniqExact(owner_hash) AS owners,
    uniqExactIf(owner_hash, direction = 'out') AS writers
FROM {table}_traffic
WHERE {days}
GROUP BY day, host
