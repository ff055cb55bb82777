//! `whoami`: the user, its grants, and what its tenant uses of its quotas.

use super::{Answer, Caller};
use crate::protocol::response::{field_name, integer, list, string, string_field};

pub(super) fn answer(caller: &Caller<'_>) -> Answer {
    let mut out = Vec::new();
    string_field(&mut out, "tenant", caller.principal.tenant_name().as_str());
    string_field(&mut out, "user", caller.principal.user_name().as_str());
    field_name(&mut out, "grants");
    out.push(b'[');
    let grants = caller.principal.grants();
    list(&mut out, grants.iter(), |out, grant| string(out, &grant.to_string()));
    out.push(b']');
    field_name(&mut out, "quotas");
    quotas(&mut out, caller);
    Answer { fields: out }
}

fn quotas(out: &mut Vec<u8>, caller: &Caller<'_>) {
    let (usage, connections) = caller.tenant.usage();
    let limits = caller.tenant.quotas();
    // Rates have no limit in this version, and so nothing of them is counted.
    let rows = [
        ("queues", usage.queues, limits.queues),
        ("messages", usage.messages, limits.messages),
        ("bytes", usage.bytes, limits.bytes),
        ("connections", connections, limits.connections),
        ("publish_rate", 0, None),
        ("publish_byte_rate", 0, None),
    ];
    out.push(b'{');
    list(out, rows, |out, (name, used, limit)| {
        string(out, name);
        out.extend_from_slice(b":{\"used\":");
        integer(out, used);
        out.extend_from_slice(b",\"limit\":");
        match limit {
            Some(limit) => integer(out, limit),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    });
    out.push(b'}');
}
