-- What each queue holds, by priority: every transaction keeps it true, so that a takeover counts
-- nothing.
CREATE TABLE queue_sizes (
    tenant BINARY(16) NOT NULL,
    queue BIGINT NOT NULL,
    priority TINYINT NOT NULL,
    messages BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant, queue, priority)
) ENGINE = InnoDB
