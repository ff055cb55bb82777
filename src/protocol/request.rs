//! Requests: from a frame to a value in which every name, size and range is checked.

use std::borrow::Cow;
use std::fmt;

use zeroize::Zeroizing;

use super::error_code::ErrorCode;
use super::fields::{Field, Fields, Names, Place};
use super::settings::TIME_MS_MAX;
use super::{json, message, settings};
use crate::types::{
    LEASE_MS_MAX, Level, Message, Pattern, QueueName, RequestId, RequestToken, Seq, SettingsPatch,
    SubscriptionId, Tag, TenantName, UserName,
};

/// Limits of the server that requests are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest message. Unit: bytes, as [`Message::size`] counts.
    pub max_message_bytes: u64,
}

/// A request and what its reply needs.
#[derive(Debug)]
pub struct Parsed {
    /// For the reply.
    pub token: RequestToken,
    /// What is asked.
    pub request: Request,
}

/// What is asked. The fields are those of the protocol.
#[derive(Debug)]
#[allow(missing_docs, reason = "docs/protocol.md has each request and field")]
pub enum Request {
    Auth(Auth),
    Ping,
    Whoami,
    Publish { to: Destination, messages: Vec<Message>, batch: bool, require: Option<Level> },
    Consume { queue: QueueName, prefetch: u32, auto_ack: bool },
    Cancel { sub: SubscriptionId },
    Pull { queue: QueueName, max: u32, wait_ms: u64, auto_ack: bool },
    Ack { tags: Tags },
    Nack { tags: Tags, delay_ms: u64, dead_letter: bool, reason: String },
    Extend { tags: Tags, lease_ms: Option<u64> },
    Declare { queue: QueueName, settings: SettingsPatch, update: bool },
    Delete { queue: QueueName, if_empty: bool },
    Purge { queue: QueueName },
    Info { queue: QueueName },
    List { pattern: Option<Pattern>, after: Option<String>, limit: u32 },
    Peek { queue: QueueName, from_seq: Seq, max: u32 },
    Move { from: QueueName, to: QueueName, max: u32 },
    Doctor { queue: QueueName },
    Bind { pattern: Pattern, queue: QueueName },
    Unbind { pattern: Pattern, queue: QueueName },
    Bindings { after: Option<(Pattern, QueueName)>, limit: u32 },
}

/// Where messages are published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// One queue.
    Queue(QueueName),
    /// Every queue with a binding that matches.
    Topic(QueueName),
}

impl From<&QueueName> for Destination {
    /// A queue; topics are always named as what they are.
    fn from(queue: &QueueName) -> Self {
        Destination::Queue(queue.clone())
    }
}

/// A login by password.
#[derive(Debug)]
pub struct Auth {
    /// The tenant, `default` where left out.
    pub tenant: TenantName,
    /// The user.
    pub user: UserName,
    /// The password.
    pub password: Password,
}

/// A password: wiped when dropped, never printed.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password of 1 to 1,024 bytes.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = Zeroizing::new(text.into());
        (1..=PASSWORD_BYTES_MAX).contains(&text.len()).then_some(Self(text))
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Deliveries that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// These.
    List(Vec<Tag>),
    /// All in hand up to this one.
    UpTo(Tag),
}

/// A request that cannot be taken, and what is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// `bad_frame`, `unknown_op`, `bad_request` or `message_too_large`.
    pub code: ErrorCode,
    /// The request's `id`, where it has a good one.
    pub id: Option<RequestId>,
    /// The request's name, where it has a known one.
    pub op: Option<&'static str>,
    /// The place of what is wrong.
    pub field: Option<String>,
    /// What is wrong with it.
    pub message: Cow<'static, str>,
}

