//! What goes into the engine.

use std::sync::Arc;

use super::limits::TenantLimits;
use crate::store::StoredMessage;
use crate::types::{
    ConnectionId, Grants, Level, Lsn, Message, Pattern, QueueName, RequestToken, Seq,
    SettingsPatch, SubscriptionId, Tag,
};
