-- Aggregates of months, for questions that added up every day's rows of each owner or pair: they are made of those of days.
CREATE TABLE IF NOT EXISTS {table}_monthly_owners_rows{on_cluster}
(
    month Date,
    host String,
    owner_hash String,
    sent UInt64,
    received UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(month) ORDER BY (month, as_of, host, owner_hash);

CREATE TABLE IF NOT EXISTS {table}_monthly_conversations_rows{on_cluster}
(
    month Date,
    one String,
    other String,
    messages UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(month) ORDER BY (month, as_of, one, other);

CREATE TABLE IF NOT EXISTS {table}_monthly_senders_rows{on_cluster}
(
    month Date,
    sender String,
    messages UInt64,
    recipients UInt64,
    answered_by UInt64,
    as_of DateTime64(6, 'UTC')
)
ENGINE = {record_engine} PARTITION BY toYYYYMM(month) ORDER BY (month, as_of, sender);

-- As of days: months whose aggregates are complete, from the moment effective on.
CREATE TABLE IF NOT EXISTS {table}_computed_months{on_cluster}
(
    month      Date,
    as_of      DateTime64(6, 'UTC'),
    effective  DateTime64(6, 'UTC'),
    aggregates UInt8
)
ENGINE = {record_engine} ORDER BY month;

CREATE OR REPLACE VIEW {table}_clean_months{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT computed.month AS month, computed.as_of AS as_of
FROM
(
    SELECT month, max(as_of) AS as_of
    FROM {table}_computed_months
    WHERE effective <= now64(6, 'UTC') AND aggregates >= 1
    GROUP BY month
) AS computed
INNER JOIN
(
    SELECT toStartOfMonth(day) AS month, max(at) AS at FROM {table}_touched GROUP BY month
) AS touched ON touched.month = computed.month
WHERE touched.at < computed.as_of - INTERVAL 1 MINUTE
COMMENT 'Months that have not changed since their aggregates were computed';

CREATE OR REPLACE VIEW {table}_dirty_months{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT DISTINCT toStartOfMonth(day) AS month
FROM {table}_touched
WHERE month NOT IN (SELECT month FROM {table}_clean_months)
COMMENT 'Months that views add up anew';

CREATE OR REPLACE VIEW {table}_monthly_owners_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT month, host, owner_hash, sent, received, as_of
FROM {table}_monthly_owners_rows
WHERE (month, as_of) IN (SELECT month, as_of FROM {table}_clean_months);

CREATE OR REPLACE VIEW {table}_monthly_conversations_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT month, one, other, messages, as_of
FROM {table}_monthly_conversations_rows
WHERE (month, as_of) IN (SELECT month, as_of FROM {table}_clean_months);

CREATE OR REPLACE VIEW {table}_monthly_senders_computed{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT month, sender, messages, recipients, answered_by, as_of
FROM {table}_monthly_senders_rows
WHERE (month, as_of) IN (SELECT month, as_of FROM {table}_clean_months)
