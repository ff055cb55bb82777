//! The rules of the protocol, one test each, on a fake clock.

mod bench;
mod consuming;
mod model;

use bench::*;
