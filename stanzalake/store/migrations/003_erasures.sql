CREATE TABLE IF NOT EXISTS {table}_erasures{local}{on_cluster}
(
    owner    String               CODEC(ZSTD(1)),
    position UInt64               CODEC(ZSTD(1)),
    peer     String               CODEC(ZSTD(1)),   -- empty for everybody
    low      UInt64               CODEC(ZSTD(1)),
    high     UInt64               CODEC(ZSTD(1)),
    account  Bool,                                  -- the account is gone, and its preferences
    asked_by String               CODEC(ZSTD(1)),
    at       DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC')
)
ENGINE = {engine}
ORDER BY (owner, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE {table}{local}{on_cluster} MODIFY SETTING old_parts_lifetime = 60, min_rows_to_fsync_after_merge = 1;
ALTER TABLE {table}_preferences{local}{on_cluster} MODIFY SETTING old_parts_lifetime = 60, min_rows_to_fsync_after_merge = 1
