-- A whole commit as one statement: INSERT INTO apply_commit VALUES (...) runs the trigger, and without an explicit
-- transaction SQLite makes it atomic and durable by itself. Python gives up and re-takes its interpreter lock around every
-- step of a statement, up to 5 ms each while the event loop is busy, so the number of steps is what a commit's latency
-- is made of. Lists come as JSON, payloads as one blob that the lists point into.
CREATE TEMP VIEW apply_commit AS SELECT
    NULL AS leases,    -- [[partition, epoch]]
    NULL AS deleted,   -- [instance_id]
    NULL AS purged,    -- [instance_id]: those of the deleted whose messages go too
    NULL AS reset,     -- [instance_id]
    NULL AS rows,      -- [[the columns of an instance]]
    NULL AS changes,   -- [[instance_id, status, custom_status, pending, wake_at]]
    NULL AS segments,  -- [[instance_id, seq, at, offset, length]]
    NULL AS outbox,    -- [[message_id, instance_id, partition, offset, length]]
    NULL AS consumed,  -- [message_id]
    NULL AS payload;

CREATE TEMP TRIGGER apply_commit_now INSTEAD OF INSERT ON apply_commit BEGIN
    SELECT RAISE(ABORT, 'stale epoch') FROM json_each(new.leases) AS lease
    WHERE (SELECT epoch FROM partitions WHERE partition = lease.value ->> 0) IS NOT lease.value ->> 1;

    DELETE FROM history WHERE iid IN (
        SELECT iid FROM instances WHERE instance_id IN (
            SELECT value FROM json_each(new.deleted) UNION ALL SELECT value FROM json_each(new.reset)));
    DELETE FROM messages WHERE instance_id IN (SELECT value FROM json_each(new.purged));
    DELETE FROM instances WHERE instance_id IN (SELECT value FROM json_each(new.deleted));

    INSERT INTO instances (
        instance_id, partition, execution_id, generation, name, version, status, created_at, custom_status, tags, parent_id,
        pending, wake_at, first_seq)
    SELECT
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8,
        value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
    -- The limit keeps the subquery apart: json_each would write its value out as text again for each of the columns.
    FROM (SELECT value FROM json_each(new.rows) LIMIT -1) WHERE true
    ON CONFLICT (instance_id) DO UPDATE SET
        partition = excluded.partition, execution_id = excluded.execution_id, generation = excluded.generation,
        name = excluded.name, version = excluded.version, status = excluded.status, created_at = excluded.created_at,
        custom_status = excluded.custom_status, tags = excluded.tags, parent_id = excluded.parent_id,
        pending = excluded.pending, wake_at = excluded.wake_at, first_seq = excluded.first_seq;

    UPDATE instances SET
        status = value ->> 1, custom_status = value ->> 2, pending = value ->> 3, wake_at = value ->> 4
    FROM json_each(new.changes) WHERE instance_id = value ->> 0;

    INSERT INTO history (iid, seq, at, events)
    SELECT
        (SELECT iid FROM instances WHERE instance_id = value ->> 0), value ->> 1, value ->> 2,
        coalesce(substr(new.payload, value ->> 3, value ->> 4), x'')
    FROM json_each(new.segments);

    INSERT INTO messages (message_id, instance_id, partition, body)
    SELECT value ->> 0, value ->> 1, value ->> 2, coalesce(substr(new.payload, value ->> 3, value ->> 4), x'')
    FROM json_each(new.outbox) WHERE true
    ON CONFLICT (message_id) DO NOTHING;
    DELETE FROM messages WHERE message_id IN (SELECT value FROM json_each(new.consumed));
END;
