CREATE TABLE queues (
    tenant BINARY(16) NOT NULL,
    queue BIGINT NOT NULL,
    name VARBINARY(255) NOT NULL,
    -- JSON.
    settings TEXT NOT NULL,
    -- Greater than every seq that was given.
    next_seq BIGINT NOT NULL,
    -- Deduplication has forgotten the keys of messages up to this one.
    keys_after BIGINT NOT NULL DEFAULT 0,
    -- Messages up to this one are purged, but for those in `kept` (JSON); the rows go little by
    -- little.
    purged_to BIGINT NOT NULL DEFAULT 0,
    kept LONGTEXT,
    -- The queue is gone; its rows go little by little.
    deleted TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, queue)
) ENGINE = InnoDB
