//! Values that cannot be bad: each type here checks itself where it is made, so that what lies
//! above never meets an unchecked name, size or pattern. Knows no other room; everybody calls it.

mod cancel;
mod grant;
mod id;
mod level;
mod message;
mod name;
mod pattern;
mod priority;
mod quota;
mod san;
mod settings;
mod time;

pub use cancel::CancelReason;
pub use grant::{Action, Grant, Grants, ParseGrantError};
pub use id::{
    ConnectionId, Fence, Lsn, QueueId, RequestId, RequestToken, Seq, SubscriptionId, Tag, TenantId,
    UserId,
};
pub use level::Level;
pub use message::{Content, Headers, Message, Properties, SharedMessage};
pub use name::{NameError, QueueName, TenantName, UserName};
pub use pattern::{Pattern, PatternError};
pub use priority::Priority;
pub use quota::{Quota, Quotas};
pub use san::{San, SanError, SanKind};
pub use settings::{LEASE_MS_MAX, Overflow, QueueSettings, SettingError, SettingsPatch, Storage};
pub use time::{Monotonic, Now, WallMs};
