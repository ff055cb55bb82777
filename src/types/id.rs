//! Numbers that name things. Those that clients see stay below 2^53.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(
    /// A message's place in its queue: grows, and is never used twice for one queue. 1 the first.
    Seq
);
number!(
    /// Grows with every delivery of a tenant, so that a stale worker can be told from a fresh one.
    Fence
);
number!(
    /// A delivery within its connection. 1 the first.
    Tag
);
number!(
    /// A subscription within its connection. 1 the first.
    SubscriptionId
);
number!(
    /// A connection within the running server; never used twice.
    ConnectionId
);
number!(
    /// A queue within its tenant; never used twice, so that a name that is declared anew after a
    /// delete inherits nothing. 1 the first.
    QueueId
);
number!(
    /// Log sequence number: the place of a group of records in a tenant's history. 0 is "before
    /// the first"; what waits for `Lsn(n)` may be told once the store has made `n` durable.
    Lsn
);

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }
    };
}

identity!(
    /// A tenant's random identity: a removed and re-added name inherits nothing.
    TenantId
);
identity!(
    /// A user's random identity: a removed and re-added name inherits nothing.
    UserId
);

/// The `id` that a client chose for a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// An unsigned integer.
    Number(u64),
    /// The JSON text of a string, quotes and escapes as the client wrote them: echoed as it came.
    Text(Box<str>),
}

/// What a reply needs to find its request again; rides through the engine untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestToken {
    /// `None`: success is silent, a failure is told with the `op`.
    pub id: Option<RequestId>,
    /// The request's name on the wire.
    pub op: &'static str,
    /// Length of the frame, for the bound on what waits for a reply. Unit: bytes.
    pub frame_bytes: u32,
}
