CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Instances have a small integer key besides their id: history then needs 10 bytes of index per segment instead of 40, and
-- hot instances, which were mostly started together, share index pages.
CREATE TABLE instances (
    iid           INTEGER PRIMARY KEY,
    instance_id   TEXT NOT NULL UNIQUE,
    partition     INTEGER NOT NULL,
    execution_id  TEXT NOT NULL,
    generation    INTEGER NOT NULL,
    name          TEXT NOT NULL,
    version       TEXT,
    status        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    custom_status TEXT,
    tags          TEXT NOT NULL,
    parent_id     TEXT,
    pending       INTEGER NOT NULL,
    wake_at       INTEGER,
    first_seq     INTEGER NOT NULL
) STRICT;

-- Both are covering and hold the waiting instances only, so dormant and ended ones cost recovery nothing.
CREATE INDEX instances_with_pending ON instances (instance_id, partition) WHERE pending > 0;
CREATE INDEX instances_due ON instances (wake_at, instance_id, partition) WHERE wake_at IS NOT NULL;

-- Rows are appended: the segments of one batch fill a few pages, whatever instances they belong to.
CREATE TABLE history (
    iid    INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    events BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX history_by_instance ON history (iid, seq);

CREATE TABLE messages (
    message_id  TEXT PRIMARY KEY,
    instance_id TEXT NOT NULL,
    partition   INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_by_instance ON messages (instance_id);

CREATE TABLE partitions (
    partition  INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
