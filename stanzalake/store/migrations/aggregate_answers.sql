SELECT
    day,
    host,
    if(direction = 'out', 'owner', 'peer') AS responder,
    count() AS answers,
    quantile(0.5)(seconds) AS p50,
    quantile(0.9)(seconds) AS p90,
    quantile(0.99)(seconds) AS p99
FROM
(
    SELECT
        day,
        host,
        direction,
        lagInFrame(toString(direction)) OVER conversation AS previous,
        dateDiff('millisecond', lagInFrame(at) OVER conversation, at) / 1000 AS seconds
    FROM {traffic}
    WHERE kind IN ('chat', 'normal') AND {days}
    WINDOW conversation AS
        (PARTITION BY day, owner_hash, peer_hash ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE previous NOT IN ('', toString(direction))
GROUP BY day, host, responder
