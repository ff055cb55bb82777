//! Quotas: what one tenant may use at most.

/// A quota's name, as errors tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Queues of the tenant.
    Queues,
    /// Messages of the tenant, in hand ones too.
    Messages,
    /// Bytes of these messages.
    Bytes,
    /// Connections of the tenant's users.
    Connections,
    /// Subscriptions of one connection.
    Subscriptions,
    /// Waiting pulls of one connection.
    Pulls,
    /// Bindings of the tenant.
    Bindings,
    /// Copies that one publish makes.
    Copies,
    /// Keys that one queue remembers.
    Keys,
}

impl Quota {
    /// The quota's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Quota::Queues => "queues",
            Quota::Messages => "messages",
            Quota::Bytes => "bytes",
            Quota::Connections => "connections",
            Quota::Subscriptions => "subscriptions",
            Quota::Pulls => "pulls",
            Quota::Bindings => "bindings",
            Quota::Copies => "copies",
            Quota::Keys => "keys",
        }
    }

    /// What is said where it is used up.
    pub fn used_up(self) -> &'static str {
        match self {
            Quota::Queues => {
                "the tenant has as many queues as it may; delete some, or raise its quota with \
                 `gmq admin tenant set`"
            }
            Quota::Messages => {
                "the tenant has as many messages as it may; consume some, or raise its quota with \
                 `gmq admin tenant set`"
            }
            Quota::Bytes => {
                "the tenant has as many bytes of messages as it may; consume some, or raise its \
                 quota with `gmq admin tenant set`"
            }
            Quota::Connections => {
                "the tenant has as many connections as it may; close some, or raise its quota with \
                 `gmq admin tenant set`"
            }
            Quota::Subscriptions => {
                "this connection has as many subscriptions as it may; cancel some, or open another \
                 connection"
            }
            Quota::Pulls => {
                "this connection has as many waiting pulls as it may; wait for some, or open \
                 another connection"
            }
            Quota::Bindings => {
                "the tenant has 100,000 bindings, which is as many as it may; unbind some"
            }
            Quota::Copies => {
                "one publish makes at most 100,000 copies; send fewer messages at a time"
            }
            Quota::Keys => {
                "the queue remembers 1,000,000 keys, which is as many as it may; wait for some to \
                 leave its dedup_window_ms, or make that shorter"
            }
        }
    }
}

/// The limits of one tenant in force; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Queues.
    pub queues: Option<u64>,
    /// Messages in all queues together.
    pub messages: Option<u64>,
    /// Bytes of all messages together: content, header names and values.
    pub bytes: Option<u64>,
    /// Connections at a time.
    pub connections: Option<u64>,
}

impl Quotas {
    /// These limits, with `defaults` where there is none.
    #[must_use]
    pub fn or(self, defaults: Quotas) -> Quotas {
        Quotas {
            queues: self.queues.or(defaults.queues),
            messages: self.messages.or(defaults.messages),
            bytes: self.bytes.or(defaults.bytes),
            connections: self.connections.or(defaults.connections),
        }
    }
}
