-- Tenants. Identities are random, so that a name removed and added again inherits nothing.
CREATE TABLE tenants (
    id BINARY(16) NOT NULL PRIMARY KEY,
    name VARBINARY(64) NOT NULL,
    max_queues BIGINT,
    max_messages BIGINT,
    max_bytes BIGINT,
    max_connections BIGINT,
    auto_create TINYINT NOT NULL DEFAULT 1,
    -- JSON: the settings of queues that leave them out.
    defaults TEXT NOT NULL,
    UNIQUE KEY by_name (name)
) ENGINE = InnoDB
