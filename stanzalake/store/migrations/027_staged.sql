-- The messages of a day while its aggregates are computed, without texts: they are read once for all of them.
CREATE TABLE IF NOT EXISTS {table}_staged{on_cluster}
(
    day Date,
    at DateTime64(3, 'UTC'),
    local_hour UInt8,
    host String,
    owner_hash String,
    peer_host String,
    peer_hash String,
    direction Enum8('in' = 1, 'out' = 2),
    kind LowCardinality(String),
    body_length UInt64,
    encrypted LowCardinality(String),
    is_reaction Bool,
    message_id_hash String,
    occupant_hash String,
    from_occupant Bool,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toUnixTimestamp64Micro(as_of) ORDER BY (day, owner_hash, peer_hash, at);

CREATE OR REPLACE VIEW {table}_contents{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    local_hour UInt8 COMMENT 'Hour of the day, 0 to 23, in the zone of STANZALAKE_TIME_ZONE',
    kind LowCardinality(String) COMMENT 'Type of the stanza: chat, normal, groupchat, headline or error',
    direction Enum8('in' = 1, 'out' = 2) COMMENT 'in if the owner received it, out if the owner sent it',
    encrypted LowCardinality(String) COMMENT 'Scheme of the encrypted payload: omemo, openpgp, pgp, otr, mls or other; empty without one',
    at_least UInt64 COMMENT 'Characters of the text, rounded down to a power of two; 0 without a text',
    messages UInt64 COMMENT 'Messages',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, local_hour, kind, direction, encrypted, at_least, messages, as_of
FROM {table}_contents_computed
UNION ALL
SELECT day, host, local_hour, kind, direction, encrypted, at_least, messages, now64(6, 'UTC') AS as_of
FROM
(
{contents}
)
COMMENT 'Messages in archives by hour, length and encryption'
