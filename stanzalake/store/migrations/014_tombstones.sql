-- Retractions (XEP-0424, XEP-0425): readers look here for the messages that they read.
CREATE TABLE IF NOT EXISTS {table}_tombstones{local}{on_cluster}
(
    owner     String               CODEC(ZSTD(1)),
    position  UInt64               CODEC(ZSTD(1)),
    target    String               CODEC(ZSTD(1)),   -- names the message, see store/tombstones.py
    peer      String               CODEC(ZSTD(1)),
    asked_by  String               CODEC(ZSTD(1)),
    reason    String               CODEC(ZSTD(1)),
    retracted String               CODEC(ZSTD(1))    -- stands in place of the content
)
ENGINE = {engine}
ORDER BY (owner, target, position)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 60, min_rows_to_fsync_after_merge = 1;

-- Pages of owners without erasures and tombstones look for neither.
CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_tombstones_feed{on_cluster} TO {table}_erased
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT halfMD5(owner) AS owner, toUInt8(1) AS known FROM {table}_tombstones{local};

-- For the processor, which replaces contents and may not read any.
CREATE OR REPLACE VIEW {table}_retracted{local}{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS {pending}
COMMENT 'Retracted messages of recent tombstones whose content is on the disk, with their tombstones';

{bodies}