SELECT
    day,
    host,
    local_hour,
    kind,
    direction,
    -- Not pushed down, as a filter of the key would be: through all of the expression's steps, half a second of planning.
    anyHeavy(traffic.encrypted) AS encrypted,
    if(body_length = 0, 0, toUInt64(exp2(floor(log2(body_length))))) AS at_least,
    count() AS messages
FROM {traffic} AS traffic
WHERE {days}
GROUP BY day, host, local_hour, kind, direction, traffic.encrypted, at_least
