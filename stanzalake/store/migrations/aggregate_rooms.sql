SELECT
    day,
    host,
    owner_hash AS room,
    count() AS messages,
    uniqExactIf(occupant_hash, occupant_hash != '') AS writers
FROM {traffic}
WHERE kind = 'groupchat' AND owner_hash = peer_hash AND {days}
GROUP BY day, host, room
