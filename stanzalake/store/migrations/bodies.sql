-- The key is joined, not a scalar subquery, so that no plan shows it.
CREATE OR REPLACE VIEW {table}_bodies{local}{on_cluster}
(
    day Date COMMENT 'Day in UTC: narrow every query by it',
    at DateTime64(3, 'UTC') COMMENT 'Time of the archive, in UTC',
    local_hour UInt8 COMMENT 'Hour of the day, 0 to 23, in the zone of STANZALAKE_TIME_ZONE',
    host String COMMENT 'VirtualHost or MUC component of the archive''s owner',
    owner_hash String COMMENT 'Hash of the owner''s address, the same in all views',
    peer_host String COMMENT 'Host of the other party',
    peer_hash String COMMENT 'Hash of the other party''s address',
    direction Enum8('in' = 1, 'out' = 2) COMMENT 'in if the owner received it, out if the owner sent it',
    kind LowCardinality(String) COMMENT 'Type of the stanza: chat, normal, groupchat, headline or error',
    bytes UInt64 COMMENT 'Bytes of the stanza',
    body_length UInt64 COMMENT 'Characters of the text; of an encrypted message, of the note in its place',
    encrypted LowCardinality(String) COMMENT 'Scheme of the encrypted payload: omemo, openpgp, pgp, otr, mls or other; empty without one',
    has_attachment Bool COMMENT 'Whether a file is attached (XEP-0066, XEP-0385, XEP-0447)',
    is_reply Bool COMMENT 'Whether it replies to another message (XEP-0461)',
    is_reaction Bool COMMENT 'Whether it is a reaction to another message (XEP-0444)',
    is_correction Bool COMMENT 'Whether it corrects another message (XEP-0308)',
    thread_hash String COMMENT 'Hash of the thread that it names; empty without one',
    message_id_hash String COMMENT 'Hash of the id that the sender gave it; empty without one',
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
    if(({thread} AS thread) = '', '', lower(hex(sipHash64Keyed(secret.key, thread)))) AS thread_hash,
    if(({message_id} AS message_id) = '', '', lower(hex(sipHash64Keyed(secret.key, message_id)))) AS message_id_hash,
    {body} AS body
FROM {messages} AS message
LEFT JOIN
(
    SELECT owner, groupUniqArray((low, high, peer)) AS erasures
    FROM {table}_erasures{local} GROUP BY owner
) AS erased ON erased.owner = message.owner
CROSS JOIN (SELECT key FROM {table}_secret ORDER BY made_at LIMIT 1) AS secret
WHERE {kept}
    AND NOT arrayExists(
        (erasure) -> position >= erasure.1 AND position < erasure.2 AND (erasure.3 = '' OR erasure.3 = peer),
        erasures
    )
COMMENT 'One row for each message of each archive, with its text'
