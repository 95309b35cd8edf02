-- The messages of the last days without texts, as read once an hour: views that count these days read the rest of them alone,
-- from the parts that came since. A server's own: parts of several shards are not numbered together.
CREATE TABLE IF NOT EXISTS {table}_recent{on_cluster}
(
    as_of DateTime64(6, 'UTC'),
    position UInt64,
    block UInt64 COMMENT 'The last insert of the part that the message was read from',
{columns}
)
ENGINE = {record_engine} PARTITION BY toUnixTimestamp64Micro(as_of) ORDER BY (day, owner_hash, peer_hash, position);

-- The last reading, and the last change that a later reading has to follow: what is hidden after a reading is still in it.
CREATE TABLE IF NOT EXISTS {table}_recent_reads{on_cluster}
(
    is_read Bool,
    at DateTime64(6, 'UTC'),
    low UInt64 COMMENT 'Position from which messages were read',
    block UInt64 COMMENT 'The last insert that was read'
)
ENGINE = {touched_engine} ORDER BY is_read;

CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_recent_erasures{on_cluster} TO {table}_recent_reads
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT false AS is_read, now64(6, 'UTC') AS at, toUInt64(0) AS low, toUInt64(0) AS block FROM {table}_erasures{local};

CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_recent_retentions{on_cluster} TO {table}_recent_reads
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT false AS is_read, now64(6, 'UTC') AS at, toUInt64(0) AS low, toUInt64(0) AS block FROM {table}_own_retention{local};

-- A minute, as in the view of clean days. Parts are numbered anew after a restart, if the last ones are gone.
CREATE OR REPLACE VIEW {table}_last_read{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT if(is_valid, read.1, toDateTime64(0, 6, 'UTC')) AS as_of, if(is_valid, read.3, 0) AS block
FROM
(
    SELECT
        maxIf((at, low, block), is_read) AS read,
        read.1 - INTERVAL 1 MINUTE > maxIf(at, NOT is_read)
            AND read.1 > now64(6, 'UTC') - toIntervalSecond(uptime())
            AND (SELECT min(day) FROM {table}_dirty) > toDate(toDateTime(intDiv(read.2, 65536000), 'UTC')) AS is_valid
    FROM {table}_recent_reads
)
COMMENT 'The reading of the last days that the views may use; without a block if there is none';

{dirty_traffic};

{recent_traffic}
