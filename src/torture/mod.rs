//! Crash tests that ship with the program. [`simulation`] runs the engine and the file store on a
//! simulated disk that loses power, fails and fills up, with an oracle that knows what was
//! confirmed; everything in it follows from a seed. [`processes`] kills a real server under load, on
//! a real disk. Called by `gmq torture` and by the tests.

pub mod processes;
mod random;
pub mod simulation;
