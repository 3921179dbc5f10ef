-- Facts are durable first; the tables of orders and quotes, and the positions of an order's facts, follow a little later.

-- Up to which fact they show what the facts have made of them. The mirror, the position's complement, shows when
-- storage has changed it.
CREATE TABLE followed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL CHECK (position >= 0),
    mirror INTEGER NOT NULL CHECK (mirror = ~position)
) STRICT;

INSERT INTO followed SELECT 1, coalesce(max(position), 0), ~coalesce(max(position), 0) FROM facts;

-- Where an order's facts are. Incidents, which name an order and move none, have a key of their own.
CREATE TABLE order_facts (
    order_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT, WITHOUT ROWID;

INSERT INTO order_facts SELECT order_id, position FROM facts
WHERE order_id IS NOT NULL AND kind <> 'IncidentRaised' ORDER BY order_id, position;

DROP INDEX facts_of_order;
CREATE INDEX incidents_of_order ON facts (order_id) WHERE order_id IS NOT NULL AND kind = 'IncidentRaised';
