-- The real bare JID of a room's author; empty in archives of accounts, where it costs nothing.
ALTER TABLE {table}{local}{on_cluster} ADD COLUMN IF NOT EXISTS occupant String CODEC(ZSTD(1)) AFTER legacy_id
