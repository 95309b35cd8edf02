CREATE TABLE {table} (`owner` String CODEC(ZSTD(1)), `position` UInt64 CODEC(Delta(8), ZSTD(1)), `peer` String CODEC(ZSTD(1)), `peer_resource` String CODEC(ZSTD(1)), `direction` Enum8('in' = 1, 'out' = 2), `kind` LowCardinality(String), `stanza` String CODEC(ZSTD(3)), `legacy_id` String CODEC(ZSTD(1)), `occupant` String CODEC(ZSTD(1))) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC')) ORDER BY (owner, position) SETTINGS index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 60, min_rows_to_fsync_after_merge = 1, min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1;

CREATE TABLE {table}_changes (`owner` String, `at` DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), `begins` UInt8 DEFAULT 0, `horizon` UInt64 DEFAULT 0) ENGINE = ReplacingMergeTree ORDER BY (at, owner) TTL toDateTime(at) + toIntervalHour(1) WHERE horizon = 0, toDateTime(at) + toIntervalDay(30) WHERE horizon > 0 SETTINGS index_granularity = 8192;

CREATE TABLE {table}_erased (`owner` UInt64, `known` UInt8) ENGINE = Join(ANY, LEFT, owner) SETTINGS persistent = 0;

CREATE TABLE {table}_erasures (`owner` String CODEC(ZSTD(1)), `position` UInt64 CODEC(ZSTD(1)), `peer` String CODEC(ZSTD(1)), `low` UInt64 CODEC(ZSTD(1)), `high` UInt64 CODEC(ZSTD(1)), `account` Bool, `asked_by` String CODEC(ZSTD(1)), `at` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC')) ENGINE = ReplacingMergeTree ORDER BY (owner, position) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192;

CREATE TABLE {table}_migrations (`number` UInt16, `name` String, `applied_at` DateTime('UTC') DEFAULT now('UTC')) ENGINE = MergeTree ORDER BY number SETTINGS index_granularity = 8192;

CREATE TABLE {table}_preferences (`owner` String CODEC(ZSTD(1)), `position` UInt64 CODEC(ZSTD(1)), `policy` LowCardinality(String), `always` Array(String) CODEC(ZSTD(1)), `never` Array(String) CODEC(ZSTD(1))) ENGINE = ReplacingMergeTree ORDER BY (owner, position) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192, old_parts_lifetime = 60, min_rows_to_fsync_after_merge = 1;

CREATE TABLE {table}_retention (`retention` String, `made_at` DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = MergeTree ORDER BY made_at SETTINGS index_granularity = 8192;

CREATE TABLE {table}_secret (`key` Tuple(UInt64, UInt64), `made_at` DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = MergeTree ORDER BY made_at SETTINGS index_granularity = 8192;

CREATE VIEW {table}_bodies (`day` Date, `at` DateTime64(3, 'UTC'), `host` String, `owner_hash` String, `peer_host` String, `peer_hash` String, `direction` Enum8('in' = 1, 'out' = 2), `kind` LowCardinality(String), `body` String) DEFINER = default SQL SECURITY DEFINER COMMENT 'One row for each message of each archive, with its text' AS SELECT toDate(toDateTime(intDiv(position, 65536000), 'UTC')) AS day, fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC') AS at, splitByChar('@', message.owner)[-1] AS host, lower(hex(sipHash64Keyed(secret.key, message.owner))) AS owner_hash, splitByChar('@', peer)[-1] AS peer_host, lower(hex(sipHash64Keyed(secret.key, peer))) AS peer_hash, direction, kind, decodeXMLComponent(if(match(stanza, '^<message[^<>]*><body>'), extract(stanza, '<body>([^<]*)'), extract(arrayFirst((tag, opened, depth) -> (((depth + (opened = 0)) = 2) AND match(tag, '^body[\\s/>]') AND ((NOT match(tag, '^[^>]*\\sxmlns=')) OR match(tag, '^[^>]*\\sxmlns=["\']jabber:client["\']'))), splitByChar('<', stanza) AS tags, arrayMap(tag -> multiIf(tag = '', 0, startsWith(tag, '/'), -1, match(tag, '^[^>]*/>'), 0, 1), tags) AS opens, arrayCumSum(opens)), '(?s)>(.*)'))) AS body FROM {table} AS message FINAL LEFT JOIN (SELECT owner, groupUniqArray((low, high, peer)) AS erasures FROM {table}_erasures GROUP BY owner) AS erased ON erased.owner = message.owner CROSS JOIN (SELECT key FROM {table}_secret ORDER BY made_at ASC LIMIT 1) AS secret WHERE (position >= (greatest(toInt64(toUnixTimestamp(now('UTC'))) - 1000000000000, 0) * 65536000)) AND (NOT arrayExists(erasure -> ((position >= (erasure.1)) AND (position < (erasure.2)) AND (((erasure.3) = '') OR ((erasure.3) = peer))), erasures));

CREATE VIEW {table}_traffic (`day` Date, `at` DateTime64(3, 'UTC'), `host` String, `owner_hash` String, `peer_host` String, `peer_hash` String, `direction` Enum8('in' = 1, 'out' = 2), `kind` LowCardinality(String)) DEFINER = default SQL SECURITY DEFINER COMMENT 'One row for each message of each archive, without its text' AS SELECT * EXCEPT body FROM {table}_bodies;

CREATE MATERIALIZED VIEW {table}_erased_feed TO {table}_erased (`owner` UInt64, `known` UInt8) DEFINER = default SQL SECURITY DEFINER AS SELECT halfMD5(owner) AS owner, toUInt8(1) AS known FROM {table}_erasures;

INSERT INTO {table}_migrations (number, name) VALUES ('1', 'messages'), ('10', 'open_changes'), ('11', 'retention'), ('2', 'preferences'), ('3', 'erasures'), ('4', 'views'), ('5', 'merged_months'), ('6', 'erasure_filter'), ('7', 'columns_of_views'), ('8', 'changes'), ('9', 'occupants');

INSERT INTO {table}_retention (retention) VALUES ('{"default":null,"hosts":{}}');

INSERT INTO {table}_secret (key) VALUES ((1, 2))
