-- The first answer given under each idempotency key, for a day. Not facts: no part of the chain.

CREATE TABLE answers (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    answer BLOB NOT NULL,
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
