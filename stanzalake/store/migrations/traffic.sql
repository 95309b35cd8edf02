CREATE OR REPLACE VIEW {table}_traffic{local}{on_cluster}
(
{columns}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT * EXCEPT body FROM {table}_bodies{local}
COMMENT 'One row for each message of each archive, without its text'
