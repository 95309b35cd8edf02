-- Each copy of a retracted message that was stored again: as 014 made this view at first, some kept their content.
CREATE OR REPLACE VIEW {table}_retracted{local}{on_cluster}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS {pending}
COMMENT 'Retracted messages of recent tombstones whose content is on the disk, with their tombstones'
