//! Publishes with confirms.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::report::Recorder;
use super::{Pace, Run, Vary, gather};
use crate::cli::Outcome;
use crate::client::{Client, Confirm};
use crate::types::{Message, QueueName};

pub(super) async fn run(run: &Run) -> Outcome<Recorder> {
    let clients = run.connections().await?;
    gather(clients.into_iter().enumerate().map(|(index, client)| {
        let publisher = Publisher {
            client,
            queue: run.queue.clone(),
            message: run.message.clone(),
            in_flight: usize::from(run.load.in_flight),
            vary: run.load.vary,
            index,
        };
        let (pace, progress) = (run.pace(index), run.progress.clone());
        publisher.publish(pace, move |count| progress.inc(count))
    }))
    .await
}

/// One connection that publishes.
pub(super) struct Publisher {
    pub client: Client,
    pub queue: QueueName,
    pub message: Message,
    pub in_flight: usize,
    pub vary: Option<Vary>,
    /// Which of the connections it is.
    pub index: usize,
}

impl Publisher {
    /// Publishes at its pace and waits for every confirm.
    pub async fn publish(mut self, mut pace: Pace, progress: impl Fn(u64)) -> Outcome<Recorder> {
        let mut recorder = Recorder::new()?;
        let mut confirms: VecDeque<(Instant, Confirm)> = VecDeque::new();
        let mut number = 0;
        while let Some(at) = pace.tick().await {
            if confirms.len() >= self.in_flight {
                // Half of the window at a time: what is queued meanwhile goes out as one write.
                settle(&mut confirms, self.in_flight / 2, &mut recorder, &progress).await?;
            }
            if let Some(vary) = self.vary {
                vary.apply(&mut self.message, self.index, number);
                number += 1;
            }
            let confirm = self.client.publish_pipelined(&self.queue, &self.message, None).await?;
            confirms.push_back((at, confirm));
        }
        settle(&mut confirms, 0, &mut recorder, &progress).await?;
        self.client.close();
        Ok(recorder)
    }
}

async fn settle(
    confirms: &mut VecDeque<(Instant, Confirm)>,
    left: usize,
    recorder: &mut Recorder,
    progress: impl Fn(u64),
) -> Outcome {
    let before = confirms.len();
    while confirms.len() > left {
        let Some((at, confirm)) = confirms.pop_front() else { break };
        confirm.await?;
        recorder.done(at);
    }
    progress((before - confirms.len()) as u64);
    Ok(())
}
