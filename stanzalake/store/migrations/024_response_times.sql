-- Three more aggregates, for questions that read every message until now: response times over midnight, other servers, and
-- writers of rooms over several days.
CREATE TABLE IF NOT EXISTS {table}_response_times_rows{on_cluster}
(
    day Date,
    host String,
    responder String,
    seconds Float64,
    answers UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, responder, seconds);

CREATE TABLE IF NOT EXISTS {table}_servers_rows{on_cluster}
(
    day Date,
    host String,
    peer_host String,
    owner_hash String,
    sent UInt64,
    received UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, peer_host, owner_hash);

CREATE TABLE IF NOT EXISTS {table}_occupants_rows{on_cluster}
(
    day Date,
    host String,
    room String,
    occupant_hash String,
    messages UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(day) ORDER BY (day, as_of, host, room, occupant_hash);

-- Days that a former version computed count as changed: which party is a room is decided for each day by itself now. A day changes
-- with the evening before, whose messages are answered.
CREATE OR REPLACE VIEW {table}_clean{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT computed.day AS day, computed.as_of AS as_of
FROM
(
    SELECT day, max(as_of) AS as_of
    FROM {table}_computed
    WHERE effective <= now64(6, 'UTC') AND aggregates >= 10
    GROUP BY day
) AS computed
INNER JOIN
(
    SELECT changed AS day, max(at) AS at FROM {table}_touched ARRAY JOIN [day, day + 1] AS changed GROUP BY changed
) AS touched ON touched.day = computed.day
WHERE touched.at < computed.as_of - INTERVAL 1 MINUTE
COMMENT 'Days that have not changed since their aggregates were computed';

CREATE OR REPLACE VIEW {table}_response_times_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, responder, seconds, answers, as_of
FROM {table}_response_times_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_servers_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, peer_host, owner_hash, sent, received, as_of
FROM {table}_servers_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean);

CREATE OR REPLACE VIEW {table}_occupants_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT day, host, room, occupant_hash, messages, as_of
FROM {table}_occupants_rows
WHERE (day, as_of) IN (SELECT day, as_of FROM {table}_clean)
