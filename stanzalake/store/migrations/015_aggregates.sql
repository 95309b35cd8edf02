-- The traffic with all of its columns, of which the views below count some.
{bodies};

{traffic};

-- Days that have changed, by inserts into the archive and by erasures, and when they did last.
CREATE TABLE IF NOT EXISTS {table}_touched{on_cluster} (day Date, at DateTime64(6, 'UTC'))
ENGINE = {touched_engine} ORDER BY day;

CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_touched_feed{on_cluster} TO {table}_touched
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT DISTINCT toDate(toDateTime(intDiv(position, 65536000), 'UTC')) AS day, now64(6, 'UTC') AS at
FROM {table}{local};

INSERT INTO {table}_touched (day, at)
SELECT DISTINCT toDate(toDateTime(intDiv(position, 65536000), 'UTC')), now64(6, 'UTC') - INTERVAL 1 HOUR FROM {table};

-- Days whose aggregates are complete, from the moment effective on: later than the insert, so that the parts of a
-- statement agree which days these are.
CREATE TABLE IF NOT EXISTS {table}_computed{on_cluster}
(
    day       Date,
    as_of     DateTime64(6, 'UTC'),
    effective DateTime64(6, 'UTC')
)
ENGINE = {record_engine} ORDER BY day;

CREATE TABLE IF NOT EXISTS {table}_daily_rows{on_cluster}
(
    day Date,
    host String,
    kind LowCardinality(String),
    direction Enum8('in' = 1, 'out' = 2),
    messages UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, kind, direction);

CREATE TABLE IF NOT EXISTS {table}_active_rows{on_cluster}
(
    day Date,
    host String,
    owners UInt64,
    writers UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host);

CREATE TABLE IF NOT EXISTS {table}_pairs_rows{on_cluster}
(
    day Date,
    sender String,
    recipient String,
    messages UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, sender, recipient);

CREATE TABLE IF NOT EXISTS {table}_answers_rows{on_cluster}
(
    day Date,
    host String,
    responder String,
    answers UInt64,
    p50 Float64,
    p90 Float64,
    p99 Float64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, responder);

-- A minute between a change and the computation: the clock of the insert is read before its rows are visible.
CREATE OR REPLACE VIEW {table}_clean{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT computed.day AS day, computed.as_of AS as_of
FROM
(
    SELECT day, max(as_of) AS as_of FROM {table}_computed WHERE effective <= now64(6, 'UTC') GROUP BY day
) AS computed
INNER JOIN
(
    SELECT day, max(at) AS at FROM {table}_touched GROUP BY day
) AS touched ON touched.day = computed.day
WHERE touched.at < computed.as_of - INTERVAL 1 MINUTE
COMMENT 'Days that have not changed since their aggregates were computed';

CREATE OR REPLACE VIEW {table}_dirty{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT DISTINCT day FROM {table}_touched WHERE day NOT IN (SELECT day FROM {table}_clean)
COMMENT 'Days that views count anew';

{dirty_traffic};

CREATE OR REPLACE VIEW {table}_daily_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, kind, direction, messages, as_of
FROM {table}_daily_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_daily{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    kind LowCardinality(String) COMMENT 'Type of the stanza: chat, normal, groupchat, headline or error',
    direction Enum8('in' = 1, 'out' = 2) COMMENT 'in if the owner received it, out if the owner sent it',
    messages UInt64 COMMENT 'Messages',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, kind, direction, messages, as_of
FROM {table}_daily_computed
UNION ALL
SELECT day, host, kind, direction, messages, now64(6, 'UTC') AS as_of
FROM
(
{daily}
)
COMMENT 'Messages in archives: one between two local users is in two, as out and as in';

CREATE OR REPLACE VIEW {table}_active_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, owners, writers, as_of
FROM {table}_active_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_active{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    owners UInt64 COMMENT 'Owners with a message on that day',
    writers UInt64 COMMENT 'Those of them who wrote one',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, owners, writers, as_of
FROM {table}_active_computed
UNION ALL
SELECT day, host, owners, writers, now64(6, 'UTC') AS as_of
FROM
(
{active}
)
COMMENT 'Owners with a message on a day, and those of them who wrote one';

CREATE OR REPLACE VIEW {table}_pairs_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, sender, recipient, messages, as_of
FROM {table}_pairs_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_pairs{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    sender String COMMENT 'Hash of the sender''s address',
    recipient String COMMENT 'Hash of the recipient''s address',
    messages UInt64 COMMENT 'Messages from one to the other, of the types chat and normal',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, sender, recipient, messages, as_of
FROM {table}_pairs_computed
UNION ALL
SELECT day, sender, recipient, messages, now64(6, 'UTC') AS as_of
FROM
(
{pairs}
)
COMMENT 'Messages from one to another, counted once also if both have them in their archives';

CREATE OR REPLACE VIEW {table}_answers_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, responder, answers, p50, p90, p99, as_of
FROM {table}_answers_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_answers{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost or MUC component of the archives',
    responder String COMMENT 'owner: how long owners took; peer: how long owners waited',
    answers UInt64 COMMENT 'Answers',
    p50 Float64 COMMENT 'Seconds that half of the answers took at most',
    p90 Float64 COMMENT 'Seconds that nine tenths of the answers took at most',
    p99 Float64 COMMENT 'Seconds that 99 in 100 of the answers took at most',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, responder, answers, p50, p90, p99, as_of
FROM {table}_answers_computed
UNION ALL
SELECT day, host, responder, answers, p50, p90, p99, now64(6, 'UTC') AS as_of
FROM
(
{answers}
)
COMMENT 'Seconds until the other side of a conversation answered, on the same day (UTC)'