impl ParseError {
    fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, id: None, op: None, field: None, message: message.into() }
    }

    /// A `bad_request`; the message is completed by the name of the field in front of it.
    pub(super) fn bad_request(field: Option<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let message = match &field {
            Some(field) if !text.contains("not supported yet") => format!("{field} {text}"),
            _ => text,
        };
        Self { field, ..Self::new(ErrorCode::BadRequest, message) }
    }

    pub(super) fn too_large(limit: u64) -> Self {
        let message = format!(
            "a message has at most {limit} bytes of content and headers; split it, or raise \
             limits.max_message_bytes of the server"
        );
        Self::new(ErrorCode::MessageTooLarge, message)
    }
}

const PASSWORD_BYTES_MAX: usize = 1024;
const ID_BYTES_MAX: usize = 64;
const BATCH_MAX: usize = 10_000;
const PULL_MAX: u64 = 10_000;
const WAIT_MS_MAX: u64 = 60_000;
const LIST_MAX: u64 = 1_000;
const PEEK_MAX: u64 = 1_000;
const MOVE_MAX: u64 = 10_000;
const REASON_BYTES_MAX: usize = 256;

/// Every request of the protocol.
const OPS: [&str; 21] = [
    "auth",
    "ping",
    "whoami",
    "publish",
    "consume",
    "cancel",
    "pull",
    "ack",
    "nack",
    "extend",
    "queue.declare",
    "queue.delete",
    "queue.purge",
    "queue.info",
    "queue.list",
    "queue.peek",
    "queue.move",
    "queue.doctor",
    "topic.bind",
    "topic.unbind",
    "topic.list",
];

const UNKNOWN_OP: &str =
    "there is no request of this name; check its spelling, and that the server is not too old";

/// Takes a frame apart. Syntax comes first: whatever else may be wrong with a frame, if it is not
/// one JSON object it is `bad_frame`.
pub fn parse(frame: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let entries = json::frame(frame)
        .map_err(|invalid| ParseError::new(ErrorCode::BadFrame, invalid.to_string()))?;
    let mut fields = Fields::new(entries, Place::Request, names(""));
    let id = fields.optional("id").map(|field| request_id(&field)).transpose()?;
    let with_id = |error: ParseError, op| ParseError { id: id.clone(), op, ..error };
    let op = request_op(&mut fields).map_err(|error| with_id(error, None))?;
    let request = request(op, fields, limits).map_err(|error| with_id(error, Some(op)))?;
    let frame_bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    Ok(Parsed { token: RequestToken { id, op, frame_bytes }, request })
}

fn request_id(field: &Field<'_, '_>) -> Result<RequestId, ParseError> {
    if let Some(number) = json::integer(field.text) {
        return Ok(RequestId::Number(number));
    }
    match json::string(field.text) {
        Some(text) if text.len() <= ID_BYTES_MAX => Ok(RequestId::Text(field.text.into())),
        _ => {
            Err(field.refuse("must be an unsigned 64-bit integer or a string of at most 64 bytes"))
        }
    }
}

