CREATE TABLE IF NOT EXISTS {table}{local}{on_cluster}
(
    owner         String               CODEC(ZSTD(1)),
    position      UInt64               CODEC(Delta, ZSTD(1)),
    peer          String               CODEC(ZSTD(1)),
    peer_resource String               CODEC(ZSTD(1)),
    direction     Enum8('in' = 1, 'out' = 2),
    kind          LowCardinality(String),
    stanza        String               CODEC({codec}),
    legacy_id     String               CODEC(ZSTD(1)),
    at            DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC')
)
ENGINE = {engine}
PARTITION BY {partition_key}
ORDER BY (owner, position)
SETTINGS index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1
