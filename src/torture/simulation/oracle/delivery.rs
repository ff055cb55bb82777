//! What must be true of a delivery.

use super::{ATTEMPTS, Checked, DEAD, Held, Id, Known, LEASE, MORTAL, Oracle, Told, number_of};
use crate::engine::Delivery;
use crate::types::{ConnectionId, Message, Now, QueueName};

impl Oracle {
    /// A message is delivered.
    pub(in super::super) fn delivered(
        &mut self,
        to: ConnectionId,
        delivery: &Delivery,
        now: Now,
    ) -> Checked {
        self.delivered += 1;
        let id = (number_of(&delivery.message.content)?, delivery.queue.clone());
        if self.features && id.1.as_str() == DEAD {
            self.dead += 1;
            self.is_dead(&id, delivery, now)?;
        }
        self.note_seq(&id, delivery.seq)?;
        let fence = delivery.fence.0;
        if fence <= self.fence {
            return Err(format!("fence {fence} after {}", self.fence));
        }
        self.fence = fence;
        let held = Held { connection: to, tag: delivery.tag, until: now.monotonic + LEASE };
        if let Some(holder) = self.in_hand.insert(id.clone(), held) {
            return Err(format!("message {id:?} is delivered while it is in hand of {holder:?}"));
        }
        let Some(known) = self.messages.get(&id) else {
            return Err(format!("message {id:?} was never published"));
        };
        known.may_be_delivered(&id, now)?;
        self.keeps_its_group(&id, known)?;
        self.keeps_the_order(&id)?;
        if let Some(known) = self.messages.get_mut(&id) {
            known.seen = true;
            known.attempts += 1;
        }
        Ok(())
    }

    /// What is delivered for the first time comes in the order of `seq`, within its priority.
    fn keeps_the_order(&mut self, id: &Id) -> Checked {
        let Some(known) = self.messages.get_mut(id) else { return Ok(()) };
        let Some(seq) = known.seq.filter(|_| !known.delivered) else { return Ok(()) };
        known.delivered = true;
        if known.group.is_some() || known.delayed_until > 0 {
            return Ok(());
        }
        let last = self.first_delivered.insert((id.1.clone(), known.priority), seq);
        if last.is_some_and(|last| last > seq) {
            return Err(format!("message {id:?}, seq {seq}, comes after {last:?}"));
        }
        Ok(())
    }

    /// One message of a group at a time, and none before those that came before it.
    fn keeps_its_group(&self, id: &Id, known: &Known) -> Checked {
        let Some(group) = &known.group else { return Ok(()) };
        let others = self.messages.iter().filter(|(other, of)| {
            *other != id && other.1 == id.1 && of.group.as_ref() == Some(group)
        });
        for (other, of) in others {
            if self.in_hand.contains_key(other) {
                return Err(format!("{id:?} and {other:?} of group {group} are both in hand"));
            }
            let waits = of.published == Told::Yes && of.gone == Told::No && of.life == known.life;
            let dying = of.rejected >= Told::Maybe || of.expires_at.is_some();
            let dying = dying || self.is_mortal(other) && of.attempts >= ATTEMPTS;
            if waits && !dying && of.seq.is_some_and(|seq| Some(seq) < known.seq) {
                return Err(format!("{id:?} of group {group} comes before {other:?}"));
            }
        }
        Ok(())
    }

    /// A dead letter: its first queue has it no longer, and there was a reason.
    fn is_dead(&mut self, dead: &Id, delivery: &Delivery, now: Now) -> Checked {
        let Ok(queue) = QueueName::new(MORTAL) else { return Ok(()) };
        let id = (dead.0, queue);
        if self.in_hand.contains_key(&id) {
            return Err(format!("message {id:?} is dead and in hand"));
        }
        let Some(known) = self.messages.get_mut(&id) else {
            return Err(format!("message {id:?} is dead and was never published"));
        };
        if known.acked && known.gone == Told::Yes {
            return Err(format!("message {id:?} is dead although it was acked"));
        }
        let reason = header(&delivery.message, "gmq-dead-reason");
        let justified = match reason {
            "expired" => known.is_expired(now),
            "max_attempts" => known.attempts >= ATTEMPTS,
            "rejected" => known.rejected >= Told::Maybe,
            _ => false,
        };
        if !justified {
            return Err(format!("message {id:?} is dead for no reason: {reason:?}, {known:?}"));
        }
        let was = (
            header(&delivery.message, "gmq-dead-queue"),
            header(&delivery.message, "gmq-dead-seq"),
        );
        let seq = known.seq.map_or_else(|| was.1.to_owned(), |seq| seq.to_string());
        if was != (MORTAL, &seq) {
            return Err(format!("message {id:?} had seq {seq} and is told to come from {was:?}"));
        }
        let (level, seen) = (self.level, known.step.is_some());
        (known.gone, known.acked) = (Told::Yes, false);
        known.gone_level = level;
        known.seen |= seen;
        if !self.messages.contains_key(dead) {
            self.publishing(dead, &delivery.message, None);
        }
        if let Some(copy) = self.messages.get_mut(dead) {
            (copy.published, copy.level) = (Told::Yes, level);
        }
        Ok(())
    }
}

impl Known {
    fn may_be_delivered(&self, id: &Id, now: Now) -> Checked {
        if self.gone == Told::Yes {
            return Err(format!("message {id:?} was removed, which was confirmed, and came back"));
        }
        if self.rejected == Told::Yes {
            return Err(format!("message {id:?} was refused for good, and came back"));
        }
        if self.is_expired(now) {
            return Err(format!(
                "message {id:?} has expired at {:?}, now {}",
                self.expires_at, now.wall_ms
            ));
        }
        let from = self.not_before.max(self.delayed_until);
        if from > now.wall_ms {
            return Err(format!("message {id:?} comes {} ms early", from - now.wall_ms));
        }
        Ok(())
    }
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    let headers = message.properties.as_ref().map(|properties| &properties.headers);
    let found = headers.and_then(|headers| headers.iter().find(|(of, _)| **of == *name));
    found.map_or("", |(_, value)| value)
}
