CREATE TABLE dedup_keys (
    tenant BINARY(16) NOT NULL,
    queue BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    dedup_key VARBINARY(128) NOT NULL,
    published_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, queue, seq)
) ENGINE = InnoDB
