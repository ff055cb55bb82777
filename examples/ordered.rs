//! Order where it matters: the steps of one customer are done one after the other, whichever worker
//! takes them, and those of different customers at the same time.
//!
//!     cargo run --example ordered -- gmq-quickstart/client.toml

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gmq::client::{Client, Error, Profile, payload};
use gmq::types::{Content, QueueName, SettingsPatch};

/// What was done for each customer, in the order in which it was done.
type Done = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let profile = Profile::load(path.as_ref())?;
    let client = Client::connect(&profile).await?;
    let steps = QueueName::new("steps")?;
    client.declare(&steps, &SettingsPatch::default(), false).await?;
    let mut batch = Vec::new();
    for step in ["created", "paid", "packed", "sent"] {
        for customer in ["ann", "bob", "eve"] {
            batch.push(payload(step).with_group(customer));
        }
    }
    client.publish_batch(&steps, &batch).await?;
    let done = Done::default();
    let mut workers = Vec::new();
    for _ in 0..4 {
        let worker = Client::connect(&profile).await?;
        workers.push(tokio::spawn(work(worker, steps.clone(), Arc::clone(&done))));
    }
    for worker in workers {
        worker.await??;
    }
    for (customer, steps) in done.lock().map_err(|_| "a worker failed")?.iter() {
        println!("{customer}: {}", steps.join(", "));
    }
    client.close();
    Ok(())
}

/// Until there is nothing to do for a second.
async fn work(client: Client, steps: QueueName, done: Done) -> Result<(), Error> {
    let mut steps = client.consume(&steps, 10).await?;
    let patience = Duration::from_secs(1);
    while let Ok(Some(delivery)) = tokio::time::timeout(patience, steps.next()).await {
        let delivery = delivery?;
        let message = delivery.message();
        // Some work takes longer than other; nobody overtakes within a group for that.
        tokio::time::sleep(Duration::from_millis(message.seq.0 % 3 * 10)).await;
        if let (Some(customer), Content::Payload(step)) = (&message.group, &message.content) {
            let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let step = String::from_utf8_lossy(step).into_owned();
            done.entry(customer.clone()).or_default().push(step);
        }
        delivery.ack().await?;
    }
    client.close();
    Ok(())
}
