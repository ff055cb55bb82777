//! Push and pull: order, fairness, prefetch, flow control.

use super::*;
use crate::engine::*;
use crate::types::*;

#[test]
fn messages_are_delivered_by_seq_and_acknowledged() {
    let mut bench = Bench::new(memory(), open());
    assert_eq!(
        answers(&bench.publish("q", &["a"])),
        [Ok(Reply::Published { seqs: vec![Seq(1)], batch: false, level: None })]
    );
    bench.publish("q", &["b", "c"]);
    let effects = bench.send(B, consume("q", 2));
    assert_eq!(answers(&effects), [Ok(Reply::Subscribed(SubscriptionId(1)))]);
    assert_eq!(texts(&effects), ["a", "b"]);
    assert_eq!(bench.counts("q"), (1, 0, 2));
    let effects = bench.send(B, ack(&[1]));
    assert_eq!(answers(&effects), [Ok(Reply::Acked(1))]);
    assert_eq!(texts(&effects), ["c"]);
    assert_eq!(bench.ask(B, Request::Ack(Tags::UpTo(Tag(99)))), Ok(Reply::Acked(2)));
    assert_eq!(bench.counts("q"), (0, 0, 0));
    assert_eq!(bench.tenant.usage(), Usage { queues: 1, messages: 0, bytes: 0 });
}
