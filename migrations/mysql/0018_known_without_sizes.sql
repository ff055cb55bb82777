-- The sizes are counted already: the index is only for what is known one by one.
ALTER TABLE messages DROP KEY by_known, ADD KEY by_known (tenant, queue, known)
