-- The messages of a day while its aggregates are computed, without texts: they are read once for all of them.
CREATE TABLE IF NOT EXISTS {table}_staged{on_cluster}
(
    day Date,
    at DateTime64(3, 'UTC'),
    local_hour UInt8,
    host String,
    owner_hash String,
    peer_host String,
    peer_hash String,
    direction Enum8('in' = 1, 'out' = 2),
    kind LowCardinality(String),
    body_length UInt64,
    encrypted LowCardinality(String),
    is_reaction Bool,
    message_id_hash String,
    occupant_hash String,
    from_occupant Bool,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toUnixTimestamp64Micro(as_of) ORDER BY (day, owner_hash, peer_hash, at)
