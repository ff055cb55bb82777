//! Lives of a server on a disk that loses power, fails and fills up. A failure prints its seed,
//! and `GMQ_SIM_SEED=N` runs that one alone; `GMQ_SIM_RUNS` says how many are run.

use std::sync::atomic::{AtomicU64, Ordering};

use gmq::torture::simulation::{self, Tally};

/// Lives in the ordinary test run.
const RUNS: u64 = 3_000;

/// Lives in which something was broken once: a read that left out a message between two runs, a
/// file made ready under a name that was lost, a read of what was gone when it
/// came, a message that stands just where the part in the store begins, one whose removal was not
/// durable yet when a read began.
const SEEDS_OF_BUGS: [u64; 5] = [91_225, 130_459, 1_005_980, 1_010_054, 2_850_758];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn no_life_breaks_a_promise() {
    if let Some(seed) = number("GMQ_SIM_SEED") {
        let tally = simulation::run(seed).unwrap_or_else(|violation| panic!("{violation}"));
        println!("{tally:?}");
        return;
    }
    for seed in SEEDS_OF_BUGS {
        simulation::run(seed).unwrap_or_else(|violation| panic!("{violation}"));
    }
    let first = number("GMQ_SIM_FIRST").unwrap_or(0);
    let end = first + number("GMQ_SIM_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let live = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return tally;
            }
            let run = simulation::run(seed);
            tally += run.unwrap_or_else(|violation| panic!("{violation}"));
        }
    };
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(live)).collect();
        for thread in running {
            total += thread.join().expect("a promise was broken");
        }
    });
    println!("{} lives: {total:?}", end - first);
    assert!(total.confirmed > 0 && total.acked > 0 && total.cut_starts > 0);
}
