//! gmq: a message bus that is secure before it is anything else.
//!
//! The rooms, from the bottom up; imports point down only (`tests/tidy` checks it):
//!
//! - [`types`]: names, ids, sequence numbers, patterns, messages: values that cannot be bad.
//! - `protocol`: frames, requests and replies of the wire, as text and back.
//! - `engine`: one deterministic state machine a tenant; no I/O, no clock, no async.
//! - `store`: makes the engine's records durable and numbers them.
//! - `tls`, `accounts`, `auth`: who a peer is.
//! - `broker`: owns engines and stores; `command`: one file for each verb; `server`: sockets.
//! - `client`: the Rust client; `cli`: the commands of the program.

#[cfg(feature = "server")]
pub mod accounts;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod command;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod mysql;
pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "client")]
pub mod tls;
#[cfg(feature = "server")]
pub mod torture;
pub mod types;
