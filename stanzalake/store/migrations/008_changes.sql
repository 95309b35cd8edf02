-- Changes that no tap stamped, for readers that keep copies: they ask for them several times a second.
CREATE TABLE IF NOT EXISTS {table}_changes{local}{on_cluster}
(
    owner String,
    at    DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {engine}
ORDER BY (at, owner)
TTL toDateTime(at) + INTERVAL 1 HOUR
