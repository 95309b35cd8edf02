-- What analysts want to know of messages without reading them.
{bodies};

CREATE OR REPLACE VIEW {table}_traffic{local}{on_cluster}
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
    message_id_hash String COMMENT 'Hash of the id that the sender gave it; empty without one'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT body FROM {table}_bodies{local}
COMMENT 'One row for each message of each archive, without its text'
;

CREATE OR REPLACE VIEW {table}_daily{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    kind LowCardinality(String) COMMENT 'Type of the stanza: chat, normal, groupchat, headline or error',
    direction Enum8('in' = 1, 'out' = 2) COMMENT 'in if the owner received it, out if the owner sent it',
    messages UInt64 COMMENT 'Messages'
)
SQL SECURITY INVOKER
AS SELECT day, host, kind, direction, count() AS messages
FROM {table}_traffic
GROUP BY ALL
COMMENT 'Messages in archives: one between two local users is in two, as out and as in';

CREATE OR REPLACE VIEW {table}_active{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    owners UInt64 COMMENT 'Owners with a message on that day',
    writers UInt64 COMMENT 'Those of them who wrote one'
)
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
(
    day Date COMMENT 'Day in UTC',
    sender String COMMENT 'Hash of the sender''s address',
    recipient String COMMENT 'Hash of the recipient''s address',
    messages UInt64 COMMENT 'Messages from one to the other, of the types chat and normal'
)
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
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    responder String COMMENT 'owner: how long owners took; peer: how long owners waited',
    answers UInt64 COMMENT 'Answers',
    p50 Float64 COMMENT 'Seconds that half of the answers took at most',
    p90 Float64 COMMENT 'Seconds that nine tenths of the answers took at most',
    p99 Float64 COMMENT 'Seconds that 99 in 100 of the answers took at most'
)
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
