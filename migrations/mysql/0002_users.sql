CREATE TABLE users (
    id BINARY(16) NOT NULL PRIMARY KEY,
    tenant_id BINARY(16) NOT NULL,
    name VARBINARY(64) NOT NULL,
    -- PHC string of argon2id.
    password VARBINARY(255) NOT NULL,
    -- dns:…, uri:… or email:…; an identity is one user's alone.
    certificate VARBINARY(300),
    require_certificate TINYINT NOT NULL DEFAULT 0,
    disabled TINYINT NOT NULL DEFAULT 0,
    -- Raised by every change of password, state, certificate or requirement.
    credentials_version BIGINT NOT NULL DEFAULT 1,
    UNIQUE KEY by_name (tenant_id, name),
    UNIQUE KEY by_certificate (certificate),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE = InnoDB
