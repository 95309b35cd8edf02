SELECT day, host, kind, direction, count() AS messages
FROM {traffic}
WHERE {days}
GROUP BY day, host, kind, direction
