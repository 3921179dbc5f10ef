-- Up to which fact the tables of orders and quotes show what the facts have made of them. Facts are durable first;
-- these two tables follow a little later. The mirror, the position's complement, shows when storage has changed it.

CREATE TABLE followed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL CHECK (position >= 0),
    mirror INTEGER NOT NULL CHECK (mirror = ~position)
) STRICT;

INSERT INTO followed SELECT 1, coalesce(max(position), 0), ~coalesce(max(position), 0) FROM facts;
