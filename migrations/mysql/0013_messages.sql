CREATE TABLE messages (
    tenant BINARY(16) NOT NULL,
    queue BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    priority TINYINT NOT NULL,
    bytes BIGINT NOT NULL,
    -- Whether the server must know of it one by one: it has a group, a delay or a TTL, or was
    -- delivered before.
    known TINYINT NOT NULL,
    attempt INT UNSIGNED NOT NULL DEFAULT 0,
    not_before BIGINT NOT NULL DEFAULT 0,
    published_at BIGINT NOT NULL,
    expires_at BIGINT,
    message_group VARBINARY(128),
    -- What a consumer said that refused it for good.
    rejected VARBINARY(1024),
    -- The record of its publish, with a checksum, as the file store writes it.
    content LONGBLOB NOT NULL,
    PRIMARY KEY (tenant, queue, seq),
    -- Reading back, by priority.
    KEY by_priority (tenant, queue, priority, seq),
    -- Counting after a takeover, and what is known one by one.
    KEY by_known (tenant, queue, known, priority, bytes)
) ENGINE = InnoDB
