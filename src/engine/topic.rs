//! `topic.bind`, `topic.unbind` and `topic.list`. Called by the tenant.

use std::sync::Arc;

use super::tenant::Tenant;
use super::{Record, Refusal, Reply};
use crate::types::{ConnectionId, Grants, Lsn, Pattern, QueueName, Quota, RequestToken};

/// Bindings of one tenant.
const BINDINGS_MAX: usize = 100_000;

/// What a list of bindings asks for.
pub(super) struct Listing {
    pub(super) after: Option<(Pattern, QueueName)>,
    pub(super) limit: u32,
    pub(super) visible: Arc<Grants>,
    pub(super) bytes_max: usize,
}

/// What a binding takes in a list beyond its texts. Unit: bytes.
const BINDING_BYTES: usize = 32;

impl Tenant {
    pub(super) fn bind(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        pattern: Pattern,
        name: &QueueName,
    ) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        if self.trie.contains(&pattern, id) {
            let after = queue.shaped;
            return self.answer(after, connection, token, Reply::Bound { created: false });
        }
        if self.trie.len() >= BINDINGS_MAX {
            let refusal = Refusal::QuotaExceeded(Quota::Bindings);
            return self.refuse(Lsn(0), connection, token, refusal);
        }
        if queue.is_recorded() && (self.ledger.failed() || self.full) {
            return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
        }
        let after = self.reshape(id, Record::Bound { queue: id, pattern: pattern.clone() });
        self.trie.insert(&pattern, id, name);
        self.answer(after, connection, token, Reply::Bound { created: true });
    }

    pub(super) fn unbind(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        pattern: Pattern,
        name: &QueueName,
    ) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        if !self.trie.contains(&pattern, id) {
            let after = queue.shaped;
            return self.answer(after, connection, token, Reply::Unbound { removed: false });
        }
        if queue.is_recorded() && self.ledger.failed() {
            return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
        }
        let after = self.reshape(id, Record::Unbound { queue: id, pattern: pattern.clone() });
        self.trie.remove(&pattern, id, name);
        self.answer(after, connection, token, Reply::Unbound { removed: true });
    }

    pub(super) fn list_bindings(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        ask: &Listing,
    ) {
        let mut after = self.last_delete;
        let mut bytes = 0;
        let mut more = false;
        let mut bindings: Vec<(Pattern, QueueName)> = Vec::new();
        for (pattern, name) in self.trie.list_after(ask.after.as_ref()) {
            let queue = self.names.get(name).and_then(|id| self.queues.get(id));
            let Some(queue) = queue.filter(|_| ask.visible.mention(name.as_str())) else {
                continue;
            };
            bytes += BINDING_BYTES + pattern.as_str().len() + name.as_str().len();
            let full = bytes > ask.bytes_max && !bindings.is_empty();
            if full || bindings.len() >= ask.limit as usize {
                more = true;
                break;
            }
            after = after.max(queue.shaped);
            bindings.push((pattern.clone(), name.clone()));
        }
        self.answer(after, connection, token, Reply::Bindings { bindings, more });
    }
}
