//! The engine against a plain model with every feature mixed: whatever can be seen is compared
//! after each operation. The store is durable at once and answers at once; what may be told when is
//! the matter of the model next door. `PROPTEST_CASES` sets how many lists are tried.

mod driver;
mod judge;
mod op;
mod plain;
mod requests;

use proptest::prelude::*;

use super::bench::{durable, memory};
use super::model::cases;
use crate::engine::{Config, Window};
use driver::Driver;

fn run(config: Config, ops: &[op::Op]) {
    let window = match config.level {
        crate::types::Level::Memory => config.window,
        // So small that some of what is there is in the store alone.
        _ => Window { messages: 16, bytes: 500 },
    };
    let mut driver = Driver::new(Config { window, reservation: 7, ..config });
    for op in ops {
        driver.run(op);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn every_feature_in_memory_does_what_the_model_says(ops in op::ops(false)) {
        run(memory(), &ops);
    }

    #[test]
    fn every_feature_of_a_durable_tenant_does_what_the_model_says(ops in op::ops(true)) {
        run(durable(), &ops);
    }
}
