//! The engine against a plain model, over random lists of operations. `PROPTEST_CASES` sets how
//! many lists are tried.

mod compare;
mod driver;
mod judge;
mod op;
mod plain;
mod store;

use proptest::prelude::*;

use super::bench::{all_visible, durable, memory, open};
use crate::engine::{Config, TenantLimits, Window};
use crate::types::{Content, Message, SettingsPatch, WallMs};
use driver::Driver;
use op::Op;

/// A message with that text.
fn stored(text: &str, published_at: WallMs) -> Message {
    Message {
        content: Content::Payload(text.as_bytes().into()),
        properties: None,
        priority: None,
        published_at,
    }
}

/// Limits so low that random operations meet them.
fn tight(config: Config) -> Config {
    let window = Window { messages: 3, bytes: 500 };
    let window = if config.level == crate::types::Level::Memory { config.window } else { window };
    let (subscriptions_max, pulls_max, reservation) = (3, 3, 7);
    let outbox_bytes_max = 1_500;
    Config { window, outbox_bytes_max, subscriptions_max, pulls_max, reservation, ..config }
}

fn run(config: Config, ops: &[Op]) {
    // Leases so short that time, as the operations let it pass, ends them.
    let ack_timeout_ms = Some(700);
    let defaults = SettingsPatch { ack_timeout_ms, ..SettingsPatch::default() };
    let mut driver = Driver::new(tight(config), TenantLimits { defaults, ..open() });
    for op in ops {
        driver.run(op);
    }
    driver.settle();
}

/// So many lists, unless the environment says how many.
pub(super) fn cases(few: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = few;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    config
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_tenant_in_memory_does_what_the_model_says(ops in op::memory_ops()) {
        run(memory(), &ops);
    }

    #[test]
    fn a_durable_tenant_does_what_the_model_says(ops in op::durable_ops()) {
        run(durable(), &ops);
    }
}
