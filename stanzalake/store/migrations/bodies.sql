-- The key is joined, not a scalar subquery, so that no plan shows it.
CREATE OR REPLACE VIEW {table}_bodies{local}{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toDate(toDateTime(intDiv(position, 65536000), 'UTC')) AS day,
    fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC') AS at,
    splitByChar('@', message.owner)[-1] AS host,
    lower(hex(sipHash64Keyed(secret.key, message.owner))) AS owner_hash,
    splitByChar('@', peer)[-1] AS peer_host,
    lower(hex(sipHash64Keyed(secret.key, peer))) AS peer_hash,
    direction,
    kind,
    {body} AS body
FROM {table}{local} AS message FINAL
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
