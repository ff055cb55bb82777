//! Requests that need something from the store first: what is to make room, or to be moved, is not
//! in memory. Such a request waits at the head of its connection's requests, and those behind it
//! wait with it, so that they take effect in the order sent. Called by the tenant and by paging.

use super::tenant::Tenant;
use super::{Refusal, Request};
use crate::types::{ConnectionId, Lsn, QueueId, RequestToken};

/// A request that cannot be carried out yet.
#[derive(Debug)]
pub(super) struct Stalled {
    /// What it waits for: messages of this queue.
    pub(super) queue: QueueId,
    /// To be tried again.
    pub(super) request: Box<Request>,
}

impl Tenant {
    /// Takes a request, behind those that wait.
    pub(super) fn request(&mut self, id: ConnectionId, token: RequestToken, request: Request) {
        let connection = self.connections.entry(id).or_default();
        if !connection.stalled.is_empty() {
            return connection.stalled.push_back((token, request));
        }
        self.try_request(id, token, request);
    }

    /// Carries a request out, or lets it wait. Answers whether it waits.
    fn try_request(&mut self, id: ConnectionId, token: RequestToken, request: Request) -> bool {
        let Err(stalled) = self.carry_out(id, token.clone(), request) else { return false };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stalled.push_front((token, *stalled.request));
        }
        if let Some(queue) = self.queues.get_mut(&stalled.queue) {
            queue.stalled.insert(id);
        }
        self.stir(stalled.queue);
        true
    }

    /// Something of the queue was loaded, or it is gone: requests that waited for it are tried
    /// again.
    pub(super) fn resume(&mut self, queue: QueueId) {
        let Some(queue) = self.queues.get_mut(&queue) else { return };
        for connection in std::mem::take(&mut queue.stalled) {
            self.resume_connection(connection);
        }
    }

    /// Goes on with the requests of a connection.
    pub(super) fn resume_connection(&mut self, id: ConnectionId) {
        while let Some(connection) = self.connections.get_mut(&id) {
            let Some((token, request)) = connection.stalled.pop_front() else { return };
            if self.try_request(id, token, request) {
                return;
            }
        }
    }

    /// What the first requests wait for cannot be had.
    pub(super) fn refuse_stalled(&mut self, queue: QueueId) {
        let Some(queue) = self.queues.get_mut(&queue) else { return };
        for id in std::mem::take(&mut queue.stalled) {
            let connection = self.connections.get_mut(&id);
            if let Some((token, _)) = connection.and_then(|c| c.stalled.pop_front()) {
                self.refuse(Lsn(0), id, token, Refusal::StorageUnavailable);
            }
            self.resume_connection(id);
        }
    }
}
