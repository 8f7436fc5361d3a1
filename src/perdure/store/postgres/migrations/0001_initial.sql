-- "hub." stands for the schema of the hub and is replaced before this runs. Functions that engines call end in a number: a
-- release that changes one adds the next, so that older engines keep theirs during a rolling upgrade.

CREATE TABLE hub.meta (
    key   text PRIMARY KEY,
    value bigint NOT NULL
);
-- Engines that know at least this version of the schema can work with it, however much newer it is. A migration that breaks
-- with them raises it.
INSERT INTO hub.meta VALUES ('oldest_engine', 1);

-- The second key makes the epoch part of what FOR KEY SHARE protects: commits hold that lock on their partitions, so that a
-- new epoch waits for them, and a renewal, which changes the expiry only, does not.
CREATE TABLE hub.partitions (
    partition  integer PRIMARY KEY,
    epoch      bigint NOT NULL,
    owner      text NOT NULL,
    expires_at bigint NOT NULL,
    UNIQUE (partition, epoch)
) WITH (fillfactor = 50);

CREATE TABLE hub.members (
    owner           text COLLATE "C" PRIMARY KEY,
    owns_partitions boolean NOT NULL,
    runs_activities boolean NOT NULL,
    running         bigint NOT NULL,
    capacity        bigint NOT NULL,
    expires_at      bigint NOT NULL
) WITH (fillfactor = 50);

-- Instances have a small number besides their id: history then needs 16 bytes of key per segment instead of 40, and hot
-- instances, which were mostly started together, share index pages. Nothing looks an instance up by its number, so the
-- number needs no index.
CREATE TABLE hub.instances (
    iid           bigint GENERATED ALWAYS AS IDENTITY,
    created_at    bigint NOT NULL,
    first_seq     bigint NOT NULL,
    wake_at       bigint,
    partition     integer NOT NULL,
    generation    bigint NOT NULL,
    pending       bigint NOT NULL,
    instance_id   text COLLATE "C" PRIMARY KEY,
    status        text NOT NULL,
    name          text NOT NULL,
    execution_id  text NOT NULL,
    version       text,
    parent_id     text,
    tags          text NOT NULL,
    custom_status text
) WITH (fillfactor = 85);

-- Both hold the waiting instances only, so dormant and ended ones cost recovery nothing.
CREATE INDEX instances_with_pending ON hub.instances (instance_id, partition) WHERE pending > 0;
CREATE INDEX instances_due ON hub.instances (wake_at, instance_id, partition) WHERE wake_at IS NOT NULL;

CREATE TABLE hub.history (
    iid    bigint NOT NULL,
    seq    bigint NOT NULL,
    at     bigint NOT NULL,
    events bytea NOT NULL,
    PRIMARY KEY (iid, seq)
);

