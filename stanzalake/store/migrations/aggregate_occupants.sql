SELECT day, host, owner_hash AS room, occupant_hash, count() AS messages
FROM {traffic}
WHERE kind = 'groupchat' AND owner_hash = peer_hash AND {days}
GROUP BY day, host, room, occupant_hash
