-- The retention that owners chose for their own archives, one row for each: the newest.
CREATE TABLE IF NOT EXISTS {table}_own_retention{local}{on_cluster}
(
    owner    String CODEC(ZSTD(1)),
    position UInt64,                  -- of the choice
    seconds  UInt64,                  -- for which messages are kept; 0: as long as the host keeps them
    horizon  UInt64,                  -- below it the former choice has hidden messages, which do not come back
    asked_by String CODEC(ZSTD(1))
)
ENGINE = {own_retention_engine}
ORDER BY owner
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Pages of owners without a choice do not look for one.
CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_own_retention_feed{on_cluster} TO {table}_erased
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT halfMD5(owner) AS owner, toUInt8(1) AS known FROM {table}_own_retention{local};

CREATE OR REPLACE VIEW {table}_own_horizons{local}{on_cluster}
(
    owner String,
    position UInt64,
    seconds UInt64,
    horizon UInt64
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    owner,
    position,
    seconds,
    {own_horizon} AS horizon
FROM {table}_own_retention{local} FINAL
COMMENT 'The position below which each owner with a choice has no messages now';

CREATE OR REPLACE VIEW {table}_hidden{local}{on_cluster}
(
    owner String,
    low UInt64,
    high UInt64,
    peer String
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT owner, low, high, peer FROM {table}_erasures{local}
UNION ALL
SELECT owner, toUInt64(0) AS low, horizon AS high, '' AS peer FROM {table}_own_horizons{local}
COMMENT 'The ranges of positions that readers do not see: erased, or older than the owner keeps';

{bodies}
