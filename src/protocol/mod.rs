//! The wire: frames, requests and replies as text and back, as in `docs/protocol.md`. Pure: no
//! sockets, no clock. It refuses everything that is not exactly what the page defines, so that what
//! leaves it needs no further checks. `server` and `command` use its one side, `client` the other.

mod error_code;
mod fields;
pub mod frame;
mod json;
mod message;
pub mod reply;
pub mod request;
pub mod request_text;
pub mod response;
mod settings;

pub use error_code::{CloseCode, ErrorCode};
pub use request::{Auth, ParseError, Parsed, Password, Request};
