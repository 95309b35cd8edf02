-- The copies in the two archives of local users have one sender and one recipient.
SELECT
    day,
    if(direction = 'out', owner_hash, peer_hash) AS sender,
    if(direction = 'out', peer_hash, owner_hash) AS recipient,
    greatest(countIf(direction = 'out'), countIf(direction = 'in')) AS messages
FROM {table}_traffic
WHERE kind IN ('chat', 'normal') AND {days}
GROUP BY day, sender, recipient
