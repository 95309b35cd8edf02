-- Stanzas have no CDATA, comments or processing instructions, and their writers escape ">" in attributes:
-- every "<" begins a tag, the first ">" behind it ends it, and counting tags gives the depth.
ALTER TABLE {table}{local}{on_cluster}
    ADD COLUMN IF NOT EXISTS body String ALIAS decodeXMLComponent(
        if(match(stanza, '^<message[^<>]*><body>'),
            extract(stanza, '<body>([^<]*)'),
            extract(
                arrayFirst(
                    (tag, depth) -> depth = 2 AND match(tag, '^body[\\s>]')
                        AND (NOT match(tag, '^[^>]*\\sxmlns=') OR match(tag, '^[^>]*\\sxmlns=["'']jabber:client["'']')),
                    splitByChar('<', stanza) AS tags,
                    arrayCumSum(
                        tag -> multiIf(tag = '', 0, startsWith(tag, '/'), -1, match(tag, '^[^>]*/>'), 0, 1),
                        tags
                    )
                ),
                '(?s)>(.*)'
            )
        )
    ),
    -- What has expired, until its bytes are gone: follows PROSODY_ARCHIVE_EXPIRES_AFTER.
    ADD COLUMN IF NOT EXISTS expired Bool ALIAS false;

-- Without a key, a hash of an address is found out by hashing addresses.
CREATE TABLE IF NOT EXISTS {table}_secret{on_cluster}
(
    key     Tuple(UInt64, UInt64),
    made_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {record_engine} ORDER BY made_at;

INSERT INTO {table}_secret (key) SETTINGS log_queries = 0
SELECT {secret} WHERE (SELECT count() FROM {table}_secret) = 0;

-- The key is joined, not a scalar subquery, so that no plan shows it.
CREATE OR REPLACE VIEW {table}_bodies{local}{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toDate(toDateTime(intDiv(position, 65536000), 'UTC')) AS day,
    at,
    splitByChar('@', owner)[-1] AS host,
    lower(hex(sipHash64Keyed(secret.key, owner))) AS owner_hash,
    splitByChar('@', peer)[-1] AS peer_host,
    lower(hex(sipHash64Keyed(secret.key, peer))) AS peer_hash,
    direction,
    kind,
    body
FROM {table}{local} AS message FINAL
CROSS JOIN (SELECT key FROM {table}_secret ORDER BY made_at LIMIT 1) AS secret
WHERE NOT expired
COMMENT 'One row for each message of each archive, with its text';

CREATE OR REPLACE VIEW {table}_traffic{local}{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT body FROM {table}_bodies{local}
COMMENT 'One row for each message of each archive, without its text';

CREATE OR REPLACE VIEW {table}_daily{on_cluster}
SQL SECURITY INVOKER
AS SELECT day, host, kind, direction, count() AS messages
FROM {table}_traffic
GROUP BY ALL
COMMENT 'Messages in archives: one between two local users is in two, as out and as in';

CREATE OR REPLACE VIEW {table}_active{on_cluster}
SQL SECURITY INVOKER
AS SELECT
    day,
    host,
    uniqExact(owner_hash) AS owners,
    uniqExactIf(owner_hash, direction = 'out') AS writers
FROM {table}_traffic
GROUP BY ALL
COMMENT 'Owners with a message on a day, and those of them who wrote one';

-- The copies in the two archives of local users have one sender and one recipient.
CREATE OR REPLACE VIEW {table}_pairs{on_cluster}
SQL SECURITY INVOKER
AS SELECT
    day,
    if(direction = 'out', owner_hash, peer_hash) AS sender,
    if(direction = 'out', peer_hash, owner_hash) AS recipient,
    greatest(countIf(direction = 'out'), countIf(direction = 'in')) AS messages
FROM {table}_traffic
WHERE kind IN ('chat', 'normal')
GROUP BY ALL
COMMENT 'Messages from one to another, counted once also if both have them in their archives';

CREATE OR REPLACE VIEW {table}_answers{on_cluster}
SQL SECURITY INVOKER
AS SELECT
    day,
    host,
    if(direction = 'out', 'owner', 'peer') AS responder,
    count() AS answers,
    quantile(0.5)(seconds) AS p50,
    quantile(0.9)(seconds) AS p90,
    quantile(0.99)(seconds) AS p99
FROM
(
    SELECT
        day,
        host,
        direction,
        lagInFrame(toString(direction)) OVER conversation AS previous,
        dateDiff('millisecond', lagInFrame(at) OVER conversation, at) / 1000 AS seconds
    FROM {table}_traffic
    WHERE kind IN ('chat', 'normal')
    WINDOW conversation AS
        (PARTITION BY day, owner_hash, peer_hash ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE previous NOT IN ('', toString(direction))
GROUP BY ALL
COMMENT 'Seconds until the other side of a conversation answered, on the same day (UTC)'
