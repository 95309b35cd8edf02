CREATE TABLE IF NOT EXISTS {table}_preferences{local}{on_cluster}
(
    owner    String                 CODEC(ZSTD(1)),
    position UInt64                 CODEC(ZSTD(1)),
    policy   LowCardinality(String),           -- always, never, roster; empty for an activation
    always   Array(String)          CODEC(ZSTD(1)),
    never    Array(String)          CODEC(ZSTD(1))
)
ENGINE = {engine}
ORDER BY (owner, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
