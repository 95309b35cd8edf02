-- A change is announced before it begins and once it is done; an expiry with its horizon.
ALTER TABLE {table}_changes{local}{on_cluster}
    ADD COLUMN IF NOT EXISTS begins UInt8 DEFAULT 0,
    ADD COLUMN IF NOT EXISTS horizon UInt64 DEFAULT 0;
ALTER TABLE {table}_changes{local}{on_cluster}
    MODIFY TTL toDateTime(at) + INTERVAL 1 HOUR DELETE WHERE horizon = 0,
        toDateTime(at) + INTERVAL 30 DAY DELETE WHERE horizon > 0
