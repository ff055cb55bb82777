//! The program from outside: real processes, real TLS sockets, a port of their own each. One file
//! for each section of `docs/protocol.md`, one test for each of its rules, named after the rule.

mod harness;

mod abilities;
mod administration;
mod authentication;
mod certificates;
mod client;
mod closing;
mod commands;
mod console;
mod consuming;
mod details;
mod documents;
mod examples;
mod flood;
mod frames;
mod grants;
mod handshake;
mod messages;
mod names;
mod publishing;
mod queues;
mod requests;
mod revocation;
mod routing;
mod secrets;
mod serving;
mod storing;
