//! The codes of errors and of closing.

use std::fmt;

macro_rules! codes {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The code on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The code of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

codes!(
    /// Why a request was refused.
    ErrorCode {
        /// Not one JSON object in valid UTF-8.
        BadFrame = "bad_frame",
        /// The 101st bad frame in a row. Closes.
        TooManyErrors = "too_many_errors",
        /// A line beyond the limit. Closes.
        FrameTooLarge = "frame_too_large",
        /// No such request.
        UnknownOp = "unknown_op",
        /// A field is unknown, missing, doubled, of the wrong type or out of range.
        BadRequest = "bad_request",
        /// Something else before `auth`. Closes.
        NotAuthenticated = "not_authenticated",
        /// The login failed, whatever the cause. Closes.
        AuthFailed = "auth_failed",
        /// Too many failed logins. Closes.
        AuthThrottled = "auth_throttled",
        /// No grant.
        Forbidden = "forbidden",
        /// No queue of that name.
        NoSuchQueue = "no_such_queue",
        /// The queue has other settings.
        QueueExists = "queue_exists",
        /// `max_messages` or `max_bytes`.
        QueueFull = "queue_full",
        /// A delete `if_empty`.
        QueueNotEmpty = "queue_not_empty",
        /// `limits.max_message_bytes`.
        MessageTooLarge = "message_too_large",
        /// A quota is used up.
        QuotaExceeded = "quota_exceeded",
        /// Tags that are not in hand.
        UnknownTag = "unknown_tag",
        /// No such subscription.
        UnknownSub = "unknown_sub",
        /// A rate, the queue of logins, or the server's memory.
        SlowDown = "slow_down",
        /// The store cannot take or give anything now.
        StorageUnavailable = "storage_unavailable",
        /// Another server serves the tenant. Closes.
        Standby = "standby",
        /// The server's, the tenant's or the user's limit. Closes.
        TooManyConnections = "too_many_connections",
        /// The server is stopping.
        ShuttingDown = "shutting_down",
        /// A fault of the server; its log has the number.
        Internal = "internal",
    }
);

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `code` of a `closing` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// An error that closes.
    Error(ErrorCode),
    /// No login in time.
    AuthTimeout,
    /// The credentials are no longer good.
    Revoked,
    /// Nothing was sent or received for too long.
    Idle,
    /// Nothing was read for too long.
    TooSlow,
    /// The server stops.
    ShuttingDown,
}

impl CloseCode {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseCode::Error(code) => code.as_str(),
            CloseCode::AuthTimeout => "auth_timeout",
            CloseCode::Revoked => "revoked",
            CloseCode::Idle => "idle",
            CloseCode::TooSlow => "too_slow",
            CloseCode::ShuttingDown => "shutting_down",
        }
    }
}

impl From<ErrorCode> for CloseCode {
    fn from(code: ErrorCode) -> Self {
        CloseCode::Error(code)
    }
}
