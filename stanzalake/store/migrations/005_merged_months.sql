-- A month that is over becomes one part: what a page costs grows with the parts that may hold some of it,
-- and a count looks for repeats only where there are several.
ALTER TABLE {table}{local}{on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
