-- The copies in the two archives of local users have one sender and one recipient.
SELECT
    day,
    sender,
    recipient,
    greatest(countIf(side = 'out'), countIf(side = 'in')) AS messages
FROM
(
    SELECT
        day,
        direction AS side,
        if(direction = 'out', owner_hash, peer_hash) AS sender,
        if(direction = 'out', peer_hash, owner_hash) AS recipient
    FROM {table}_traffic
    WHERE kind IN ('chat', 'normal') AND {days} AND peer_hash GLOBAL NOT IN (SELECT peer_hash FROM {table}_traffic WHERE from_occupant AND {days})
    UNION ALL
    -- Both copies of a private message have the room as the other party: what they share is the id.
    SELECT
        day,
        max(direction) AS side,
        if(countIf(direction = 'out') > 0, anyIf(owner_hash, direction = 'out'), peer_hash) AS sender,
        if(countIf(direction = 'in') > 0, anyIf(owner_hash, direction = 'in'), peer_hash) AS recipient
    FROM
    (
        SELECT
            day,
            direction,
            owner_hash,
            peer_hash,
            if(message_id_hash = '', concat(toString(direction), owner_hash), message_id_hash) AS id,
            row_number() OVER (PARTITION BY day, peer_hash, id, direction ORDER BY at) AS number
        FROM {table}_traffic
        WHERE kind IN ('chat', 'normal') AND {days} AND peer_hash GLOBAL IN (SELECT peer_hash FROM {table}_traffic WHERE from_occupant AND {days})
    )
    GROUP BY day, peer_hash, id, number
)
GROUP BY day, sender, recipient
