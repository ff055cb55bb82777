-- What is purged, and whose rows go only now, is not in a queue.
INSERT INTO queue_sizes (tenant, queue, priority, messages, bytes)
    SELECT messages.tenant, messages.queue, priority, COUNT(*), SUM(bytes) FROM messages
    JOIN queues ON queues.tenant = messages.tenant AND queues.queue = messages.queue
    WHERE deleted = 0 AND (seq > purged_to OR JSON_CONTAINS(kept, CAST(seq AS CHAR)))
    GROUP BY messages.tenant, messages.queue, priority
