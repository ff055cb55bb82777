//! The rules of the protocol, one test each, on a fake clock; and the engine against a model.

mod bench;
mod consuming;
mod durability;
mod expiring;
mod features;
mod model;
mod oddities;
mod paging;
mod publishing;
mod pulling;
mod queues;
mod settling;

use bench::*;
