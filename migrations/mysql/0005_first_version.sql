INSERT INTO accounts_version (one, version) VALUES (1, 1)
