-- The retention by which bytes are removed, the newest row: a shorter one comes into force once an operator confirms it.
CREATE TABLE IF NOT EXISTS {table}_retention{on_cluster}
(
    retention String,
    made_at   DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {record_engine} ORDER BY made_at
