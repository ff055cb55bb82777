//! Stores: make the records of engines durable.
