-- Archives of rooms, for analysts: in a view of their own, and no longer among the active accounts.
{bodies};

{traffic};

-- How many aggregates a computation made: former versions made four, and views count such days anew.
ALTER TABLE {table}_computed{on_cluster} ADD COLUMN IF NOT EXISTS aggregates UInt8 DEFAULT 4;

CREATE TABLE IF NOT EXISTS {table}_rooms_rows{on_cluster}
(
    day Date,
    host String,
    room String,
    messages UInt64,
    writers UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, room);

CREATE OR REPLACE VIEW {table}_clean{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT computed.day AS day, computed.as_of AS as_of
FROM
(
    SELECT day, max(as_of) AS as_of
    FROM {table}_computed
    WHERE effective <= now64(6, 'UTC') AND aggregates >= 5
    GROUP BY day
) AS computed
INNER JOIN
(
    SELECT day, max(at) AS at FROM {table}_touched GROUP BY day
) AS touched ON touched.day = computed.day
WHERE touched.at < computed.as_of - INTERVAL 1 MINUTE
COMMENT 'Days that have not changed since their aggregates were computed';

CREATE OR REPLACE VIEW {table}_active{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'VirtualHost of the archives',
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
COMMENT 'Accounts with a message on a day, and those of them who wrote one';

CREATE OR REPLACE VIEW {table}_rooms_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, room, messages, writers, as_of
FROM {table}_rooms_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_rooms{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    host String COMMENT 'MUC component of the room',
    room String COMMENT 'Hash of the room''s address, in the other views owner_hash',
    messages UInt64 COMMENT 'Messages in the room, each once, however many occupants got it',
    writers UInt64 COMMENT 'Occupants who wrote one, by their accounts; by nick if an import did not tell these',
    as_of DateTime64(6, 'UTC') COMMENT 'Moment of which the row is: now, or when a day that has not changed since was computed'
)
SQL SECURITY INVOKER
AS SELECT day, host, room, messages, writers, as_of
FROM {table}_rooms_computed
UNION ALL
SELECT day, host, room, messages, writers, now64(6, 'UTC') AS as_of
FROM
(
{rooms}
)
COMMENT 'Messages of a room on a day, and how many occupants wrote them'
