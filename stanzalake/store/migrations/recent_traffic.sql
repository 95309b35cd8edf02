CREATE OR REPLACE VIEW {table}_recent_traffic{local}{on_cluster}
(
    position UInt64,
    block UInt64,
{columns}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT body
FROM
(
{messages}
)
COMMENT 'The messages of the view of traffic with their positions, and the last insert of the part of each'
