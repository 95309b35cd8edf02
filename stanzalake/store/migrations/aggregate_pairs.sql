-- The copies in the two archives of local users have one sender and one recipient.
SELECT day, copy.1 AS sender, copy.2 AS recipient, greatest(sum(copy.3), sum(copy.4)) AS messages
FROM
(
    SELECT
        day,
        arrayJoin(
            if(
                in_room,
                arrayMap(
                    (sender, recipient) ->
                        (if(sender = '', peer_hash, sender), if(recipient = '', peer_hash, recipient), toUInt64(sender != ''), toUInt64(sender = '')),
                    arrayResize(senders, greatest(length(senders), length(recipients)), '') AS all_senders,
                    arrayResize(recipients, length(all_senders), '')
                ),
                [(if(sent > 0, owner, peer_hash), if(sent > 0, peer_hash, owner), sent, received)]
            )
        ) AS copy
    FROM
    (
        SELECT
            day,
            peer_hash,
            in_room,
            -- Both copies of a private message have the room as the other party: what they share is the id.
            if(in_room AND message_id_hash != '', message_id_hash, concat(toString(direction), owner_hash)) AS id,
            any(owner_hash) AS owner,
            countIf(direction = 'out') AS sent,
            countIf(direction = 'in') AS received,
            arraySort(groupArrayIf((at, owner_hash), in_room AND direction = 'out')).2 AS senders,
            arraySort(groupArrayIf((at, owner_hash), in_room AND direction = 'in')).2 AS recipients
        FROM
        (
            SELECT *, max(from_occupant) OVER (PARTITION BY day, peer_hash) AS in_room
            FROM {traffic}
            WHERE kind IN ('chat', 'normal') AND {days}
        )
        GROUP BY day, peer_hash, in_room, id
    )
)
GROUP BY day, sender, recipient
