-- Tenants, users and grants. Identities are random, so that a name removed and added again
-- inherits nothing.
CREATE TABLE tenants (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    name TEXT NOT NULL UNIQUE,
    max_queues INTEGER,
    max_messages INTEGER,
    max_bytes INTEGER,
    max_connections INTEGER,
    auto_create INTEGER NOT NULL DEFAULT 1,
    -- JSON: the settings of queues that leave them out.
    defaults TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE users (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    -- PHC string of argon2id.
    password TEXT NOT NULL,
    -- dns:…, uri:… or email:…; an identity is one user's alone.
    certificate TEXT UNIQUE,
    require_certificate INTEGER NOT NULL DEFAULT 0,
    disabled INTEGER NOT NULL DEFAULT 0,
    -- Raised by every change of password, state, certificate or requirement.
    credentials_version INTEGER NOT NULL DEFAULT 1,
    UNIQUE (tenant_id, name)
) STRICT;

CREATE TABLE grants (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    action TEXT NOT NULL,
    pattern TEXT NOT NULL,
    PRIMARY KEY (user_id, action, pattern)
) STRICT;

-- One row, raised by every change: what running servers poll.
CREATE TABLE accounts_version (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO accounts_version (one, version) VALUES (1, 1);
