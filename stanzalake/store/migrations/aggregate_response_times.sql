SELECT
    day,
    host,
    if(direction = 'out', 'owner', 'peer') AS responder,
    multiIf(elapsed < 100, round(elapsed, 1), elapsed < 1000, round(elapsed), elapsed < 10000, round(elapsed, -1), round(elapsed, -2))
        AS seconds,
    count() AS answers
FROM
(
    SELECT
        day,
        host,
        direction,
        lagInFrame(toString(direction)) OVER conversation AS previous,
        dateDiff('millisecond', lagInFrame(at) OVER conversation, at) / 1000 AS elapsed
    FROM {traffic}
    WHERE kind IN ('chat', 'normal') AND NOT is_reaction AND {days_and_eves}
    WINDOW conversation AS
        (PARTITION BY owner_hash, peer_hash ORDER BY at, direction ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE previous NOT IN ('', toString(direction)) AND elapsed <= 86400 AND {days}
GROUP BY day, host, responder, seconds
