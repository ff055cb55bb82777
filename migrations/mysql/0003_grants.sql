CREATE TABLE `grants` (
    user_id BINARY(16) NOT NULL,
    action VARBINARY(16) NOT NULL,
    pattern VARBINARY(255) NOT NULL,
    PRIMARY KEY (user_id, action, pattern),
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB
