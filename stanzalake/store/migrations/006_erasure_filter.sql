-- In memory, so that pages of the many owners without erasures need not look for any: hashes of the owners with
-- erasures, and 0 once all are in it. A restart empties it, and a processor fills it again.
CREATE TABLE IF NOT EXISTS {table}_erased{on_cluster} (owner UInt64, known UInt8)
ENGINE = Join(ANY, LEFT, owner) SETTINGS persistent = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_erased_feed{on_cluster} TO {table}_erased
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT halfMD5(owner) AS owner, toUInt8(1) AS known FROM {table}_erasures{local};

-- The bytes of what lightweight deletes of older versions hid.
ALTER TABLE {table}{local}{on_cluster} APPLY DELETED MASK SETTINGS mutations_sync = 0
