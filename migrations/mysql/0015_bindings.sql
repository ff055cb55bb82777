CREATE TABLE bindings (
    tenant BINARY(16) NOT NULL,
    queue BIGINT NOT NULL,
    pattern VARBINARY(255) NOT NULL,
    PRIMARY KEY (tenant, queue, pattern)
) ENGINE = InnoDB
