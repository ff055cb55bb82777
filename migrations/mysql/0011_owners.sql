-- One row a tenant: which server serves it, and how far its messages are. Every transaction of the
-- owner changes it, so that one that was taken over from cannot commit.
CREATE TABLE owners (
    tenant BINARY(16) NOT NULL PRIMARY KEY,
    -- Raised by every takeover.
    epoch BIGINT NOT NULL,
    -- Raised by every renewal of the lease.
    beat BIGINT NOT NULL,
    -- The server's own name of itself; empty where it gave the tenant up.
    server VARBINARY(64) NOT NULL,
    lsn BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    queue_id_max BIGINT NOT NULL
) ENGINE = InnoDB
