//! Crash tests that ship with the program. [`simulation`] runs the engine and the file store on a
//! simulated disk that loses power, fails and fills up, with an oracle that knows what was
//! confirmed; everything in it follows from a seed. [`processes`] kills a real server under load, on
//! a real disk; [`load`] is what that and other tests put on servers. Called by `gmq torture` and by the tests.

pub mod load;
pub mod processes;
mod random;
pub mod simulation;
