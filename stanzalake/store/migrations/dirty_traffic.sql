CREATE OR REPLACE VIEW {table}_dirty_traffic{local}{on_cluster}
(
{columns}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT (as_of, position, block)
FROM {table}_recent
WHERE as_of = (SELECT as_of FROM {table}_last_read) AND day >= (SELECT min(day) - 1 FROM {table}_dirty)
UNION ALL
SELECT * EXCEPT body
FROM
(
{new_messages}
    AND position >= (SELECT greatest(toInt64(toUInt16(min(day))) - 1, 0) * 86400 * 65536000 FROM {table}_dirty)
    -- The last day is that of whatever is dated behind it.
    AND position <=
    (
        SELECT if(max(day) = '2106-02-07', 18446744073709551615, toUInt64((toInt64(toUInt16(max(day))) + 1) * 86400 * 65536000 - 1))
        FROM {table}_dirty
    )
    AND (owner_hash, position) NOT IN
    (
        SELECT owner_hash, position FROM {table}_recent WHERE as_of = (SELECT as_of FROM {table}_last_read)
    )
)
COMMENT 'Messages from the day before the first that views count to the last'
