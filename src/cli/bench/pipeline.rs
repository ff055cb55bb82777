//! Publishes and consumes at once: each message carries when it was meant to be sent.

use std::time::Duration;

use tokio::time::Instant;

use super::report::Recorder;
use super::{Pace, Run, gather, message};
use crate::cli::Outcome;
use crate::client::{Client, Hand, Subscription};
use crate::types::{Content, QueueName};

/// A consumer that gets nothing for so long after its first message has had its last.
fn quiet(rate: Option<u32>) -> Duration {
    const ALL_SENT: Duration = Duration::from_secs(1);
    rate.map_or(ALL_SENT, |rate| ALL_SENT.max(Duration::from_secs(30) / rate))
}

/// The first message comes within this.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(run: &Run) -> Outcome<Recorder> {
    run.control.declare(&run.queue, &crate::types::SettingsPatch::default(), false).await?;
    let start = Instant::now();
    let mut consumers = Vec::new();
    for client in run.connections().await? {
        let subscription = client.consume(&run.queue, run.load.in_flight).await?;
        let progress = run.progress.clone();
        let quiet = quiet(run.load.rate);
        consumers
            .push(consume(client, subscription, start, quiet, move |count| progress.inc(count)));
    }
    let consuming = tokio::spawn(gather(consumers));
    let clients = run.connections().await?;
    gather(clients.into_iter().enumerate().map(|(index, client)| {
        let window = usize::from(run.load.in_flight);
        publish(client, run.queue.clone(), run.load.size, window, run.pace(index), start)
    }))
    .await?;
    consuming.await?
}

async fn publish(
    client: Client,
    queue: QueueName,
    size: bytesize::ByteSize,
    in_flight: usize,
    mut pace: Pace,
    start: Instant,
) -> Outcome<Recorder> {
    let mut confirms = std::collections::VecDeque::new();
    while let Some(at) = pace.tick().await {
        if confirms.len() >= in_flight {
            for confirm in confirms.drain(..in_flight.div_ceil(2)) {
                confirm.await?;
            }
        }
        let stamped = message(size, &format!("{:020}", (at - start).as_micros()))?;
        confirms.push_back(client.publish_pipelined(&queue, &stamped, None).await?);
    }
    for confirm in confirms {
        confirm.await?;
    }
    client.close();
    Recorder::new()
}

async fn consume(
    client: Client,
    mut subscription: Subscription,
    start: Instant,
    quiet: Duration,
    progress: impl Fn(u64),
) -> Outcome<Recorder> {
    let mut recorder = Recorder::new()?;
    let mut hands: Vec<Hand> = Vec::new();
    let mut patience = FIRST_WITHIN;
    while let Ok(Some(first)) = tokio::time::timeout(patience, subscription.next()).await {
        let mut next = Some(first);
        while let Some(delivery) = next {
            let delivery = delivery?;
            if let Content::Body(text) = &delivery.message().content
                && let Some(sent_us) = text.get(1..21).and_then(|digits| digits.parse().ok())
            {
                recorder.done(start + Duration::from_micros(sent_us));
            }
            hands.push(delivery.hand());
            next = subscription.next_ready();
        }
        client.ack(&hands).await?;
        progress(hands.len() as u64);
        hands.clear();
        patience = quiet;
    }
    client.close();
    Ok(recorder)
}
