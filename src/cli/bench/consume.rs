//! Fills a queue, then drains it.

use std::time::Duration;

use tokio::time::Instant;

use super::publish::Publisher;
use super::report::Recorder;
use super::{Pace, Run, gather};
use crate::cli::Outcome;
use crate::client::{Client, Hand};
use crate::types::QueueName;

/// Share of the run's time in which the queue is filled.
const FILL: u32 = 2;
/// A queue that gives nothing for so long is empty.
const EMPTY_AFTER: Duration = Duration::from_millis(500);

pub(super) async fn run(run: &Run) -> Outcome<Recorder> {
    run.progress.println("filling the queue");
    let filler = Publisher {
        client: run.load.connect.clone().client().await?,
        queue: run.queue.clone(),
        message: run.message.clone(),
        in_flight: 1_000,
        vary: run.load.vary,
        index: 0,
    };
    let now = Instant::now();
    let pace = Pace { interval: None, next: now, end: now + run.load.duration / FILL };
    filler.publish(pace, |_| {}).await?;
    let clients = run.connections().await?;
    gather(clients.into_iter().map(|client| {
        let (queue, progress) = (run.queue.clone(), run.progress.clone());
        drain(client, queue, run.load.in_flight, move |count| progress.inc(count))
    }))
    .await
}

/// Consumes and acknowledges until the queue is empty. Latency is that of an acknowledgement.
async fn drain(
    client: Client,
    queue: QueueName,
    prefetch: u16,
    progress: impl Fn(u64),
) -> Outcome<Recorder> {
    let mut recorder = Recorder::new()?;
    let mut subscription = client.consume(&queue, prefetch).await?;
    let mut hands: Vec<Hand> = Vec::new();
    while let Ok(Some(first)) = tokio::time::timeout(EMPTY_AFTER, subscription.next()).await {
        hands.push(first?.hand());
        while let Some(more) = subscription.next_ready() {
            hands.push(more?.hand());
        }
        let since = Instant::now();
        client.ack(&hands).await?;
        for _ in &hands {
            recorder.done(since);
        }
        progress(hands.len() as u64);
        hands.clear();
    }
    client.close();
    Ok(recorder)
}
