-- Columns that are computed cost every statement that reads the table, used or not: they belong to the views.
{bodies};
ALTER TABLE {table}{local}{on_cluster}
    DROP COLUMN IF EXISTS body, DROP COLUMN IF EXISTS expired, DROP COLUMN IF EXISTS at
