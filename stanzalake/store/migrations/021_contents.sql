-- Two more aggregates, for questions that read every message until now: of each owner, and of what messages are like.
CREATE TABLE IF NOT EXISTS {table}_owners_rows{on_cluster}
(
    day Date,
    host String,
    owner_hash String,
    sent UInt64,
    received UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, owner_hash);

CREATE TABLE IF NOT EXISTS {table}_contents_rows{on_cluster}
(
    day Date,
    host String,
    local_hour UInt8,
    kind LowCardinality(String),
    direction Enum8('in' = 1, 'out' = 2),
    encrypted LowCardinality(String),
    at_least UInt64,
    messages UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day)
ORDER BY (day, as_of, host, local_hour, kind, direction, encrypted, at_least);

-- Days that a former version computed count as changed.
CREATE OR REPLACE VIEW {table}_clean{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT computed.day AS day, computed.as_of AS as_of
FROM
(
    SELECT day, max(as_of) AS as_of
    FROM {table}_computed
    WHERE effective <= now64(6, 'UTC') AND aggregates >= 7
    GROUP BY day
) AS computed
INNER JOIN
(
    SELECT day, max(at) AS at FROM {table}_touched GROUP BY day
) AS touched ON touched.day = computed.day
WHERE touched.at < computed.as_of - INTERVAL 1 MINUTE
COMMENT 'Days that have not changed since their aggregates were computed';

CREATE OR REPLACE VIEW {table}_owners_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, owner_hash, sent, received, as_of
FROM {table}_owners_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_owners{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost of the archive',
    owner_hash String COMMENT 'Hash of the account''s address, the same in all views',
    sent UInt64 COMMENT 'Messages that the account sent',
    received UInt64 COMMENT 'Messages that it received',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, owner_hash, sent, received, as_of
FROM {table}_owners_computed
UNION ALL
SELECT day, host, owner_hash, sent, received, now64(6, 'UTC') AS as_of
FROM
(
{owners}
)
COMMENT 'Accounts with a message on a day, and how many they sent and received';

CREATE OR REPLACE VIEW {table}_contents_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, local_hour, kind, direction, encrypted, at_least, messages, as_of
FROM {table}_contents_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

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
