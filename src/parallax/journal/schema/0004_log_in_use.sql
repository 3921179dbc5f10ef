-- Has its row while the journal is in use: what was confirmed may then stand in the write-ahead log alone. A file with
-- the row and without its log is not whole: it was copied, moved or reached by another name without it.
CREATE TABLE log_in_use (
    id INTEGER PRIMARY KEY CHECK (id = 1)
) STRICT;
