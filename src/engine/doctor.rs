//! `queue.doctor`: why nothing, or nothing more, is delivered from a queue just now, in words. It
//! changes nothing. Called by the tenant.

use std::collections::BTreeMap;

use super::connection::{Consumer, Seat};
use super::contents::Held;
use super::lane::Head;
use super::queue::Queue;
use super::tenant::Tenant;
use super::{Finding, Reply};
use crate::types::{ConnectionId, Monotonic, QueueName, RequestToken};

/// Consumers, and groups, that are told one by one.
const TOLD_MAX: usize = 20;

impl Tenant {
    pub(super) fn doctor(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: &QueueName,
    ) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        let after = queue.shaped;
        let findings = self.findings(queue);
        self.answer(after, connection, token, Reply::Findings(findings));
    }

    fn findings(&self, queue: &Queue) -> Vec<Finding> {
        let mut findings = Vec::new();
        if queue.is_durable() && self.ledger.failed() {
            findings.push(finding(
                "store_unavailable",
                "the store has failed: nothing is delivered from this queue until the server is \
                 restarted; the server's log says why",
            ));
        } else if queue.is_durable() && self.full {
            findings.push(finding(
                "store_unavailable",
                "the disk is full: publishes are refused, and dead letters wait, until there is room",
            ));
        }
        self.find_contents(queue, &mut findings);
        self.find_consumers(queue, &mut findings);
        self.find_limits(queue, &mut findings);
        let flows = queue.contents.head() != Head::Empty
            && findings.iter().all(|finding| matches!(finding.code, "quota" | "group_blocked"));
        if findings.is_empty() || flows {
            let text = "messages are delivered as fast as they are taken";
            findings.insert(0, finding("flowing", text));
        }
        findings
    }

    /// What of the messages stands in the way.
    fn find_contents(&self, queue: &Queue, findings: &mut Vec<Finding>) {
        let contents = &queue.contents;
        if queue.messages == 0 {
            return findings.push(finding("empty", "there are no messages in the queue"));
        }
        let now = self.now;
        if contents.ready() == 0 {
            if let Some((seq, until)) = contents.next_delayed() {
                let left = until.saturating_sub(now.wall_ms);
                findings.push(finding(
                    "head_delayed",
                    format!("the next message, seq {seq}, is delayed for {left} ms more"),
                ));
            }
            if let Some((seq, held)) = contents.in_hand.iter().min_by_key(|(_, h)| h.deadline) {
                let count = contents.in_hand.len();
                let (who, left) = (held_by(held), left_ms(held.deadline, now.monotonic));
                findings.push(finding(
                    "all_in_hand",
                    format!(
                        "{count} messages are in hand; the first lease to end, that of seq {seq}, \
                         {who}, has {left} ms left"
                    ),
                ));
            }
            if queue.messages > contents.len() - contents.dead.len() as u64 {
                let count = contents.dead.len();
                let to = queue.settings.dead_letter.as_ref();
                let to = to.map_or("", |name| name.as_str());
                findings.push(finding(
                    "quota",
                    format!("{count} dead letters wait: the queue {to} is full or does not exist"),
                ));
            }
        }
        self.find_groups(queue, findings);
    }

    fn find_groups(&self, queue: &Queue, findings: &mut Vec<Finding>) {
        let contents = &queue.contents;
        let mut blocked: BTreeMap<_, u64> = BTreeMap::new();
        for (seq, _) in contents.groups.waiting().iter() {
            if let Some(group) = contents.group_of(seq) {
                *blocked.entry(group).or_default() += 1;
            }
        }
        for (group, count) in blocked.into_iter().take(TOLD_MAX) {
            let Some(first) = contents.groups.first_of(group) else { continue };
            let name = contents.groups.name_of(group);
            let cause = match contents.in_hand.get(&first) {
                Some(held) => {
                    let left = left_ms(held.deadline, self.now.monotonic);
                    format!("is in hand, {}, for at most {left} ms more", held_by(held))
                }
                None => "goes first and is not in hand".to_owned(),
            };
            findings.push(finding(
                "group_blocked",
                format!("{count} messages of group {name:?} wait: seq {first} {cause}"),
            ));
        }
    }

    /// What of the consumers does.
    fn find_consumers(&self, queue: &Queue, findings: &mut Vec<Finding>) {
        if queue.consumers.is_empty() {
            findings.push(finding("no_consumer", "nobody consumes from the queue"));
        }
        for consumer in queue.consumers.iter().take(TOLD_MAX) {
            if let Some(text) = self.why_not(*consumer) {
                findings.push(finding("no_credit", text));
            }
        }
    }

    fn why_not(&self, consumer: Consumer) -> Option<String> {
        let connection = self.connections.get(&consumer.connection)?;
        let id = consumer.connection;
        let parked = connection.parked.contains(&consumer.seat);
        match consumer.seat {
            Seat::Subscription(sub) => {
                let subscription = connection.subscriptions.get(&sub)?;
                let (filled, prefetch) = (subscription.filled, subscription.prefetch);
                if !subscription.has_credit() {
                    let late = match subscription.ghosts {
                        0 => String::new(),
                        n => format!(", the leases of {n} of them have run out"),
                    };
                    return Some(format!(
                        "subscription {sub} of connection {id} has {filled} unacknowledged \
                         messages of {prefetch}{late}"
                    ));
                }
                parked.then(|| format!("connection {id} does not read what it was sent"))
            }
            Seat::Pull(_) => {
                parked.then(|| format!("connection {id} does not read what it was sent"))
            }
        }
    }

    /// Whether nothing can come in.
    fn find_limits(&self, queue: &Queue, findings: &mut Vec<Finding>) {
        let (messages_max, bytes_max) = self.limits_of(queue);
        let quotas = &self.limits.quotas;
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
        if queue.messages >= messages_max || queue.bytes >= bytes_max {
            findings.push(finding(
                "quota",
                "the queue is full: publishes to it are refused, or drop its oldest messages",
            ));
        }
        if over(quotas.messages, self.usage.messages) || over(quotas.bytes, self.usage.bytes) {
            findings.push(finding("quota", "the tenant's quota is used up: publishes are refused"));
        }
    }
}

fn finding(code: &'static str, text: impl Into<String>) -> Finding {
    Finding { code, text: text.into() }
}

fn held_by(held: &Held) -> String {
    format!("tag {} of connection {}", held.tag, held.connection)
}

fn left_ms(deadline: Monotonic, now: Monotonic) -> u128 {
    (deadline - now).as_millis()
}
