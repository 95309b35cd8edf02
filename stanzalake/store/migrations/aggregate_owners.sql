SELECT
    day,
    host,
    owner_hash,
    countIf(direction = 'out') AS sent,
    countIf(direction = 'in') AS received
FROM {traffic}
WHERE NOT (kind = 'groupchat' AND owner_hash = peer_hash) AND {days}
GROUP BY day, host, owner_hash
