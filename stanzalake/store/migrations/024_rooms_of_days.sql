-- Days that a former version computed count as changed: which party is a room is decided for each day by itself now.
CREATE OR REPLACE VIEW {table}_clean{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT computed.day AS day, computed.as_of AS as_of
FROM
(
    SELECT day, max(as_of) AS as_of
    FROM {table}_computed
    WHERE effective <= now64(6, 'UTC') AND aggregates >= 9
    GROUP BY day
) AS computed
INNER JOIN
(
    SELECT day, max(at) AS at FROM {table}_touched GROUP BY day
) AS touched ON touched.day = computed.day
WHERE touched.at < computed.as_of - INTERVAL 1 MINUTE
COMMENT 'Days that have not changed since their aggregates were computed';

{dirty_traffic};

CREATE OR REPLACE VIEW {table}_pairs{on_cluster}
(
    day Date COMMENT 'Day in UTC',
    sender String COMMENT 'Hash of the sender''s address; of the room if only the recipient''s archive has a private message',
    recipient String COMMENT 'Hash of the recipient''s address; of the room if only the sender''s archive has a private message',
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
COMMENT 'Messages from one to another, each once, also those in both archives and private messages of rooms'