fn request_op(fields: &mut Fields<'_>) -> Result<&'static str, ParseError> {
    let missing = || ParseError::bad_request(Some("op".to_owned()), "is missing");
    let field = fields.optional("op").ok_or_else(missing)?;
    let text = field.string()?;
    OPS.into_iter()
        .find(|op| *op == text)
        .ok_or_else(|| ParseError::new(ErrorCode::UnknownOp, UNKNOWN_OP))
}

fn request(
    op: &'static str,
    mut fields: Fields<'_>,
    limits: &Limits,
) -> Result<Request, ParseError> {
    fields.names = names(op);
    let request = match op {
        "auth" => auth(&mut fields)?,
        "ping" => Request::Ping,
        "whoami" => Request::Whoami,
        "publish" => return publish(fields, limits),
        "consume" => consume(&mut fields)?,
        "cancel" => cancel(&mut fields)?,
        "pull" => pull(&mut fields)?,
        "ack" => Request::Ack { tags: tags(&mut fields)? },
        "nack" => nack(&mut fields)?,
        "extend" => extend(&mut fields)?,
        "queue.declare" => declare(&mut fields)?,
        "queue.delete" => {
            let if_empty = boolean(&mut fields, "if_empty")?;
            Request::Delete { queue: queue(&mut fields)?, if_empty }
        }
        "queue.purge" => Request::Purge { queue: queue(&mut fields)? },
        "queue.info" => Request::Info { queue: queue(&mut fields)? },
        "queue.list" => list(&mut fields)?,
        "queue.peek" => peek(&mut fields)?,
        "queue.move" => transfer(&mut fields)?,
        "queue.doctor" => Request::Doctor { queue: queue(&mut fields)? },
        "topic.bind" => {
            let (pattern, queue) = binding(&mut fields)?;
            Request::Bind { pattern, queue }
        }
        "topic.unbind" => {
            let (pattern, queue) = binding(&mut fields)?;
            Request::Unbind { pattern, queue }
        }
        "topic.list" => bindings(&mut fields)?,
        _ => return Err(ParseError::new(ErrorCode::UnknownOp, UNKNOWN_OP)),
    };
    fields.finish()?;
    Ok(request)
}

/// Fields of every request.
const ALWAYS: &[&str] = &["op", "id"];

fn names(op: &str) -> Names {
    let own: &'static [&'static [&'static str]] = match op {
        "auth" => &[ALWAYS, &["tenant", "user", "password"]],
        // A single message stands in the request itself.
        "publish" => &[ALWAYS, &["queue", "topic", "require", "messages"], message::FIELDS],
        "consume" => &[ALWAYS, &["queue", "prefetch", "auto_ack"]],
        "cancel" => &[ALWAYS, &["sub"]],
        "pull" => &[ALWAYS, &["queue", "max", "wait_ms", "auto_ack"]],
        "ack" => &[ALWAYS, &["tag", "tags", "up_to"]],
        "nack" => &[ALWAYS, &["tag", "tags", "up_to", "delay_ms", "dead_letter", "reason"]],
        "extend" => &[ALWAYS, &["tag", "tags", "up_to", "lease_ms"]],
        "queue.declare" => &[ALWAYS, &["queue", "settings", "update"]],
        "queue.delete" => &[ALWAYS, &["queue", "if_empty"]],
        "queue.purge" | "queue.info" | "queue.doctor" => &[ALWAYS, &["queue"]],
        "queue.move" => &[ALWAYS, &["from", "to", "max"]],
        "topic.bind" | "topic.unbind" => &[ALWAYS, &["pattern", "queue"]],
        "topic.list" => &[ALWAYS, &["after", "limit"]],
        "queue.list" => &[ALWAYS, &["pattern", "after", "limit"]],
        "queue.peek" => &[ALWAYS, &["queue", "from_seq", "max"]],
        _ => &[ALWAYS],
    };
    let later: &'static [&'static [&'static str]] = match op {
        "auth" => &[&["token", "certificate", "resume", "want_resume"]],
        _ => &[],
    };
    Names { own, later }
}

fn auth(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let tenant = match fields.optional("tenant") {
        Some(field) => field.parsed(TenantName::new)?,
        None => TenantName::default(),
    };
    let user = fields.optional("user").map(|field| field.parsed(UserName::new)).transpose()?;
    let password = fields.optional("password").map(|field| password(&field)).transpose()?;
    let user = user.ok_or_else(|| fields.missing("user", "is missing"))?;
    let password = password.ok_or_else(|| fields.missing("password", "is missing"))?;
    Ok(Request::Auth(Auth { tenant, user, password }))
}

fn password(field: &Field<'_, '_>) -> Result<Password, ParseError> {
    Password::new(field.string()?).ok_or_else(|| field.refuse("must have 1 to 1024 bytes"))
}

fn publish(mut fields: Fields<'_>, limits: &Limits) -> Result<Request, ParseError> {
    let queue = fields.optional("queue").map(|field| field.parsed(QueueName::new)).transpose()?;
    let topic = match fields.optional("topic") {
        Some(field) if queue.is_some() => {
            return Err(field.refuse("stands beside queue; give one of the two"));
        }
        Some(field) => Some(field.parsed(QueueName::new)?),
        None => None,
    };
    let require = match fields.optional("require") {
        Some(field) => Some(Level::from_name(&field.string()?).ok_or_else(|| {
            field.refuse("must be \"memory\", \"os\", \"disk\" or \"replicated\"")
        })?),
        None => None,
    };
    let list = fields.optional("messages");
    let batch = list.is_some();
    let messages = match list {
        Some(list) => messages(&list, limits)?,
        None => vec![message::parse(&mut fields, limits)?],
    };
    if batch && let Some(field) = message::FIELDS.iter().find_map(|name| fields.optional(name)) {
        return Err(field.refuse("stands beside messages; give one of the two"));
    }
    // Behind all values: what is missing is told after what is wrong.
    let to = match (queue, topic) {
        (Some(queue), _) => Destination::Queue(queue),
        (None, Some(topic)) => Destination::Topic(topic),
        (None, None) => return Err(fields.missing("queue", "is missing; give it or topic")),
    };
    fields.finish()?;
    Ok(Request::Publish { to, messages, batch, require })
}

fn messages(list: &Field<'_, '_>, limits: &Limits) -> Result<Vec<Message>, ParseError> {
    let mut messages = Vec::new();
    for (index, element) in list.elements()?.enumerate() {
        if index == BATCH_MAX {
            return Err(list.refuse("must have 1 to 10000 messages"));
        }
        let place = Place::Message(index);
        let entries = json::object(element).ok_or_else(|| {
            ParseError::bad_request(Some(format!("messages[{index}]")), "must be an object")
        })?;
        let names = Names { own: &[message::FIELDS], later: &[] };
        let mut fields = Fields::new(entries, place, names);
        messages.push(message::parse(&mut fields, limits)?);
        fields.finish()?;
    }
    if messages.is_empty() {
        Err(list.refuse("must have 1 to 10000 messages"))
    } else {
        Ok(messages)
    }
}

fn consume(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let prefetch = integer(fields, "prefetch", 1..=65_535, 100)?;
    let auto_ack = boolean(fields, "auto_ack")?;
    Ok(Request::Consume { queue: queue(fields)?, prefetch: narrow(prefetch), auto_ack })
}

fn cancel(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let sub = fields.required("sub")?.integer(0..=u64::MAX)?;
    Ok(Request::Cancel { sub: SubscriptionId(sub) })
}

fn pull(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let max = narrow(integer(fields, "max", 1..=PULL_MAX, 1)?);
    let wait_ms = integer(fields, "wait_ms", 0..=WAIT_MS_MAX, 0)?;
    let auto_ack = boolean(fields, "auto_ack")?;
    Ok(Request::Pull { queue: queue(fields)?, max, wait_ms, auto_ack })
}

fn nack(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let delay_ms = integer(fields, "delay_ms", 0..=TIME_MS_MAX, 0)?;
    let dead_letter = match fields.optional("dead_letter") {
        Some(field) => {
            let dead_letter = field.boolean()?;
            if dead_letter && delay_ms > 0 {
                return Err(field.refuse("stands beside delay_ms; give one of the two"));
            }
            dead_letter
        }
        None => false,
    };
    let reason = match fields.optional("reason") {
        Some(field) => field.string_of(0..=REASON_BYTES_MAX)?.into_owned(),
        None => String::new(),
    };
    Ok(Request::Nack { tags: tags(fields)?, delay_ms, dead_letter, reason })
}

fn transfer(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let max = narrow(integer(fields, "max", 1..=MOVE_MAX, MOVE_MAX)?);
    let from = fields.required("from")?.parsed(QueueName::new)?;
    let to = match fields.required("to")? {
        field if field.parsed(QueueName::new)? == from => {
            return Err(field.refuse("is the queue that is moved from; name another one"));
        }
        field => field.parsed(QueueName::new)?,
    };
    Ok(Request::Move { from, to, max })
}

fn binding(fields: &mut Fields<'_>) -> Result<(Pattern, QueueName), ParseError> {
    let pattern = fields.required("pattern")?.parsed(Pattern::new)?;
    Ok((pattern, queue(fields)?))
}

fn bindings(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let after = match fields.optional("after") {
        Some(field) => {
            let names = Names { own: &[&["pattern", "queue"]], later: &[] };
            let mut after = Fields::new(field.object()?, Place::In("after"), names);
            let binding = binding(&mut after)?;
            after.finish()?;
            Some(binding)
        }
        None => None,
    };
    let limit = narrow(integer(fields, "limit", 1..=LIST_MAX, 100)?);
    Ok(Request::Bindings { after, limit })
}

fn extend(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let lease_ms =
        fields.optional("lease_ms").map(|field| field.integer(1..=LEASE_MS_MAX)).transpose()?;
    Ok(Request::Extend { tags: tags(fields)?, lease_ms })
}

fn declare(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let settings = match fields.optional("settings") {
        Some(field) => settings::parse(&field)?,
        None => SettingsPatch::default(),
    };
    let update = boolean(fields, "update")?;
    Ok(Request::Declare { queue: queue(fields)?, settings, update })
}

fn list(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let pattern = fields.optional("pattern").map(|f| f.parsed(Pattern::new)).transpose()?;
    let after = fields.optional("after").map(|f| f.string_of(0..=200)).transpose()?;
    let limit = narrow(integer(fields, "limit", 1..=LIST_MAX, 100)?);
    Ok(Request::List { pattern, after: after.map(Cow::into_owned), limit })
}

fn peek(fields: &mut Fields<'_>) -> Result<Request, ParseError> {
    let from_seq = Seq(integer(fields, "from_seq", 0..=u64::MAX, 0)?);
    let max = narrow(integer(fields, "max", 1..=PEEK_MAX, 10)?);
    Ok(Request::Peek { queue: queue(fields)?, from_seq, max })
}

fn queue(fields: &mut Fields<'_>) -> Result<QueueName, ParseError> {
    fields.required("queue")?.parsed(QueueName::new)
}

fn integer(
    fields: &mut Fields<'_>,
    name: &str,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Result<u64, ParseError> {
    fields.optional(name).map_or(Ok(default), |field| field.integer(range))
}

fn boolean(fields: &mut Fields<'_>, name: &str) -> Result<bool, ParseError> {
    fields.optional(name).map_or(Ok(false), |field| field.boolean())
}

/// A number whose range was checked to fit.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("the range was checked")
}

/// Exactly one of `tag`, `tags` and `up_to`.
fn tags(fields: &mut Fields<'_>) -> Result<Tags, ParseError> {
    let named = (fields.optional("tag"), fields.optional("tags"), fields.optional("up_to"));
    match named {
        (Some(tag), None, None) => Ok(Tags::List(vec![Tag(tag.integer(0..=u64::MAX)?)])),
        (None, Some(list), None) => list
            .elements()?
            .map(|element| json::integer(element).map(Tag))
            .collect::<Option<_>>()
            .map(Tags::List)
            .ok_or_else(|| list.refuse("must be an array of unsigned integers")),
        (None, None, Some(tag)) => Ok(Tags::UpTo(Tag(tag.integer(0..=u64::MAX)?))),
        (None, None, None) => {
            Err(fields.missing("tag", "is missing; give one of tag, tags and up_to"))
        }
        (_, Some(second), _) | (_, _, Some(second)) => {
            Err(second.refuse("stands beside another; give one of tag, tags and up_to"))
        }
    }
}

#[cfg(test)]
mod tests;
