//! A disk that loses power.

pub struct SimulatedDisk;