-- Two queues: many rows come and go and few stay, so what counts for the vacuum is a number of rows, not a share of them.
CREATE TABLE hub.messages (
    stored_at   bigint NOT NULL,
    partition   integer NOT NULL,
    message_id  text COLLATE "C" PRIMARY KEY,
    instance_id text COLLATE "C" NOT NULL,
    body        bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX messages_by_partition ON hub.messages (partition);
CREATE INDEX messages_by_instance ON hub.messages (instance_id);

CREATE TABLE hub.activities (
    place         bigint GENERATED ALWAYS AS IDENTITY,
    offered_at    bigint NOT NULL,
    claimed_until bigint NOT NULL,
    token         bigint NOT NULL,
    partition     integer NOT NULL,
    activity_id   text COLLATE "C" PRIMARY KEY,
    instance_id   text COLLATE "C" NOT NULL,
    name          text NOT NULL,
    claimed_by    text NOT NULL,
    body          bytea NOT NULL
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX activities_by_place ON hub.activities (place);
CREATE INDEX activities_by_instance ON hub.activities (instance_id);

-- The clock of the hub. Leases, claims and ages are judged by nothing else, so tests can put a clock that stands still here.
CREATE FUNCTION hub.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- A whole commit in one round trip. Lists come as one array per column, NULL where there is nothing of the kind. Gives the
-- places (from 1) of the leases that aren't current, having written nothing, or NULL.
-- Locks are taken in the order partitions, messages, members, activities, and within a table by key, here and in all that
-- follows, so that nobody waits for one who waits for him. Instances and history belong to the partition's owner alone.
CREATE FUNCTION hub.commit_1(
    _partitions integer[], _epochs bigint[],
    _deleted text[], _purged text[], _reset text[],
    _row_id text[], _row_partition integer[], _row_execution_id text[], _row_generation bigint[], _row_name text[],
    _row_version text[], _row_status text[], _row_created_at bigint[], _row_custom_status text[], _row_tags text[],
    _row_parent_id text[], _row_pending bigint[], _row_wake_at bigint[], _row_first_seq bigint[],
    _change_id text[], _change_status text[], _change_custom_status text[], _change_pending bigint[], _change_wake_at bigint[],
    _segment_instance text[], _segment_seq bigint[], _segment_at bigint[], _segment_events bytea[],
    _message_id text[], _message_instance text[], _message_partition integer[], _message_body bytea[],
    _consumed text[],
    _withdrawn text[],
    _settled text[], _settled_token bigint[],
    _owner text,
    _offer_id text[], _offer_instance text[], _offer_partition integer[], _offer_name text[], _offer_body bytea[],
    _offer_claimed_for bigint[]
) RETURNS integer[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now bigint;
    _current bigint;
BEGIN
    IF _partitions IS NOT NULL THEN
        SELECT count(*) INTO _current FROM (
            SELECT 1 FROM unnest(_partitions, _epochs) AS lease (partition, epoch)
            JOIN hub.partitions AS p ON p.partition = lease.partition AND p.epoch = lease.epoch
            ORDER BY p.partition FOR KEY SHARE OF p) AS locked;
        IF _current <> cardinality(_partitions) THEN
            RETURN (
                SELECT array_agg(lease.place::integer)
                FROM unnest(_partitions, _epochs) WITH ORDINALITY AS lease (partition, epoch, place)
                LEFT JOIN hub.partitions AS p ON p.partition = lease.partition
                WHERE p.epoch IS DISTINCT FROM lease.epoch);
        END IF;
    END IF;
    IF _message_id IS NOT NULL OR _offer_id IS NOT NULL THEN
        _now := hub.now_us();
    END IF;

    IF _deleted IS NOT NULL OR _reset IS NOT NULL THEN
        DELETE FROM hub.history WHERE iid = ANY (ARRAY(
            SELECT iid FROM hub.instances WHERE instance_id = ANY (_deleted || _reset)));
    END IF;
    IF _purged IS NOT NULL THEN
        DELETE FROM hub.messages WHERE message_id IN (
            SELECT message_id FROM hub.messages WHERE instance_id = ANY (_purged) ORDER BY message_id FOR UPDATE);
    END IF;
    IF _deleted IS NOT NULL THEN
        DELETE FROM hub.instances WHERE instance_id = ANY (_deleted);
    END IF;
    IF _row_id IS NOT NULL THEN
        INSERT INTO hub.instances (
            instance_id, partition, execution_id, generation, name, version, status, created_at, custom_status, tags, parent_id,
            pending, wake_at, first_seq)
        SELECT * FROM unnest(
            _row_id, _row_partition, _row_execution_id, _row_generation, _row_name, _row_version, _row_status, _row_created_at,
            _row_custom_status, _row_tags, _row_parent_id, _row_pending, _row_wake_at, _row_first_seq)
        ON CONFLICT (instance_id) DO UPDATE SET
            partition = excluded.partition, execution_id = excluded.execution_id, generation = excluded.generation,
            name = excluded.name, version = excluded.version, status = excluded.status, created_at = excluded.created_at,
            custom_status = excluded.custom_status, tags = excluded.tags, parent_id = excluded.parent_id,
            pending = excluded.pending, wake_at = excluded.wake_at, first_seq = excluded.first_seq;
    END IF;
    IF _change_id IS NOT NULL THEN
        UPDATE hub.instances AS i SET
            status = change.status, custom_status = change.custom_status, pending = change.pending, wake_at = change.wake_at
        FROM unnest(_change_id, _change_status, _change_custom_status, _change_pending, _change_wake_at)
            AS change (instance_id, status, custom_status, pending, wake_at)
        WHERE i.instance_id = change.instance_id;
    END IF;
    IF _segment_instance IS NOT NULL THEN
        -- An instance that isn't there gives NULL, which the table refuses.
        INSERT INTO hub.history (iid, seq, at, events)
        SELECT (SELECT i.iid FROM hub.instances AS i WHERE i.instance_id = segment.instance_id), segment.seq, segment.at, segment.events
        FROM unnest(_segment_instance, _segment_seq, _segment_at, _segment_events) AS segment (instance_id, seq, at, events);
    END IF;

    IF _message_id IS NOT NULL THEN
        INSERT INTO hub.messages (message_id, instance_id, partition, body, stored_at)
        SELECT message_id, instance_id, partition, body, _now
        FROM unnest(_message_id, _message_instance, _message_partition, _message_body)
            WITH ORDINALITY AS message (message_id, instance_id, partition, body, place)
        ORDER BY message_id COLLATE "C", place
        ON CONFLICT (message_id) DO NOTHING;
    END IF;
    IF _consumed IS NOT NULL THEN
        DELETE FROM hub.messages WHERE message_id = ANY (_consumed);
    END IF;

    IF _withdrawn IS NOT NULL OR _settled IS NOT NULL THEN
        DELETE FROM hub.activities WHERE activity_id IN (
            SELECT activity_id FROM hub.activities
            WHERE instance_id = ANY (_withdrawn) OR (
                activity_id = ANY (_settled)
                AND (activity_id, token) IN (SELECT * FROM unnest(_settled, _settled_token)))
            ORDER BY activity_id FOR UPDATE);
    END IF;
    IF _offer_id IS NOT NULL THEN
        INSERT INTO hub.activities (
            activity_id, instance_id, partition, name, body, offered_at, claimed_by, token, claimed_until)
        SELECT
            activity_id, instance_id, partition, name, body, _now,
            CASE WHEN claimed_for > 0 THEN _owner ELSE '' END,
            CASE WHEN claimed_for > 0 THEN 1 ELSE 0 END,
            CASE WHEN claimed_for > 0 THEN _now + claimed_for ELSE 0 END
        FROM unnest(_offer_id, _offer_instance, _offer_partition, _offer_name, _offer_body, _offer_claimed_for)
            WITH ORDINALITY AS offer (activity_id, instance_id, partition, name, body, claimed_for, place)
        ORDER BY activity_id COLLATE "C", place
        ON CONFLICT (activity_id) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

-- Takes what is free, expired or the owner's own. Others are not even locked: their owners' commits must not wait.
CREATE FUNCTION hub.acquire_1(_owner text, _partitions integer[], _duration bigint)
RETURNS TABLE (partition integer, epoch bigint, expires_at bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    _now bigint := hub.now_us();
    _locked integer[];
BEGIN
    SELECT array_agg(locked.partition) INTO _locked FROM (
        SELECT p.partition FROM hub.partitions AS p
        WHERE p.partition = ANY (_partitions) AND (p.owner IN ('', _owner) OR p.expires_at <= _now)
        ORDER BY p.partition FOR UPDATE) AS locked;
    RETURN QUERY
        UPDATE hub.partitions AS p SET epoch = p.epoch + 1, owner = _owner, expires_at = _now + _duration
        WHERE p.partition = ANY (_locked)
        RETURNING p.partition, p.epoch, p.expires_at;
END $$;

-- Tells that a member lives, extends its leases (all or none) and its claims, and says how things are. The places (from 1) of
-- leases that aren't current or have expired are in lost_leases; nothing is extended then and all behind it is NULL.
CREATE FUNCTION hub.beat_1(
    _owner text, _owns_partitions boolean, _runs_activities boolean, _running bigint, _capacity bigint,
    _partitions integer[], _epochs bigint[], _claims text[], _tokens bigint[], _duration bigint
) RETURNS TABLE (
    now bigint, lost_leases integer[], lost_claims text[], members text, owners text[], waiting integer[], on_offer bigint
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    _now bigint := hub.now_us();
    _kept integer[];
    _held text[];
BEGIN
    -- Nobody's disk has to be waited for: a renewal that a crash of the server takes back only ends a lease early.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT array_agg(locked.place) INTO _kept FROM (
        SELECT lease.place::integer AS place
        FROM unnest(_partitions, _epochs) WITH ORDINALITY AS lease (partition, epoch, place)
        JOIN hub.partitions AS p ON p.partition = lease.partition AND p.epoch = lease.epoch
        WHERE p.expires_at > _now
        ORDER BY p.partition FOR NO KEY UPDATE OF p) AS locked;
    INSERT INTO hub.members AS m VALUES (_owner, _owns_partitions, _runs_activities, _running, _capacity, _now + _duration)
    ON CONFLICT (owner) DO UPDATE SET
        owns_partitions = excluded.owns_partitions, runs_activities = excluded.runs_activities, running = excluded.running,
        capacity = excluded.capacity, expires_at = excluded.expires_at;
    -- Nobody else takes those off the list who went without a word.
    DELETE FROM hub.members WHERE owner IN (
        SELECT owner FROM hub.members WHERE expires_at <= _now ORDER BY owner FOR UPDATE SKIP LOCKED);
    IF coalesce(cardinality(_kept), 0) < cardinality(_partitions) THEN
        RETURN QUERY SELECT
            _now, ARRAY(SELECT place FROM generate_series(1, cardinality(_partitions)) AS place WHERE place <> ALL (coalesce(_kept, '{}'))),
            NULL::text[], NULL::text, NULL::text[], NULL::integer[], NULL::bigint;
        RETURN;
    END IF;
    UPDATE hub.partitions SET expires_at = _now + _duration WHERE partition = ANY (_partitions);
    SELECT array_agg(locked.activity_id) INTO _held FROM (
        SELECT a.activity_id FROM unnest(_claims, _tokens) AS claim (activity_id, token)
        JOIN hub.activities AS a ON a.activity_id = claim.activity_id AND a.token = claim.token
        WHERE a.claimed_by = _owner
        ORDER BY a.activity_id FOR UPDATE OF a) AS locked;
    UPDATE hub.activities SET claimed_until = _now + _duration WHERE activity_id = ANY (_held);
    RETURN QUERY SELECT
        _now,
        '{}'::integer[],
        ARRAY(SELECT claim FROM unnest(_claims) AS claim WHERE claim <> ALL (coalesce(_held, '{}'))),
        (SELECT coalesce(json_agg(m ORDER BY m.owner), '[]')::text FROM hub.members AS m WHERE m.expires_at > _now),
        ARRAY(SELECT CASE WHEN p.expires_at > _now THEN p.owner ELSE '' END FROM hub.partitions AS p ORDER BY p.partition),
        ARRAY(
            SELECT DISTINCT lease.partition FROM unnest(_partitions) AS lease (partition)
            WHERE EXISTS (SELECT 1 FROM hub.messages AS m WHERE m.partition = lease.partition) ORDER BY 1),
        (SELECT count(*) FROM hub.activities WHERE claimed_until <= _now);
END $$;

-- Takes activities on offer, the oldest first; those that somebody else is taking right now are left to him.
CREATE FUNCTION hub.claim_1(_owner text, _names text[], _limit bigint, _duration bigint)
RETURNS TABLE (activity_id text, token bigint, instance_id text, partition integer, name text, body bytea)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    _now bigint := hub.now_us();
BEGIN
    -- A claim that a crash of the server takes back only means that the activity may run twice, as after any crash.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY
        WITH claimed AS (
            UPDATE hub.activities AS a SET claimed_by = _owner, claimed_until = _now + _duration, token = a.token + 1
            WHERE a.activity_id = ANY (ARRAY(
                SELECT activity_id FROM hub.activities
                WHERE name = ANY (_names) AND claimed_until <= _now
                ORDER BY place LIMIT _limit FOR UPDATE SKIP LOCKED))
            RETURNING a.*)
        SELECT c.activity_id, c.token, c.instance_id, c.partition, c.name, c.body FROM claimed AS c ORDER BY c.place;
END $$;
