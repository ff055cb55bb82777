//! Rules between settings. Each says which settings it is about, so that it is not checked where
//! one of them is already known to be wrong. Called by `config` alone.

use bytesize::ByteSize;

use super::settings::{Argon2, Config};
use super::value::Value;
use super::word::{AccountsKind, StoreKind};

/// What a frame holds besides its content: field names, headers, the escapes of names.
const FRAME_OVERHEAD_BYTES: u64 = 64 * 1024;

/// Parameters of argon2id that OWASP holds for equally strong, as (KiB, iterations), parallelism 1.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id>
const OWASP_MINIMA: [(u32, u32); 5] =
    [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

/// A rule between settings.
pub(super) struct Rule {
    /// The settings it is about; the first is the one to mend.
    pub keys: &'static [&'static str],
    /// What is wrong and what to do, if something is.
    pub broken: fn(&Config) -> Option<String>,
}

/// All rules.
pub(super) const RULES: [Rule; 4] = [
    Rule {
        keys: &["limits.max_frame_bytes", "limits.max_message_bytes"],
        broken: frame_holds_message,
    },
    Rule {
        keys: &["limits.max_outbox_bytes", "limits.max_frame_bytes"],
        broken: outbox_holds_frame,
    },
    Rule {
        keys: &["auth.argon2.memory_kib", "auth.argon2.iterations"],
        broken: password_costs_enough,
    },
    Rule { keys: &["database.url", "store", "accounts"], broken: database_is_named },
];

fn frame_holds_message(config: &Config) -> Option<String> {
    let message = config.limits.max_message_bytes.as_u64();
    let least = message.saturating_mul(4).div_ceil(3).saturating_add(FRAME_OVERHEAD_BYTES);
    (config.limits.max_frame_bytes.as_u64() < least).then(|| {
        let least = ByteSize(least.next_multiple_of(bytesize::KIB)).to_toml();
        format!(
            "a frame must hold the longest message as base64, which is 4/3 of \
             limits.max_message_bytes, and 64 KiB; set limits.max_frame_bytes = {least} or more, \
             or limits.max_message_bytes lower"
        )
    })
}

fn outbox_holds_frame(config: &Config) -> Option<String> {
    let frame = config.limits.max_frame_bytes;
    (config.limits.max_outbox_bytes < frame).then(|| {
        format!(
            "an outbox must hold the longest reply, which is limits.max_frame_bytes; set \
             limits.max_outbox_bytes = {} or more",
            frame.to_toml()
        )
    })
}

fn database_is_named(config: &Config) -> Option<String> {
    let wanted = config.store == StoreKind::Mysql || config.accounts == AccountsKind::Mysql;
    (wanted && config.database.url.is_none()).then(|| {
        "store or accounts is \"mysql\", and no database is named; set database.url = \
         \"mysql://USER@HOST:PORT/DATABASE\""
            .to_owned()
    })
}

fn password_costs_enough(config: &Config) -> Option<String> {
    let Argon2 { memory_kib, iterations, .. } = config.auth.argon2;
    let is_enough = OWASP_MINIMA
        .iter()
        .any(|(least_kib, least)| memory_kib >= *least_kib && iterations >= *least);
    (!is_enough).then(|| {
        // The rows fall in memory, so the last one that these iterations reach needs the least.
        let least = OWASP_MINIMA.iter().rev().find(|(_, passes)| iterations >= *passes);
        let least_kib = least.unwrap_or(&OWASP_MINIMA[0]).0;
        format!(
            "a password would cost less than OWASP's minimum; set auth.argon2.memory_kib = \
             {least_kib} or more with these iterations, or leave both out"
        )
    })
}
