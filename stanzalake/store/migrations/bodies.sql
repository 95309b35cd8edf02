-- The key is joined, not a scalar subquery, so that no plan shows it.
CREATE OR REPLACE VIEW {table}_bodies{local}{on_cluster}
(
{columns},
    body String COMMENT 'Text of the message'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toDate(toDateTime(intDiv(position, 65536000), 'UTC')) AS day,
    fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC') AS at,
    toHour(at, '{time_zone}') AS local_hour,
    splitByChar('@', message.owner)[-1] AS host,
    lower(hex(sipHash64Keyed(secret.key, message.owner))) AS owner_hash,
    splitByChar('@', peer)[-1] AS peer_host,
    lower(hex(sipHash64Keyed(secret.key, peer))) AS peer_hash,
    direction,
    kind,
    length(stanza) AS bytes,
    lengthUTF8(body) AS body_length,
    if(bitAnd(traits, 2) != 0, {encryption}, '') AS encrypted,
    bitAnd(traits, 4) != 0 AS has_attachment,
    bitAnd(traits, 8) != 0 AS is_reply,
    bitAnd(traits, 16) != 0 AS is_reaction,
    bitAnd(traits, 32) != 0 AS is_correction,
    -- With what no stanza has before them: else an address, sent as an id, would show the hash of the address.
    if(({thread} AS thread) = '', '', lower(hex(sipHash64Keyed(secret.key, concat('\0thread\0', thread))))) AS thread_hash,
    if(({message_id} AS message_id) = '', '', lower(hex(sipHash64Keyed(secret.key, concat('\0id\0', message_id)))))
        AS message_id_hash,
    -- Of the room and the author together: the hash of an account would tell analysts whom the room hides.
    if(
        kind != 'groupchat' OR peer != message.owner
            OR (if(occupant = '', peer_resource, occupant) AS author) = '',
        '',
        lower(hex(sipHash64Keyed(secret.key, concat(peer, '\0', author))))
    ) AS occupant_hash,
    direction = 'in' AND kind IN ('chat', 'normal') AND peer_resource != ''
        AND position(stanza, 'http://jabber.org/protocol/muc#user') > 0 AND {of_occupant} AS from_occupant,
    {body} AS body
FROM {messages} AS message
LEFT JOIN
(
    SELECT owner, groupUniqArray((low, high, peer)) AS erasures
    FROM {table}_hidden{local} GROUP BY owner
) AS erased ON erased.owner = message.owner
CROSS JOIN (SELECT key FROM {table}_secret ORDER BY made_at LIMIT 1) AS secret
WHERE {kept}
    AND kind != 'presence'
    AND NOT arrayExists(
        (erasure) -> position >= erasure.1 AND position < erasure.2 AND (erasure.3 = '' OR erasure.3 = peer),
        erasures
    )
COMMENT 'One row for each message of each archive, with its text'
