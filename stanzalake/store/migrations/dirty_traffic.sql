CREATE OR REPLACE VIEW {table}_dirty_traffic{local}{on_cluster}
(
{columns}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT body
FROM
(
{messages_of_bodies}
    AND position >= (SELECT toUInt64(toUnixTimestamp(toDateTime(min(day) - 1, 'UTC'))) * 65536000 FROM {table}_dirty)
    AND position < (SELECT toUInt64(toUnixTimestamp(toDateTime(max(day) + 1, 'UTC'))) * 65536000 FROM {table}_dirty)
)
COMMENT 'Messages from the day before the first that views count to the last'
