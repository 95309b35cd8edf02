SELECT day, host, kind, direction, count() AS messages
FROM {table}_traffic
WHERE {days}
GROUP BY day, host, kind, direction
