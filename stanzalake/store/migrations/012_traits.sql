-- Which messages are somebody's words, and which only say something about others: an inbox counts them without the texts.
-- Computed by inserts. The parts of before compute it when it is read, until the mutation has been through them.
ALTER TABLE {table}{local}{on_cluster} ADD COLUMN IF NOT EXISTS traits UInt16 MATERIALIZED {traits} CODEC(ZSTD(1));

ALTER TABLE {table}{local}{on_cluster} MATERIALIZE COLUMN traits SETTINGS mutations_sync = 0
