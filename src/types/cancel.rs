//! Why a subscription ends by the server.

/// Why the server ended a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The queue is gone.
    QueueDeleted,
    /// The grant is gone.
    Forbidden,
}

impl CancelReason {
    /// The reason's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            CancelReason::QueueDeleted => "queue_deleted",
            CancelReason::Forbidden => "forbidden",
        }
    }
}
