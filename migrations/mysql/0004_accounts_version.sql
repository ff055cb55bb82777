-- One row, raised by every change: what running servers poll, and what lets one writer at a time.
CREATE TABLE accounts_version (
    one TINYINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
) ENGINE = InnoDB
