-- Facts, each carrying the hash of the one before, and the tables that they fold into. Instants are microseconds
-- since 1970 in UTC; amounts and rates are plain decimal text. A seal is the CRC-32 of a row's other columns as a
-- JSON array: storage that changes a row is found out when the row is read.

CREATE TABLE facts (
    position INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT,
    quote_id TEXT,
    order_id TEXT,
    began_at INTEGER,                                   -- of OrdersRead alone
    record BLOB NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX facts_of_order ON facts (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX facts_of_reads ON facts (user_id, began_at) WHERE began_at IS NOT NULL;

CREATE TRIGGER facts_are_never_changed BEFORE UPDATE ON facts
BEGIN SELECT RAISE(ABORT, 'a fact is never changed'); END;

CREATE TRIGGER facts_are_never_deleted BEFORE DELETE ON facts
BEGIN SELECT RAISE(ABORT, 'a fact is never deleted'); END;

CREATE TABLE users (
    number INTEGER PRIMARY KEY,                         -- in the order in which they became known, here and below
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    seal INTEGER NOT NULL
) STRICT;

CREATE TABLE quotes (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    rate TEXT NOT NULL,
    rate_from TEXT NOT NULL,
    rate_to TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    asked_by TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'claimed', 'executed', 'expired')),
    order_id TEXT,
    seal INTEGER NOT NULL
) STRICT;

CREATE INDEX quotes_by_time ON quotes (created_at);

CREATE TABLE orders (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    quote_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    amount TEXT NOT NULL,
    amount_key TEXT NOT NULL,                           -- sorts as the number does
    currency TEXT NOT NULL,
    rate TEXT,
    rate_from TEXT,
    rate_to TEXT,
    result TEXT,
    created_at INTEGER NOT NULL,
    placed_by TEXT NOT NULL,                            -- empty for an order placed elsewhere and found
    state TEXT NOT NULL CHECK (state IN (
        'claimed', 'sent', 'unknown', 'pending', 'completed', 'failed', 'refused', 'not_placed', 'withdrawn')),
    venue_order_id TEXT,
    sent_at INTEGER,
    answered_at INTEGER,
    settled_at INTEGER,
    reasons TEXT NOT NULL,                              -- a JSON array
    refusal INTEGER,
    conclusive_after INTEGER,
    absences INTEGER NOT NULL,
    last_look INTEGER,
    not_before INTEGER,                                 -- the last look that saw it pending, once it has settled
    holds INTEGER NOT NULL,                             -- whether the quote is this order's alone
    facts INTEGER NOT NULL,                             -- how many facts are about it
    seal INTEGER NOT NULL,
    CHECK (holds = (placed_by <> '' AND state NOT IN ('refused', 'withdrawn')))
) STRICT;

-- One quote, at most one order: the second claim breaks this key, whoever makes it. Only an order that was
-- withdrawn unsent or explicitly refused lets go of its quote.
CREATE UNIQUE INDEX orders_one_per_quote ON orders (quote_id) WHERE holds = 1;

CREATE INDEX orders_by_time ON orders (created_at);
CREATE INDEX orders_of_user ON orders (user_id, created_at);
CREATE INDEX orders_at_venue ON orders (venue_order_id) WHERE venue_order_id IS NOT NULL;

-- Rule 4, forward only, held by the file itself.
CREATE TRIGGER orders_settled_never_change BEFORE UPDATE ON orders
WHEN OLD.state IN ('completed', 'failed', 'refused', 'not_placed', 'withdrawn')
BEGIN SELECT RAISE(ABORT, 'a settled order never changes'); END;

CREATE TRIGGER orders_are_never_deleted BEFORE DELETE ON orders
BEGIN SELECT RAISE(ABORT, 'an order is never deleted'); END;

CREATE TABLE incidents (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    words TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    user_id TEXT,
    quote_id TEXT,
    order_id TEXT,
    resolved_at INTEGER,
    resolved_by TEXT NOT NULL,
    note TEXT NOT NULL,
    seal INTEGER NOT NULL
) STRICT;

CREATE INDEX incidents_open ON incidents (number) WHERE resolved_at IS NULL;

CREATE TABLE pause (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    since INTEGER NOT NULL,
    paused_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
