SELECT
    day,
    host,
    uniqExact(owner_hash) AS owners,
    uniqExactIf(owner_hash, direction = 'out') AS writers
FROM {traffic}
WHERE NOT (kind = 'groupchat' AND owner_hash = peer_hash) AND {days}
GROUP BY day, host
