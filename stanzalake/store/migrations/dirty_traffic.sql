CREATE OR REPLACE VIEW {table}_dirty_traffic{local}{on_cluster}
(
{columns}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT body
FROM
(
{messages_of_bodies}
    AND position >= (SELECT greatest(toInt64(toUInt16(min(day))) - 1, 0) * 86400 * 65536000 FROM {table}_dirty)
    AND position < (SELECT (toInt64(toUInt16(max(day))) + 1) * 86400 * 65536000 FROM {table}_dirty)
)
COMMENT 'Messages from the day before the first that views count to the last'
