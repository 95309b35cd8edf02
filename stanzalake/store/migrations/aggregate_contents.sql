SELECT
    day,
    host,
    local_hour,
    kind,
    direction,
    encrypted,
    if(body_length = 0, 0, toUInt64(exp2(floor(log2(body_length))))) AS at_least,
    count() AS messages
FROM {table}_traffic
WHERE {days}
GROUP BY day, host, local_hour, kind, direction, encrypted, at_least
